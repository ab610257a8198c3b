"""`bleep evaluate`: compare predictors on held-out tissue, or score a contest's submission."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bleep.cli import DEFAULT, MANY, look_flags, named_run
from bleep.errors import ConfigError

PROTOCOLS = (
    "her2st-c", "her2st-b", "mob-mouse", "her2st-b-to-c", "als-mouse", "muscle-blocks",
    "hist2st-785", "triplex-250", "hest", "bleep-liver", "dacon",
)  # fmt: skip
"""Names of the protocols, here so that `--help` does not load them."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--run", type=Path, **MANY, help=f"runs to score: folds, seeds, tasks ({DEFAULT})")
    parser.add_argument(
        "--out", type=Path, default=None, help="folder for evaluation.json and .md and genes.csv (default: the first run)"
    )
    parser.add_argument("--protocol", choices=PROTOCOLS, default=None, help="score by this protocol (default: the run's own)")
    parser.add_argument("--all-scores", action="store_true", help="compute, print and store every score there is")
    parser.add_argument("--genes-file", type=Path, default=None, help="score these genes by themselves too, one a line")
    parser.add_argument("--predictors", **MANY, metavar="NAME", help="fit and score these of other packages too")
    parser.add_argument("--metrics", **MANY, metavar="NAME", help="compute these of other packages too")
    parser.add_argument("--all-floors", action="store_true", help="also ridge on stains, textures and a random trunk")
    parser.add_argument("--table", type=Path, **MANY, help="also write the table as .csv or .tex, with spread")
    parser.add_argument("--overwrite", action="store_true", help="replace what bleep did not write; never an input")
    look_flags.add_report(parser)
    look_flags.add_figures(parser)
    add_contest(parser)
    parser.set_defaults(run_command=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    check_contest(arguments)
    if arguments.protocol == "dacon":
        return evaluate_contest(arguments)
    folders = [named_run(each, changes=arguments.out is None) for each in arguments.run or [None]]
    from bleep.outputs import check_apart, check_output
    from bleep.workflows import Inputs

    inputs = Inputs([arguments.genes_file], folders)
    look_flags.check(arguments, inputs)
    from bleep.workflows.labels import learns_labels

    out = arguments.out or folders[0]
    classes = any(learns_labels(folder) for folder in folders)
    names: tuple[str, ...] = ("evaluation.json", "evaluation.md", "evaluation.csv" if classes else "genes.csv")
    check_apart(_places(arguments, out, names))
    for name in names:
        check_output(out / name, inputs, overwrite=arguments.overwrite)
    if classes:
        return _labels(arguments, folders)
    from bleep.evaluation import report
    from bleep.evaluation.report import check_table, write_table
    from bleep.workflows.evaluate import evaluate
    from bleep.workflows.labels import evaluate_spot_labels, label_text, label_words, save_labels
    from bleep.workflows.opened import opened
    from bleep.workflows.report import check_genes

    experiments = opened(folders)
    if arguments.genes:
        check_genes(experiments, arguments.genes)
    look_flags.check_tested(arguments, experiments)
    for path in arguments.table:
        check_table(path)
        check_output(path, inputs, overwrite=arguments.overwrite)
    if any(experiment.run.config.data.label for experiment in experiments):
        names = (*names, "labels.json", "labels.md", "labels.csv")
        check_apart(_places(arguments, out, names))
        for name in names[-3:]:
            check_output(out / name, inputs, overwrite=arguments.overwrite)
    table = evaluate(
        experiments,
        protocol=arguments.protocol,
        all_scores=arguments.all_scores,
        genes_file=arguments.genes_file,
        predictors=arguments.predictors,
        metrics=arguments.metrics,
        all_floors=arguments.all_floors,
    )
    labels = evaluate_spot_labels(experiments)
    if labels is not None:
        table = replace(table, facts=table.facts | {"labels told by neighbours": label_words(labels)})
    written = [*report.save(table, out), *(write_table(table, path) for path in arguments.table)]
    if labels is not None:
        written += save_labels(labels, out, "labels")
    print(report.as_text(table))
    if arguments.all_scores:
        print("\n" + report.more_as_text(table))
    if labels is not None:
        print(f"\nlabels of spots, {experiments[0].run.config.data.label}\n{label_text(labels)}")
    for path in written:
        print(f"written: {path}")
    look_flags.show_evaluation(arguments, experiments, table)
    return 0


def _places(arguments: argparse.Namespace, out: Path, names: Sequence[str]) -> list[tuple[str, Path | None]]:
    """Return what is written, after the flags that say where."""
    return [
        *(("--out", out / name) for name in names),
        *(("--table", path) for path in arguments.table),
        *look_flags.places(arguments),
    ]


def _labels(arguments: argparse.Namespace, folders: Sequence[Path]) -> int:
    for flag in ("protocol", "all_scores", "all_floors", "genes_file", "genes", "predictors", "metrics", "table", "umap"):
        if getattr(arguments, flag):
            raise ConfigError(f"--{flag.replace('_', '-')}: is of expression, and {folders[0]} learnt labels; leave it out")
    from bleep.workflows.labels import evaluate_labels, label_text, save_labels

    table = evaluate_labels(folders)
    written = save_labels(table, arguments.out or folders[0])
    print(label_text(table))
    for path in written:
        print(f"written: {path}")
    look_flags.show_labels(arguments, table)
    return 0


FILES = ("submission", "truth", "train")
"""Tables that a submission is scored by."""
NOT_CONTEST = (
    "all_floors", "report", "figures", "paper", "umap", "heat_maps", "genes", "genes_file", "all_scores", "predictors",
    "metrics", "table",
)  # fmt: skip
"""What is asked of other protocols alone."""
TOP = 100
"""Genes in each list, unless said otherwise: the contest's own number is not public, and 10 or 100 is what teams used."""


def add_contest(parser: argparse.ArgumentParser) -> None:
    """Add those of `bleep evaluate`."""
    group = parser.add_argument_group("the contest's protocol, dacon")
    group.add_argument("--submission", type=Path, default=None, help="dacon: score this CSV of ID and genes, instead of runs")
    group.add_argument("--truth", type=Path, default=None, help="dacon: the true values, a CSV in the submission's order")
    group.add_argument("--train", type=Path, default=None, help="dacon: the training CSV, which the gene lists are chosen on")
    group.add_argument("--top", type=int, default=None, help=f"dacon: genes in each list (default: {TOP})")


def check_contest(arguments: argparse.Namespace) -> None:
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
    for name in NOT_CONTEST:
        if getattr(arguments, name):
            raise ConfigError(f"--{name.replace('_', '-')}: protocol dacon has four parts and nothing else; leave it out")
    missing = [name for name in FILES if getattr(arguments, name) is None]
    if given and missing:
        raise ConfigError(f"--{missing[0]}: is missing; a submission is scored by --submission, --truth and --train together")
    if given and arguments.run:
        raise ConfigError("--run: score either runs or a --submission, not both at once")
    if arguments.top is not None and arguments.top < 1:
        raise ConfigError(f"--top {arguments.top}: expected a whole number above 0")


def evaluate_contest(arguments: argparse.Namespace) -> int:
    """Score a submission, or runs, by the contest's protocol."""
    from bleep.outputs import check_output
    from bleep.workflows import Inputs, contest

    top = TOP if arguments.top is None else arguments.top
    tables, folders = (arguments.submission, arguments.truth, arguments.train), []
    if arguments.submission is None:
        folders = [named_run(each, changes=arguments.out is None) for each in arguments.run or [None]]
    out = arguments.out or next(iter(folders), None)
    if out is not None:
        check_output(out / contest.FILE, Inputs(tables, folders), overwrite=arguments.overwrite)
    if folders:
        scores = contest.score_runs(folders, top)
    else:
        scores = contest.score_submission(arguments.submission, arguments.truth, arguments.train, top)
    print(scores.as_text())
    if out is not None:
        print(f"written: {scores.save(out)}")
    return 0
