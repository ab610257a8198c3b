"""`bleep evaluate`: one table of all predictors on held-out tissue."""

import argparse
from pathlib import Path

from bleep.cli.runs import DEFAULT, named_run


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--run", type=Path, nargs="+", default=[], help=f"runs to score: folds, seeds, tasks ({DEFAULT})")
    parser.add_argument("--out", type=Path, default=None, help="folder for evaluation.json and .md (default: the first run)")
    parser.set_defaults(run_command=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    folders = arguments.run or [named_run(None)]
    from bleep import pipeline
    from bleep.evaluation import report

    table = pipeline.evaluate(folders)
    written = report.save(table, arguments.out or folders[0])
    print(report.as_text(table))
    for path in written:
        print(f"written: {path}")
    return 0
