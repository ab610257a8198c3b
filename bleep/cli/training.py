"""Commands that train: `train`, `tune`, `cv`, `ensemble` and `calibrate`."""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bleep.cli import DEFAULT, MANY, add_settings, load_settings, named_run, own_usage
from bleep.cli.app import GO_ON, guarded, parse
from bleep.errors import ConfigError

if TYPE_CHECKING:
    from bleep.training.tuning import Tried


def add_train(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.description = (
        "Train an image and an expression encoder together, or a regression head, in one process. For several, with the same "
        "flags: accelerate launch [its options] -m bleep.train."
    )
    parser.add_argument("--resume", action="store_true", help="go on with the training in --out")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in --out")
    add_settings(parser)
    parser.set_defaults(run_command=_train)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `bleep/train.py`."""
    parser = argparse.ArgumentParser(prog="bleep/train.py", allow_abbrev=False)
    add_train(parser)
    parser.usage = own_usage(parser)
    return parser


def command(argv: Sequence[str]) -> int:
    """Train and return the exit code."""
    arguments = parse(build_parser(), argv)
    return guarded(lambda: _train(arguments), GO_ON["train"])


def _train(arguments: argparse.Namespace) -> int:
    config = load_settings(arguments)
    from bleep.workflows.fit import fit
    from bleep.workflows.launch import is_main_process

    run = fit(config, resume=arguments.resume, overwrite=arguments.overwrite)
    if is_main_process():
        kept, spots = f"{run.facts.epoch + 1} of {run.config.optim.epochs}", sum(s.spots for s in run.facts.train)
        print(f"{config.out}: trained on {spots} spots, kept epoch {kept}")
        step = "bleep index build" if config.loss.task not in ("regression", "classify") else "bleep query --images FOLDER"
        print(f"next: {step} --run {config.out}")
    return 0


SHOWN = 5
"""Trials in the table that is printed."""


def add_tune(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    # The setting `out` is the folder of a run; here it gives way to the folder of the tuning.
    parser.conflict_handler = "resolve"
    add_settings(parser)
    own = parser.add_argument_group("tuning")
    own.add_argument("--space", type=Path, required=True, metavar="YAML", help="which settings are tried, and in what range")
    own.add_argument("--trials", type=int, default=50, help="trials in all, those of earlier calls included (default: 50)")
    own.add_argument("--out", type=Path, default=None, help="folder (default: runs/tune/RUN-SPACE, of the two names)")
    own.add_argument("--storage", default=None, help="database: a file or a URL (default: study.db in --out)")
    own.add_argument("--keep-all", action="store_true", help="keep the run folder of every trial, not of the best alone")
    parser.set_defaults(run_command=_tune)


def _tune(arguments: argparse.Namespace) -> int:
    if arguments.trials < 1:
        raise ConfigError(f"--trials {arguments.trials}: expected a number above 0")
    config = load_settings(arguments)
    from bleep.training.search_space import read_space

    space = read_space(arguments.space, config)
    out: Path = arguments.out or Path("runs/tune") / f"{config.out.name}-{arguments.space.stem}"
    storage: str | None = arguments.storage
    if storage is not None and "://" not in storage:
        storage = f"sqlite:///{storage}"
    from bleep.workflows.tune import BEST, tune

    inputs = (arguments.space, *arguments.config)
    tuned = tune(config, space, arguments.trials, out, storage, keep_all=arguments.keep_all, inputs=inputs)
    ends = [one.state for one in tuned.tried]
    print(f"{len(ends)} trials: {ends.count('done')} done, {ends.count('pruned')} stopped early, {ends.count('failed')} failed")
    what = "ROC area, mean over classes," if config.loss.task == "classify" else "mean correlation per gene"
    print(f"score: best {what} on validation tissue; the test fold was not scored")
    print(_table([one for one in tuned.tried if one.state == "done"][:SHOWN], list(space)))
    own = next((one for one in tuned.tried if one.recipe and one.score is not None), None)
    if own is not None:
        print(f"trial {own.number} is the recipe as it is: {own.score:.4f}")
    for name, share in tuned.importances.items():
        print(f"{share:5.0%} of the importance: {name}")
    for path in tuned.written:
        print(f"written: {path}")
    place = Path("runs") / out.name
    if place.exists():  # as the tuning's own folder may be
        place = place.with_name(f"{out.name}-best")
    print(f"next: bleep train {_again(arguments, out / BEST, list(space))} --out {shlex.quote(str(place))}")
    return 0


def _table(best: "list[Tried]", names: list[str]) -> str:
    rows = [["trial", "score", "epochs", *names]]
    for one in best:
        values = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in map(one.values.get, names)]
        rows.append([str(one.number), f"{one.score:.4f}", str(len(one.log)), *values])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(word.rjust(width) for word, width in zip(row, widths, strict=True)) for row in rows)


def _again(arguments: argparse.Namespace, best: Path, tuned: list[str]) -> str:
    """Return the recipes and flags given, with the best settings laid over both."""
    words = ["--config", *map(str, arguments.config), str(best)]
    for key, value in vars(arguments).items():
        if key.startswith("set:") and value is not None and key.removeprefix("set:") not in tuned:
            words += [f"--{key.removeprefix('set:')}", *(value if isinstance(value, list) else [value])]
    return shlex.join(words)


def add_cv(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.description = (
        "Train a run for each fold of data.split (patients, sections, or blocks of a single section) into --out, and score all "
        "of them in one table, whose spread is over test sections (blocks of one have none). Finished folds are used again."
    )
    parser.add_argument("--calibrate", action="store_true", help="calibrate each run, so that combined is scored too")
    parser.add_argument("--bag", action="store_true", help="also join the folds to an ensemble in OUT/bag, for new tissue")
    parser.add_argument("--overwrite", action="store_true", help="train every fold anew")
    add_settings(parser)
    parser.set_defaults(run_command=_cv)


def _cv(arguments: argparse.Namespace) -> int:
    if (fold := getattr(arguments, "set:data.fold")) is not None:
        raise ConfigError(f"--data.fold {fold}: bleep cv trains every fold; leave it out, or train this one by bleep train")
    config = load_settings(arguments)
    from bleep.evaluation import report
    from bleep.workflows.labels import LabelTable, evaluate_spot_labels, label_text, label_words, save_labels
    from bleep.workflows.tune import BAG, check_bag, cross_validate

    if arguments.bag:
        check_bag(config)
    table, folders = cross_validate(config, calibrated=arguments.calibrate, overwrite=arguments.overwrite)
    if isinstance(table, LabelTable):
        print(label_text(table))
        written = list(save_labels(table, config.out))
    else:
        labels = evaluate_spot_labels(folders) if config.data.label else None
        if labels is not None:
            table = replace(table, facts=table.facts | {"labels told by neighbours": label_words(labels)})
        print(report.as_text(table))
        written = list(report.save(table, config.out))
        if labels is not None:
            print(f"\nlabels of spots, {config.data.label}\n{label_text(labels)}")
            written += save_labels(labels, config.out, "labels")
    for path in written:
        print(f"written: {path}")
    if arguments.bag:
        from bleep.workflows.ensemble import save_ensemble

        save_ensemble(folders, config.out / BAG, bagged=True)
        print(f"next: bleep query --images FOLDER --run {config.out / BAG}")
    print(f"next: bleep evaluate --run {' '.join(map(str, folders))} --report page.html")
    return 0


def add_ensemble(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of runs on the same genes and tissue")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder to write; bleep query and bleep evaluate take it as --run"
    )
    parser.add_argument(
        "--weights", choices=("mean", "validation"), default="mean", help="all alike, or by validation score (default: mean)"
    )
    parser.set_defaults(run_command=_ensemble)


def _ensemble(arguments: argparse.Namespace) -> int:
    from bleep.workflows.ensemble import save_ensemble

    weights = save_ensemble(arguments.runs, arguments.out, arguments.weights)
    for folder, weight in zip(arguments.runs, weights, strict=True):
        print(f"{weight:.3f}  {folder}")
    print(f"next: bleep query --images FOLDER --run {arguments.out}")
    return 0


def add_calibrate(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--run", type=Path, **MANY, help=f"runs to calibrate, one after another ({DEFAULT})")
    parser.add_argument(
        "--folds", type=int, default=None, help="parts the training tissue is left out in (default: each section in turn)"
    )
    parser.add_argument("--members", **MANY, metavar="NAME", help="join these predictors of other packages too")
    parser.set_defaults(run_command=_calibrate)


def _calibrate(arguments: argparse.Namespace) -> int:
    folders = [named_run(each, changes=True) for each in arguments.run or [None]]
    from bleep.workflows.calibrate import calibrate
    from bleep.workflows.opened import opened

    for experiment in opened(folders):
        _say(experiment.folder, calibrate(experiment, arguments.folds, arguments.members).report)
    print(f"next: bleep query --images FOLDER --run {folders[-1]} --abstain")
    return 0


def _say(folder: Path, report: dict[str, Any]) -> None:
    from bleep.predictors.calibration import FOLDER
    from bleep.predictors.conformal import coverage_in_words

    print(f"{folder / FOLDER}: fitted on {report['spots']} training spots, left out as {', '.join(report['left out'])}")
    if "weights" in report:
        print(f"weights of neighbours: {report['weights']}")
    print(f"rehearsed on {report['rehearsed on']}")
    for name, value in report["scores"].items():
        print(f"  {name:26s} PCC {value:.3f} on left-out training tissue")
    counts = ", ".join(f"{count} {grade}" for grade, count in report["confidence"].items())
    print(f"genes by confidence: {counts} (`bleep query --min-confidence` writes those alone)")
    print(coverage_in_words(report["coverage"]))
    if report["widened"] > 1:
        print(
            f"a query's are {report['widened']:.3g} times as wide: sections of one subject differ less in their genes' levels "
            "than those of another"
        )
