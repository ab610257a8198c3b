"""`bleep query`: tiles in, expression out."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bleep.cli.runs import add_run, named_run
from bleep.errors import ConfigError

if TYPE_CHECKING:
    from bleep.runs import Run
    from bleep.tissue.tiles import Tiles

SUFFIXES = (".h5ad", ".csv", ".parquet")
NUMBERS = ("mpp", "k", "step", "pixel_limit")
OF_SLIDES = ("step", "mask", "save_mask")
"""Flags that only whole slides have."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--images", type=Path, help="a folder of tiles, a CSV of tiles, or a section")
    what.add_argument("--slides", type=Path, nargs="+", help="whole slides (SVS, TIFF, JPEG, ...) or folders of them")
    parser.add_argument("--out", type=Path, default=Path("predictions.h5ad"), help="where to write: .h5ad, .csv or .parquet")
    parser.add_argument("--mpp", type=float, default=None, help="microns per pixel of the images, where they do not say")
    parser.add_argument("--step", type=float, default=None, help="slides: microns between tiles (default: the run's, 100)")
    parser.add_argument(
        "--mask", type=Path, default=None, help="slides: a picture, white where tissue is; a folder for several"
    )
    parser.add_argument("--save-mask", type=Path, default=None, help="slides: write the mask used; a folder for several")
    parser.add_argument("--pixel-limit", type=int, default=None, help="most pixels of a picture that is decoded whole")
    parser.add_argument("--k", type=int, default=None, help="reference spots averaged (default: the run's)")
    parser.add_argument("--weights", choices=("uniform", "softmax", "distance"), default=None, help="how (default: the run's)")
    add_run(parser)
    parser.set_defaults(run_command=_query)


def _query(arguments: argparse.Namespace) -> int:
    out: Path = arguments.out
    _check(arguments)
    folder = named_run(arguments.run)
    from bleep import pipeline
    from bleep.prediction.retrieval import neighbor_table
    from bleep.prediction.write import write_prediction, write_table
    from bleep.runs import Run

    run = Run.load(folder)
    run.model.to(pipeline.best_device())
    predictor, reference = pipeline.open_predictor(run, folder, arguments.k, arguments.weights)
    tiles = _open(arguments, run)
    if arguments.save_mask is not None:
        for path in pipeline.save_masks(tiles, arguments.save_mask):
            print(f"{path}: the mask used; edit it and give it back with --mask")
    prediction = pipeline.predict(run, predictor, tiles)
    write_prediction(prediction, out)
    print(f"{out}: {len(tiles)} tiles x {len(prediction.genes)} genes, {prediction.scale}")
    if reference is not None:
        beside = out.with_suffix(".neighbours.parquet" if out.suffix == ".parquet" else ".neighbours.csv")
        write_table(neighbor_table(prediction, reference), beside)
        print(f"{beside}: which reference spots each tile used, with their weights")
    return 0


def _open(arguments: argparse.Namespace, run: "Run") -> "Tiles":
    from bleep import pipeline

    if arguments.slides is None:
        return pipeline.open_tiles(arguments.images, run, arguments.mpp, arguments.pixel_limit)
    return pipeline.open_slides(arguments.slides, run, arguments.mpp, arguments.step, arguments.mask, arguments.pixel_limit)


def _check(arguments: argparse.Namespace) -> None:
    if arguments.out.suffix not in SUFFIXES:
        raise ConfigError(f"--out {arguments.out}: expected a name ending in {', '.join(SUFFIXES)}")
    for name in NUMBERS:
        value = getattr(arguments, name)
        if value is not None and not 0 < value < float("inf"):
            raise ConfigError(f"--{name.replace('_', '-')} {value}: expected a number above 0")
    for name in OF_SLIDES:
        if arguments.slides is None and getattr(arguments, name) is not None:
            raise ConfigError(
                f"--{name.replace('_', '-')}: belongs to --slides, and --images was given; ready-cut tiles have none"
            )
