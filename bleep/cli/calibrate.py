"""`bleep calibrate`: rehearse on the training tissue, and learn from it how to combine and how sure to be."""

import argparse
from typing import Any

from bleep.cli.runs import add_run, named_run


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_run(parser)
    parser.add_argument(
        "--folds", type=int, default=None, help="parts the training tissue is left out in (default: each section in turn)"
    )
    parser.set_defaults(run_command=_calibrate)


def _calibrate(arguments: argparse.Namespace) -> int:
    folder = named_run(arguments.run)
    from bleep.predictors.calibration import FOLDER
    from bleep.runs import Run
    from bleep.workflows.calibrate import calibrate
    from bleep.workflows.query import best_device

    run = Run.load(folder)
    run.model.to(best_device())
    report: dict[str, Any] = calibrate(run, folder, arguments.folds).report
    print(f"{folder / FOLDER}: fitted on {report['spots']} training spots, left out as {', '.join(report['left out'])}")
    if "weights" in report:
        print(f"weights of neighbours: {report['weights']}")
    for name, value in report["scores"].items():
        print(f"  {name:12s} PCC {value:.3f} on left-out training tissue")
    held = report["coverage"]
    print(
        f"intervals of {held['level']:.0%} held {held['mean']:.1%} of the values of parts that they were not fitted on "
        f"({held['least']:.1%} to {held['most']:.1%})"
    )
    print(f"next: bleep query --images FOLDER --run {folder} --abstain")
    return 0
