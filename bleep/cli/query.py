"""`bleep query`: tiles in, expression out."""

import argparse
from pathlib import Path

from bleep.cli.runs import add_run, named_run
from bleep.errors import ConfigError

SUFFIXES = (".h5ad", ".csv", ".parquet")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--images", type=Path, required=True, help="a folder of tiles, a CSV of tiles, or a section")
    parser.add_argument("--out", type=Path, default=Path("predictions.h5ad"), help="where to write: .h5ad, .csv or .parquet")
    parser.add_argument("--mpp", type=float, default=None, help="microns per pixel of the images, where they do not say")
    parser.add_argument("--k", type=int, default=None, help="reference spots averaged (default: the run's)")
    parser.add_argument("--weights", choices=("uniform", "softmax", "distance"), default=None, help="how (default: the run's)")
    add_run(parser)
    parser.set_defaults(run_command=_query)


def _query(arguments: argparse.Namespace) -> int:
    out: Path = arguments.out
    if out.suffix not in SUFFIXES:
        raise ConfigError(f"--out {out}: expected a name ending in {', '.join(SUFFIXES)}")
    for flag in ("mpp", "k"):
        value = getattr(arguments, flag)
        if value is not None and not 0 < value < float("inf"):
            raise ConfigError(f"--{flag} {value}: expected a number above 0")
    folder = named_run(arguments.run)
    from bleep import pipeline
    from bleep.prediction.retrieval import neighbor_table
    from bleep.prediction.write import write_prediction, write_table
    from bleep.runs import Run

    run = Run.load(folder)
    run.model.to(pipeline.best_device())
    tiles = pipeline.open_tiles(arguments.images, run, arguments.mpp)
    prediction, reference = pipeline.query(run, folder, tiles, arguments.k, arguments.weights)
    write_prediction(prediction, out)
    print(f"{out}: {len(tiles)} tiles x {len(prediction.genes)} genes, {prediction.scale}")
    if reference is not None:
        beside = out.with_suffix(".neighbours.parquet" if out.suffix == ".parquet" else ".neighbours.csv")
        write_table(neighbor_table(prediction, reference), beside)
        print(f"{beside}: which reference spots each tile used, with their weights")
    return 0
