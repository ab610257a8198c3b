"""The flags by which a contest is entered and scored."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bleep.cli.flags import named_run
from bleep.errors import ConfigError

if TYPE_CHECKING:
    from bleep.contest.submission import Submission
    from bleep.data.tiles import Tiles
    from bleep.predictors.base import Predictor
    from bleep.runs import Run

FILES = ("submission", "truth", "train")
"""Tables that a submission is scored by."""
OTHERS = ("report", "figures", "heat_maps", "genes", "genes_file", "all_scores")
"""What is asked of other protocols alone."""
TOP = 100
"""Genes in each list, unless said otherwise: the contest's own number is not public, and 10 or 100 is what teams used."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add those of `bleep evaluate`."""
    group = parser.add_argument_group("the contest's protocol, dacon")
    group.add_argument("--submission", type=Path, default=None, help="dacon: score this CSV of ID and genes, instead of runs")
    group.add_argument("--truth", type=Path, default=None, help="dacon: the true values, a CSV in the submission's order")
    group.add_argument("--train", type=Path, default=None, help="dacon: the training CSV, which the gene lists are chosen on")
    group.add_argument("--top", type=int, default=None, help=f"dacon: genes in each list (default: {TOP})")


def check(arguments: argparse.Namespace) -> None:
    """Refuse flags that do not go together.

    Raises:
        ConfigError: one is missing, or belongs to another protocol.

    """
    given = [name for name in FILES if getattr(arguments, name) is not None]
    used = [*given, *(["top"] if arguments.top is not None else [])]
    if arguments.protocol != "dacon":
        if used:
            raise ConfigError(f"--{used[0]}: belongs to the contest's protocol; add --protocol dacon")
        return
    for name in OTHERS:
        if getattr(arguments, name):
            raise ConfigError(f"--{name.replace('_', '-')}: protocol dacon has four parts and nothing else; leave it out")
    missing = [name for name in FILES if getattr(arguments, name) is None]
    if given and missing:
        raise ConfigError(f"--{missing[0]}: is missing; a submission is scored by --submission, --truth and --train together")
    if given and arguments.run:
        raise ConfigError("--run: score either runs or a --submission, not both at once")
    if arguments.top is not None and arguments.top < 1:
        raise ConfigError(f"--top {arguments.top}: expected a whole number above 0")


def evaluate(arguments: argparse.Namespace) -> int:
    """Score a submission, or runs, by the contest's protocol."""
    from bleep.outputs import check_output
    from bleep.workflows import contest

    top = TOP if arguments.top is None else arguments.top
    if arguments.out is not None:
        check_output(arguments.out / contest.FILE, overwrite=arguments.overwrite)
    if arguments.submission is not None:
        scores, out = contest.score_submission(arguments.submission, arguments.truth, arguments.train, top), arguments.out
    else:
        folders = [named_run(each, changes=arguments.out is None) for each in arguments.run or [None]]
        scores, out = contest.score_runs(folders, top), arguments.out or folders[0]
    print(scores.as_text())
    if out is not None:
        print(f"written: {scores.save(out)}")
    return 0


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
    from bleep.contest.submission import Submission, find_sample

    if arguments.genes is not None:
        if arguments.sample is not None:
            raise ConfigError("--genes: a submission's genes are those of --sample; leave one of them out")
        return None
    sample = find_sample(arguments.images, arguments.out, arguments.sample)
    if sample is None:
        return None
    spots = [spot for section in tiles.sections for spot in section.counts.obs_names]
    return Submission.of(sample, spots, run.panel.genes)


def submit(submission: "Submission", predictor: "Predictor", tiles: "Tiles", out: Path) -> None:
    """Predict and write a submission."""
    submission.write(predictor.predict(tiles).expression, out)
    print(f"{out}: {submission.words()}")
