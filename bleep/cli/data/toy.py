"""`bleep data toy`: made-up tissue as files."""

import argparse
from pathlib import Path
from typing import Any

from bleep.errors import ConfigError


def add(actions: Any) -> None:
    """Add the action."""
    toy = actions.add_parser("toy", help="write toy tissue in the folder and st2k forms", allow_abbrev=False)
    toy.add_argument("out", type=Path, help="a new folder; it gets folder/ and st2k/")
    toy.add_argument("--seed", type=int, default=0, help="seed of the tissue")
    toy.set_defaults(run_command=_toy)


def _toy(arguments: argparse.Namespace) -> int:
    from bleep.data.toy import toy_sections, write_folder, write_st2k
    from bleep.files import check_writable

    if arguments.seed < 0:
        raise ConfigError(f"--seed {arguments.seed}: expected 0 or more")
    for form in (arguments.out / "folder", arguments.out / "st2k"):
        if not form.exists():
            check_writable(form)
    sections = toy_sections(seed=arguments.seed)
    write_folder(sections, arguments.out / "folder")
    write_st2k(sections, arguments.out / "st2k")
    print(f"{arguments.out}/folder: train.csv, test.csv and their tiles; {arguments.out}/st2k: slides and spots")
    print(f"next: bleep train --config toy --data.source folder --data.root {arguments.out}/folder/train.csv --data.split none")
    return 0
