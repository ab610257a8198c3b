"""`bleep data check`: what is wrong with tissue, before hours are spent on it."""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from bleep.cli.flags import add_settings, overrides


def add(actions: Any) -> None:
    """Add the action."""
    check = actions.add_parser(
        "check",
        help="say what is wrong with tissue before it is trained on",
        description="Measure every section and say what would spoil a result (exit code 1) or is worth knowing (0). Data that "
        "cannot be read at all end in one sentence and exit code 2.",
        allow_abbrev=False,
    )
    check.add_argument("recipes", nargs="*", type=Path, metavar="YAML", help="recipes, as for --config")
    check.add_argument("--json", action="store_true", help="print JSON alone: sections and findings")
    add_settings(check)
    check.set_defaults(run_command=_check)


def _check(arguments: argparse.Namespace) -> int:
    from bleep.config import Config

    config = Config.load(*arguments.recipes, *arguments.config, overrides(arguments))
    from bleep.data.qc import as_text
    from bleep.workflows.data import check

    found = check(config)
    if arguments.json:
        print(json.dumps(found.to_dict(), indent=1, allow_nan=False))
    else:
        print(as_text(found, min(max(shutil.get_terminal_size((110, 24)).columns, 60), 120)))
    return 1 if found.spoiled else 0
