"""Train: `accelerate launch bleep/train.py --config configs/NAME.yaml [--section.field value]`, or `-m bleep.train`.

`bleep train` is the same in one process.
"""

import sys
from pathlib import Path

# Run by path, Python puts this folder first on sys.path, where `bleep` is not found and our modules could hide others.
_PACKAGE = Path(__file__).resolve().parent
if sys.path and Path(sys.path[0]).resolve() == _PACKAGE:
    sys.path[0] = str(_PACKAGE.parent)


def main() -> int:
    """Parse, train, say where the run is, and return the exit code."""
    from bleep.cli.training import command

    return command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
