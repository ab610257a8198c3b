"""`bleep unpack`: a run from one file."""

import argparse
from pathlib import Path


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.description = "Check a file of `bleep pack` part by part, and write the run in it to a new folder."
    parser.add_argument("archive", type=Path, help="the file")
    parser.add_argument("--out", type=Path, default=None, help="a new folder (default: runs/NAME, of the file's name)")
    parser.set_defaults(run_command=_unpack)


def _unpack(arguments: argparse.Namespace) -> int:
    from bleep.workflows.pack import unpack

    archive: Path = arguments.archive
    out: Path = arguments.out or Path("runs") / archive.name.removesuffix(".zip").removesuffix(".bleep")
    files = unpack(archive, out)
    print(f"{out}: {len(files)} files, each with its sha256 as declared; {out / 'README.md'} is the model card")
    print(f"next: bleep query --images FOLDER --run {out}")
    return 0
