"""The flags of an archive of slides: `--engine ray` and what goes with it."""

import argparse
import sys
from pathlib import Path

from bleep.errors import ConfigError

ENGINES = ("ray", "here")
SLIDES_FAILED = 3
"""Exit code when some slides have no prediction."""
FORMS = (".h5ad", ".zarr", ".csv", ".parquet")
OTHERS = ("resume", "save_mask", "report", "explain", "explain_tiles", "sample", "min_confidence")
"""Flags of one prediction, which an archive has not."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    group = parser.add_argument_group("an archive of slides")
    group.add_argument(
        "--engine", choices=ENGINES, default=None,
        help="a file for each slide in the folder --out, and a ledger: `ray` spreads them over workers, `here` is one process",
    )  # fmt: skip
    group.add_argument(
        "--out-dir",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="a file for each slide in FOLDER: --engine here --out FOLDER",
    )
    group.add_argument("--address", default=None, help="ray: `auto` or ray://HOST:10001 (default: this machine alone)")
    group.add_argument("--workers", type=int, default=None, help="ray: how many (default: as many as there is room for)")
    group.add_argument("--worker-cpus", type=float, default=1.0, metavar="N", help="ray: CPUs of each worker (default 1)")
    group.add_argument("--worker-gpus", type=float, default=0.0, metavar="N", help="ray: GPUs of each, or a part of one")
    group.add_argument("--form", choices=FORMS, default=".h5ad", help="form of each slide's file (default .h5ad)")


def check(arguments: argparse.Namespace) -> None:
    """Refuse flags that do not go together.

    Raises:
        ConfigError: see above.

    """
    if arguments.out_dir is not None:
        if arguments.out != Path("predictions.h5ad"):
            raise ConfigError("--out and --out-dir both say where to write; give one of them")
        arguments.out, arguments.engine = arguments.out_dir, arguments.engine or "here"
    if arguments.engine is None:
        given = arguments.address or arguments.workers or arguments.worker_gpus or arguments.worker_cpus != 1.0
        if given or arguments.form != ".h5ad":
            raise ConfigError("--address, --workers, --worker-cpus, --worker-gpus and --form belong to --engine ray")
        return
    if not arguments.slides:
        raise ConfigError(f"--engine {arguments.engine}: is for whole slides; give them with --slides")
    for name in OTHERS:
        if getattr(arguments, name, None):
            raise ConfigError(f"--{name.replace('_', '-')}: is for one prediction, and --engine {arguments.engine} makes many")
    if arguments.out == Path("predictions.h5ad"):
        arguments.out = Path("predictions")
    if arguments.out.suffix in FORMS or arguments.out.is_file():
        raise ConfigError(
            f"--out {arguments.out}: expected a folder for --engine {arguments.engine}; --form says what is in it"
        )
    for name, least in (("workers", 1), ("worker_cpus", 0.01), ("worker_gpus", 0)):
        value = getattr(arguments, name)
        if value is not None and not least <= value < 1e6:
            raise ConfigError(f"--{name.replace('_', '-')} {value}: expected {least:g} or more")


def predict(arguments: argparse.Namespace, run: Path, inputs: tuple[Path, ...]) -> int:
    """Predict an archive, say what failed, and return 0, or 3 where something did."""
    from bleep.outputs import check_output
    from bleep.workflows.archive import LEDGER, Job, find_slides, here, predict_archive
    from bleep.workflows.ray_engine import Cluster

    # A folder with a ledger is gone on with; each file in it is looked at again before it is replaced.
    ours = (arguments.out / LEDGER).is_file()
    check_output(arguments.out, inputs, overwrite=arguments.overwrite or ours)
    slides = find_slides(arguments.slides)
    options = {name: getattr(arguments, name) for name in ("mpp", "step", "mask", "pixel_limit")}
    options["mask"] = None if options["mask"] is None else options["mask"].absolute()
    job = Job(
        run=run.absolute(),
        out=arguments.out.absolute(),
        suffix=arguments.form,
        genes=tuple(word.strip() for word in (arguments.genes or "").split(",") if word.strip()),
        dtype=arguments.dtype,
        predictor=arguments.predictor,
        k=arguments.k,
        weights=arguments.weights,
        abstain=arguments.abstain,
        where=arguments.where,
        slide=options,
    )
    cluster = Cluster(arguments.address, arguments.workers, arguments.worker_cpus, arguments.worker_gpus)
    outcomes, before = predict_archive(job, slides, cluster if arguments.engine == "ray" else here)
    failed = [outcome for outcome in outcomes if outcome.failure]
    for outcome in failed:
        print(f"bleep: slide {outcome.name}: {outcome.failure}", file=sys.stderr)
    tiles = sum(outcome.tiles for outcome in outcomes)
    print(
        f"{arguments.out}: {len(outcomes) - len(failed)} slides predicted ({tiles} tiles), {before} done before, "
        f"{len(failed)} failed; {LEDGER} names what is done"
    )
    return SLIDES_FAILED if failed else 0
