"""`bleep demo`: everything on toy tissue, in about two minutes."""

import argparse
import shlex
from pathlib import Path


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the demo")
    parser.add_argument("--epochs", type=int, default=None, help="epochs of training (default: those of the recipe toy)")
    parser.set_defaults(run_command=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    from bleep.demo import run_demo
    from bleep.evaluation import report

    made = run_demo(arguments.out, arguments.epochs)
    print(f"\n{report.as_text(made.table)}\n")
    record = report.save(made.table, arguments.out)[1]
    best = float(made.table.rows["pcc"].max())
    print(f"ceiling: {made.ceiling:.3f} (an oracle that knows the law; the rest is noise); best here {best:.3f}")
    print(f"the table: {record}")
    print(f"predictions of the held-out tiles: {made.predictions}")
    print("\nThe same by hand:")
    epochs = "" if arguments.epochs is None else f" --optim.epochs {arguments.epochs}"
    print(f"next: bleep train --config toy --out runs/toy{epochs}")
    print("next: bleep index build --run runs/toy")
    print(f"next: bleep query --images {shlex.quote(str(arguments.out / 'tissue/test'))} --mpp 1 --run runs/toy")
    print("\nOn your own tissue: docs/tutorial/own-data.md; `bleep config list` names the recipes to start from.")
    return 0
