"""Train: `accelerate launch bleep/train.py --config configs/NAME.yaml [--section.field value]`, or `-m bleep.train`."""

import os
import sys

# Run by path, Python puts this folder first on sys.path, where `bleep` is not found and our modules could hide others.
_HERE = os.path.dirname(os.path.realpath(__file__))
if sys.path and os.path.realpath(sys.path[0]) == _HERE:
    sys.path[0] = os.path.dirname(_HERE)


def main() -> int:
    """Parse, train, say where the run is, and return the exit code."""
    from bleep.cli.train import command

    return command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
