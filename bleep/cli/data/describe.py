"""`bleep data describe`: tables and figures of tissue."""

import argparse
from pathlib import Path
from typing import Any

from bleep.cli.flags import add_settings, load_settings


def add(actions: Any) -> None:
    """Add the action."""
    # The setting `out` is the folder of a run; here it gives way to the folder of the description.
    describe = actions.add_parser(
        "describe", help="draw and tabulate genes, spots and sections", allow_abbrev=False, conflict_handler="resolve"
    )
    add_settings(describe)
    describe.add_argument("--out", type=Path, default=Path("describe"), help="folder for the description; an earlier one goes")
    describe.set_defaults(run_command=_describe)


def _describe(arguments: argparse.Namespace) -> int:
    config = load_settings(arguments)
    from bleep.workflows.describe import INDEX, WARNING, describe

    made = describe(config, arguments.out)
    pooled = made.pooled
    print(f"{pooled.words()}; {pooled.scale}")
    for name, finding in made.findings.items():
        print(f"{name:17s} {finding}")
    print(f"{'pairs':17s} {made.pairs.words()} (gene_pairs.csv)")
    print(f"note: {WARNING}")
    print(f"{arguments.out / INDEX}: what each table and figure is")
    return 0
