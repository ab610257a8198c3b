"""`bleep pull`: a run from the Hugging Face Hub."""

import argparse
from pathlib import Path


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.description = (
        "Download a run from the Hugging Face Hub and check each part by its sha256. `--run hf:USER/NAME` does that too; with "
        "--out the run gets a folder of its own, where it can be calibrated and its index grown."
    )
    parser.add_argument("link", metavar="hf:USER/NAME[@REVISION]", help="the run; without a revision, the newest")
    parser.add_argument("--out", type=Path, default=None, help="a new folder (default: it stays in the hub's cache)")
    parser.set_defaults(run_command=_pull)


def _pull(arguments: argparse.Namespace) -> int:
    from bleep.workflows.hub import copy, full_link, pull

    if arguments.out is None:
        link = full_link(arguments.link, pull(arguments.link))
        print(f"{link}: in the cache, each part with its sha256 as declared")
        print(f"next: bleep query --images FOLDER --run {link}")
        return 0
    link = copy(arguments.link, arguments.out)
    print(f"{arguments.out}: {link}, each part with its sha256 as declared; {arguments.out / 'README.md'} is the model card")
    print(f"next: bleep query --images FOLDER --run {arguments.out}")
    return 0
