"""`bleep push`: a run to the Hugging Face Hub."""

import argparse
from pathlib import Path


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.description = (
        "Send what `bleep pack` writes to the Hugging Face Hub: a run, its index, calibration and model card. A repository "
        "that is not there yet is made, private. Log in by `hf auth login` or HF_TOKEN. The index holds measured values of the "
        "training spots: leave it out by --no-reference where these may not be shared."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument("name", metavar="USER/NAME", help="the repository")
    parser.add_argument("--no-reference", action="store_true", help="leave out the index and the calibration, which needs it")
    parser.add_argument("--public", action="store_true", help="make a new repository one that all may read")
    parser.set_defaults(run_command=_push)


def _push(arguments: argparse.Namespace) -> int:
    from bleep.workflows.hub import push

    link = push(arguments.run, arguments.name, reference=not arguments.no_reference, public=arguments.public)
    print(f"{link}: sent; README.md there is the model card")
    print(f"next: bleep query --images FOLDER --run {link}")
    return 0
