"""`python -m bleep`."""

import sys

from bleep.cli.app import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
