"""`bleep query`: predict expression for tiles, for slides, or for an archive of slides by Ray."""

import argparse
import sys
from dataclasses import replace
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bleep.cli import MANY, add_run, add_workers, by_flags, check_workers, look_flags, named_run, reading_flags, split_names
from bleep.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bleep.contest import Submission
    from bleep.data.prediction import Prediction
    from bleep.data.tiles import Tiles
    from bleep.predictors import Predictor
    from bleep.runs import Run


ENGINES = ("ray", "here")
SLIDES_FAILED = 3
"""Exit code when some slides have no prediction."""
FORMS = (".h5ad", ".zarr", ".csv", ".parquet")
OTHERS = ("resume", "save_mask", "report", "explain", "explain_tiles", "sample")
"""Flags of one prediction, which an archive has not."""


def add_archive(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    group = parser.add_argument_group("an archive of slides")
    group.add_argument(
        "--engine", choices=ENGINES, default=None,
        help="a file for each slide in the folder --out, and a ledger: `ray` spreads them over workers, `here` is one process",
    )  # fmt: skip
    text = "a file for each slide in FOLDER: --engine here --out FOLDER"
    group.add_argument("--out-dir", type=Path, default=None, metavar="FOLDER", help=text)
    add_workers(group)
    group.add_argument("--form", choices=FORMS, default=".h5ad", help="form of each slide's file (default .h5ad)")


def check_archive(arguments: argparse.Namespace) -> None:
    """Refuse flags that do not go together.

    Raises:
        ConfigError: see above.

    """
    if arguments.out_dir is not None:
        if arguments.out != Path("predictions.h5ad"):
            raise ConfigError("--out and --out-dir both say where to write; give one of them")
        arguments.out, arguments.engine = arguments.out_dir, arguments.engine or "here"
    check_workers(arguments)
    if arguments.engine is None:
        if arguments.form != ".h5ad":
            raise ConfigError("--form belongs to --engine; without one, the ending of --out says the form")
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


def _genes(arguments: argparse.Namespace) -> tuple[str, ...]:
    genes = split_names("--genes", arguments.genes or "")
    if arguments.genes is not None and not genes:
        raise ConfigError(f"--genes {arguments.genes!r}: names no gene; leave the flag out to write all")
    return genes


def query_archive(arguments: argparse.Namespace, run: Path, inputs: "Iterable[Path]") -> int:
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
        genes=_genes(arguments),
        dtype=arguments.dtype,
        predictor=arguments.predictor,
        k=arguments.k,
        weights=arguments.weights,
        abstain=arguments.abstain,
        where=arguments.where,
        min_confidence=arguments.min_confidence,
        slide=options,
        inputs=tuple(path.absolute() for path in (*inputs, *slides.values())),
        overwrite=arguments.overwrite,
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


SUFFIXES = (".h5ad", ".zarr", ".csv", ".parquet")
PREDICTORS = ("combined", "mean-of-both", "retrieval", "regression", "classifier")
WEIGHTS, ABSTAIN = ("uniform", "softmax", "distance", "adaptive"), 0.01
"""Those of the settings, here so that `--help` does not load these."""
NUMBERS = ("mpp", "k", "step", "pixel_limit")
NOT_SUBMITTED = ("report", "explain", "explain_tiles", "resume")
"""Flags of predictions that a contest's submission has not."""
OF_SLIDES = ("step", "mask", "save_mask")
"""Flags that only whole slides have."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--images", type=Path, help="a folder of tiles, a CSV of tiles, or a section")
    what.add_argument("--slides", type=Path, **MANY, help="whole slides (SVS, TIFF, JPEG, ...) or folders of them")
    parser.add_argument(
        "--out", type=Path, default=Path("predictions.h5ad"), help="where to write: .h5ad, .zarr, .csv or .parquet"
    )
    parser.add_argument(
        "--genes", default=None,
        help="write these genes or classes alone, as A,B,C; '\"A, B\",C' where a name holds a comma (default: the whole panel)",
    )  # fmt: skip
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="precision in .h5ad and .zarr")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what bleep did not write, at any place it writes to; never an input"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the same query where it was stopped")
    parser.add_argument("--mpp", type=float, default=None, help="microns per pixel of the images, where they do not say")
    parser.add_argument("--image", type=Path, default=None, help="sections: the picture to cut from, where a file holds none")
    parser.add_argument("--step", type=float, default=None, help="slides: microns between tiles (default: the run's, 100)")
    parser.add_argument("--mask", type=Path, default=None, help="slides: a picture, white on tissue; a folder for several")
    parser.add_argument("--save-mask", type=Path, default=None, help="slides: write the mask used; a folder for several")
    parser.add_argument("--pixel-limit", type=int, default=None, help="most pixels of a picture that is decoded whole")
    parser.add_argument(
        "--predictor", choices=PREDICTORS, default=None,
        help="which of the run's predictors (default: combined if calibrated, else the mean of both, retrieval, or regression)",
    )  # fmt: skip
    parser.add_argument("--k", type=int, default=None, help="reference spots averaged (default: the run's)")
    parser.add_argument("--weights", choices=WEIGHTS, default=None, help="how (default: the run's)")
    parser.add_argument(
        "--abstain", type=float, nargs="?", const=ABSTAIN, default=None, metavar="SHARE",
        help=f"mark tiles less familiar than this share of left-out training ones (default {ABSTAIN}); needs `bleep calibrate`",
    )  # fmt: skip
    parser.add_argument(
        "--where", default=None, metavar="CONDITION",
        help="reference spots that may answer, by the columns `bleep index info` names: \"patient != 'P3'\"",
    )  # fmt: skip
    parser.add_argument(
        "--min-confidence", choices=("high", "medium"), default=None,
        help="write only genes that `bleep calibrate` graded so or better, by what they scored on left-out training tissue",
    )  # fmt: skip
    reading_flags.add(parser, but=["mpp"])
    add_archive(parser)
    add_sample(parser)
    look_flags.add_explanations(parser)
    look_flags.add_report(parser)
    look_flags.add_deep_zoom(parser)
    add_run(parser)
    parser.set_defaults(run_command=_query)


def _query(arguments: argparse.Namespace) -> int:
    out: Path = arguments.out
    check_archive(arguments)
    _check(arguments)
    look_flags.check_explanations(arguments)
    folder = named_run(arguments.run)
    from bleep.contest import find_sample
    from bleep.workflows import Inputs

    sample = find_sample(arguments.images, arguments.out, arguments.sample)
    inputs = Inputs([arguments.images, *arguments.slides, arguments.mask, *_pictures(arguments), sample, folder], [folder])
    look_flags.check(arguments, inputs)
    if arguments.engine is not None:
        return query_archive(arguments, folder, inputs)
    from bleep.data.prediction import SCALE
    from bleep.outputs import check_apart
    from bleep.predictors.calibration import retrieved_part
    from bleep.workflows.ensemble import fitted
    from bleep.workflows.launch import is_main_process
    from bleep.workflows.opened import Opened
    from bleep.workflows.query import confident_genes, share_features
    from bleep.workflows.slides import mask_places, save_masks
    from bleep.workflows.stream import Output, Query, check_query, write_query
    from bleep.workflows.unseen import warn_of_trained

    genes = _genes(arguments)
    safe: dict[str, Any] = {"inputs": inputs, "overwrite": arguments.overwrite}
    whole = look_flags.explanations_asked(arguments)
    output = Output(out, genes, arguments.dtype, resume=arguments.resume, whole=whole, **safe)
    check_apart((("--out", out), ("--out", output.neighbors), *_mask(arguments), *look_flags.places(arguments)))
    experiment = Opened(folder, where=arguments.where)
    run, main = experiment.run, is_main_process()
    # Whatever is wrong is said by the main process, before the others wait for it.
    predictor = experiment.select(arguments.predictor, arguments.k, arguments.weights, arguments.abstain) if main else None
    broken: dict[str, str] = {}
    tiles = _open(arguments, run, broken)
    look_flags.check_size(arguments, len(tiles))
    submission = submission_of(arguments, run, tiles)
    if predictor is None:
        share_features(run, tiles)
        return 0
    if arguments.min_confidence is not None:
        if submission is not None:
            raise ConfigError("--min-confidence: a submission has the genes of its sample; leave it out, or give --genes")
        genes = confident_genes(experiment, predictor, arguments.min_confidence, genes)
        output = replace(output, genes=genes)
    reference = experiment.reference
    explained = look_flags.rows_to_explain(arguments, tiles, predictor, reference, inputs)
    if arguments.save_mask is not None:
        mask_places(tiles, arguments.save_mask, inputs, overwrite=arguments.overwrite, left_out=len(broken))
    warn_of_trained([member.run for member in experiment.members], tiles)
    # A condition decides what blocks hold, but without one a query is what it was before there were conditions.
    asked = {name: getattr(arguments, name) for name in ("k", "weights", "abstain", "where")}
    flags = {name: value for name, value in asked.items() if name != "where" or value is not None}
    query = Query(run, predictor, reference, tiles, {**flags, "fitted": fitted(predictor)})
    check_query(query, output)
    share_features(run, tiles, predictor)
    if submission is not None:
        submit(submission, predictor, tiles, out)
        return 0

    def show(prediction: "Prediction") -> None:
        look_flags.explain(arguments, run, prediction, reference, tiles, explained)
        look_flags.show_query(arguments, run, prediction, reference, tiles, genes)

    path, *beside = write_query(query, output, show if whole or arguments.report is not None else None)
    what, scale = ("classes", SCALE) if run.model.classifies else ("genes", run.panel.describe())
    print(f"{path}: {len(tiles)} tiles x {len(genes or run.panel.genes)} {what} by {predictor.name}, {scale}")
    used = "the reference spots most alike to each tile; no value was taken from them"
    if retrieved_part(predictor) != "none":
        used = "which reference spots each tile used, with their weights"
    for table in beside:
        print(f"{table}: {used}")
    if arguments.save_mask is not None:
        for place in save_masks(tiles, arguments.save_mask, len(broken)):
            print(f"{place}: the mask used; edit it and give it back with --mask")
    for slide, why in broken.items():
        print(f"bleep: {slide} was left out: {why.removeprefix(f'{slide}: ')}", file=sys.stderr)
    return 3 if broken else 0


def _open(arguments: argparse.Namespace, run: "Run", broken: dict[str, str]) -> "Tiles":
    from bleep.workflows.query import open_tiles
    from bleep.workflows.slides import open_slides

    with by_flags(reading_flags.flags() | {"data.image": "--image", "data.mpp": "--mpp", "data.pixel_limit": "--pixel-limit"}):
        if not arguments.slides:
            reading = reading_flags.given(arguments)
            return open_tiles(arguments.images, run, arguments.mpp, arguments.pixel_limit, arguments.image, reading)
        return open_slides(arguments.slides, run, arguments.mpp, arguments.step, arguments.mask, arguments.pixel_limit, broken)


def _pictures(arguments: argparse.Namespace) -> "list[Path]":
    """Return the files that --image may mean."""
    place: Path | None = arguments.image
    return [] if place is None else [place, *place.parent.glob(escape(place.name).replace("{name}", "*"))]


def _mask(arguments: argparse.Namespace) -> "list[tuple[str, Path]]":
    """Return where the mask goes, after its flag; of several slides, one in the folder, where other files may lie too."""
    place: Path | None = arguments.save_mask
    if place is None:
        return []
    return [("--save-mask", place if place.suffix.lower() == ".png" else place / "NAME.png")]


def _check(arguments: argparse.Namespace) -> None:
    if arguments.out.suffix not in SUFFIXES and arguments.engine is None:
        raise ConfigError(f"--out {arguments.out}: expected a name ending in {', '.join(SUFFIXES)}")
    for name in NUMBERS:
        value = getattr(arguments, name)
        if value is not None and not 0 < value < float("inf"):
            raise ConfigError(f"--{name.replace('_', '-')} {value}: expected a number above 0")
    reading_flags.check(arguments)
    if arguments.slides and arguments.image is not None:
        raise ConfigError("--image: belongs to --images, and --slides was given; a slide is its own picture")
    for name in OF_SLIDES:
        if not arguments.slides and getattr(arguments, name) is not None:
            raise ConfigError(
                f"--{name.replace('_', '-')}: belongs to --slides, and --images was given; ready-cut tiles have none"
            )


def add_sample(parser: argparse.ArgumentParser) -> None:
    """Add that of `bleep query`."""
    parser.add_argument(
        "--sample",
        type=Path,
        default=None,
        help="write --out as a contest's submission, IDs and genes as in this CSV (default: a sample_submission.csv beside "
        "the CSV of --images)",
    )


def submission_of(arguments: argparse.Namespace, run: "Run", tiles: "Tiles") -> "Submission | None":
    """Return what a sample asks for, matched with the tiles and the run's genes; none where no submission is asked for.

    Raises:
        ConfigError: a flag does not go with a submission.
        DataError, MismatchError: the sample is no such table, or its IDs or genes are not those to predict.

    """
    from bleep.contest import Submission, find_sample

    if arguments.genes is not None:
        if arguments.sample is not None:
            raise ConfigError("--genes: a submission's genes are those of --sample; leave one of them out")
        return None
    sample = find_sample(arguments.images, arguments.out, arguments.sample)
    if sample is None:
        return None
    for name in NOT_SUBMITTED:
        if getattr(arguments, name):
            way_out = "leave out --sample" if arguments.sample is not None else "give --out a name ending in .h5ad"
            raise ConfigError(
                f"--{name.replace('_', '-')}: {sample} makes --out a submission, which is a CSV alone; leave the flag out, or "
                f"{way_out}"
            )
    spots = [spot for section in tiles.sections for spot in section.counts.obs_names]
    return Submission.of(sample, spots, run.panel.genes)


def submit(submission: "Submission", predictor: "Predictor", tiles: "Tiles", out: Path) -> None:
    """Predict and write a submission."""
    submission.write(predictor.predict(tiles).expression, out)
    print(f"{out}: {submission.describe()}")
