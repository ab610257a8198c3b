"""`bleep ensemble`: several runs as one predictor."""

import argparse
from pathlib import Path


def add(parser: argparse.ArgumentParser) -> None:
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
