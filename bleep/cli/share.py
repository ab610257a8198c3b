"""Commands that hand results to others: `pack`, `unpack`, `push`, `pull` and `export`."""

import argparse
from pathlib import Path

from bleep.cli import MANY, add_run, named_run
from bleep.errors import ConfigError


def add_pack(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bleep pack`."""
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


def add_unpack(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bleep unpack`."""
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


def add_push(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bleep push`."""
    parser.description = (
        "Send what `bleep pack` writes to the Hugging Face Hub: a run, its index, calibration and model card. A repository "
        "that is not there yet is made, private. Log in by `hf auth login` or HF_TOKEN. The index holds measured values of the "
        "training spots: leave it out by --no-reference where these may not be shared."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run, or hf:USER/NAME on the hub")
    parser.add_argument("name", metavar="USER/NAME", help="the repository")
    parser.add_argument("--no-reference", action="store_true", help="leave out the index and the calibration, which needs it")
    parser.add_argument("--public", action="store_true", help="make a new repository one that all may read")
    parser.set_defaults(run_command=_push)


def _push(arguments: argparse.Namespace) -> int:
    from bleep.workflows.hub import push

    link = push(named_run(arguments.run), arguments.name, reference=not arguments.no_reference, public=arguments.public)
    print(f"{link}: sent; README.md there is the model card")
    print(f"next: bleep query --images FOLDER --run {link}")
    return 0


def add_pull(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `bleep pull`."""
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


def add_export(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("predictions", type=Path, help="what `bleep query` wrote: .h5ad or .zarr")
    parser.add_argument(
        "--geojson", type=Path, default=None, metavar="OUT", help="for QuPath: a .geojson, or a folder for several sections"
    )
    parser.add_argument(
        "--spatialdata", type=Path, default=None, metavar="OUT.zarr", help="a SpatialData store, as napari-spatialdata opens it"
    )
    parser.add_argument("--genes", **MANY, metavar="GENE", help="these genes alone (default: all; GeoJSON: 200)")
    parser.add_argument("--all-genes", action="store_true", help="GeoJSON: all genes, not the 200 that vary most")
    parser.set_defaults(run_command=_export)


def _export(arguments: argparse.Namespace) -> int:
    if arguments.geojson is None and arguments.spatialdata is None:
        raise ConfigError("bleep export: say what to write, with --geojson OUT or --spatialdata OUT.zarr")
    from bleep.outputs import check_apart
    from bleep.viz import export as handing_over

    check_apart((("--geojson", arguments.geojson), ("--spatialdata", arguments.spatialdata)))
    with handing_over.opened(arguments.predictions) as predicted:
        if arguments.geojson is not None:
            written = handing_over.write_geojson(predicted, arguments.geojson, arguments.genes, all_genes=arguments.all_genes)
            for path, section in zip(written, predicted.sections, strict=True):
                print(f"{path}: {len(predicted.rows(section))} tiles; drop it onto the slide in QuPath")
        if arguments.spatialdata is not None:
            elements = handing_over.write_spatialdata(predicted, arguments.spatialdata, arguments.genes)
            print(f"{arguments.spatialdata}: {', '.join(elements)}")
    return 0
