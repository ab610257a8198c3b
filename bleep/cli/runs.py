"""The flag that names a run."""

import argparse
import os
from pathlib import Path

DEFAULT = "default: $BLEEP_RUN, else the newest in runs/"


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add `--run`."""
    parser.add_argument("--run", type=Path, default=None, help=f"folder of the run, or hf:USER/NAME on the hub ({DEFAULT})")


def named_run(given: Path | None, *, changes: bool = False) -> Path:
    """Return the folder of the run meant; one on the hub is downloaded where the cache lacks it.

    With `changes`, the command writes into the run's folder, which a download is not for.

    Raises:
        DataError: none is named and there is none, or the run is on the hub and would be changed or cannot be had.

    """
    if given is not None and str(given).startswith("hf:"):
        from bleep.errors import DataError
        from bleep.workflows.hub import full_link, pull

        if changes:
            raise DataError(
                f"{given}: is a copy of what lies on the hub, which this command would change; make one of your own by "
                f"`bleep pull {given} --out FOLDER`"
            )
        folder = pull(str(given))
        print(f"run: {full_link(str(given), folder)}")
        return folder
    if given is not None:
        return given
    if os.environ.get("BLEEP_RUN"):
        return Path(os.environ["BLEEP_RUN"])
    from bleep.run_folder import newest_run

    found = newest_run()
    print(f"run: {found}")
    return found
