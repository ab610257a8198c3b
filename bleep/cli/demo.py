"""`bleep demo`: everything on toy tissue, in about two minutes."""

import argparse
from pathlib import Path


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the demo")
    parser.set_defaults(run_command=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    from bleep.demo import run_demo
    from bleep.evaluation import report

    made = run_demo(arguments.out)
    print(f"\n{report.as_text(made.table)}\n")
    record = report.save(made.table, arguments.out)[1]
    best = float(made.table.rows["pcc"].max())
    print(f"ceiling: {made.ceiling:.3f} (an oracle that knows the law; the rest is noise); best here {best:.3f}")
    print(f"the table: {record}")
    print(f"predictions of the held-out tiles: {made.predictions}")
    print("\nNext, on your own tissue (docs/tutorial/own-data.md):")
    print("  accelerate launch bleep/train.py --config configs/her2st-c.yaml --data.root FOLDER")
    print("  bleep index build")
    print("  bleep query --images test/")
    return 0
