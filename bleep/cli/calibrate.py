"""`bleep calibrate`: rehearse on the training tissue, and learn from it how to combine and how sure to be."""

import argparse
from pathlib import Path
from typing import Any

from bleep.cli.flags import DEFAULT, MANY, named_run


def add(parser: argparse.ArgumentParser) -> None:
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
    from bleep.workflows.experiment import opened

    for experiment in opened(folders):
        _say(experiment.folder, calibrate(experiment, arguments.folds, arguments.members).report)
    print(f"next: bleep query --images FOLDER --run {folders[-1]} --abstain")
    return 0


def _say(folder: Path, report: dict[str, Any]) -> None:
    from bleep.predictors.calibration import FOLDER

    print(f"{folder / FOLDER}: fitted on {report['spots']} training spots, left out as {', '.join(report['left out'])}")
    if "weights" in report:
        print(f"weights of neighbours: {report['weights']}")
    print(f"rehearsed on {report['rehearsed on']}")
    for name, value in report["scores"].items():
        print(f"  {name:26s} PCC {value:.3f} on left-out training tissue")
    counts = ", ".join(f"{count} {grade}" for grade, count in report["confidence"].items())
    print(f"genes by confidence: {counts} (`bleep query --min-confidence` writes those alone)")
    held = report["coverage"]
    print(
        f"intervals of {held['level']:.0%} held {held['mean']:.1%} of the values of parts that they were not fitted on "
        f"({held['least']:.1%} to {held['most']:.1%})"
    )
