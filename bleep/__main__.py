"""`python -m bleep`."""

from bleep.cli.app import entry

if __name__ == "__main__":
    entry()
