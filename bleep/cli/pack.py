"""`bleep pack`: a run as one file."""

import argparse
from pathlib import Path

from bleep.cli.runs import add_run, named_run


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.description = (
        "Write a run, its index, calibration and a model card to one zip file. It holds numbers and text alone. "
        "The index holds measured values of the training spots: leave it out by --no-reference where these may not be shared."
    )
    add_run(parser)
    parser.add_argument("--out", type=Path, default=None, help="the file to write (default: NAME.bleep.zip, of the run's name)")
    parser.add_argument("--no-reference", action="store_true", help="leave out the index and the calibration, which needs it")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that bleep did not write")
    parser.set_defaults(run_command=_pack)


def _pack(arguments: argparse.Namespace) -> int:
    folder = named_run(arguments.run)
    from bleep.outputs import check_output
    from bleep.workflows.pack import pack

    out: Path = arguments.out or Path(f"{folder.name}.bleep.zip")
    check_output(out, (folder,), overwrite=arguments.overwrite)
    names = pack(folder, out, reference=not arguments.no_reference)
    print(f"{out}: {len(names)} files, {out.stat().st_size / 1e6:.1f} MB; README.md in it is the model card")
    print(f"next: bleep unpack {out} --out FOLDER")
    return 0
