"""The flag that names a run."""

import argparse
import os
from pathlib import Path

DEFAULT = "default: $BLEEP_RUN, else the newest in runs/"


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add `--run`."""
    parser.add_argument("--run", type=Path, default=None, help=f"folder of the run ({DEFAULT})")


def named_run(given: Path | None) -> Path:
    """Return the run meant.

    Raises:
        DataError: none is named and there is none.

    """
    if given is not None:
        return given
    if os.environ.get("BLEEP_RUN"):
        return Path(os.environ["BLEEP_RUN"])
    from bleep.run_folder import newest_run

    found = newest_run()
    print(f"run: {found}")
    return found
