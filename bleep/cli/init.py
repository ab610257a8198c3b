"""`bleep init`: from a folder to a recipe, every guess with its evidence."""

import argparse
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bleep.cli.flags import add_settings, overrides
from bleep.errors import DataError

if TYPE_CHECKING:
    from bleep.workflows.init import Plan


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    # The setting `out`, a run's folder, gives way to the file of the recipe; `config` is not read, it is made.
    parser.conflict_handler = "resolve"
    parser.description = (
        "Look at a folder of tissue, say what was found and by what evidence, write a recipe in which every choice is "
        "explained, check the data, and print the next line to type. A setting that is given as a flag is not guessed."
    )
    add_settings(parser)
    own = parser.add_argument_group("init")
    own.add_argument("folder", type=Path, help="where the tissue is: a folder, or one .h5ad or .csv file")
    own.add_argument("--out", type=Path, default=Path("own.yaml"), help="the recipe to write (default: own.yaml)")
    own.add_argument("--overwrite", action="store_true", help="replace the recipe if it is there")
    parser.set_defaults(run_command=_init)


def _init(arguments: argparse.Namespace) -> int:
    if arguments.out.exists() and not arguments.overwrite:
        raise DataError(f"{arguments.out}: is there already; add --overwrite to replace it, or choose another --out")
    from bleep.config import Config
    from bleep.config.config import merged
    from bleep.data.qc import as_text
    from bleep.files import check_writable, write_text
    from bleep.workflows.data import check
    from bleep.workflows.init import as_yaml, plan

    check_writable(arguments.out)
    over = merged(Config.load(*arguments.config).model_dump(mode="json", exclude_unset=True), overrides(arguments))
    made = plan(arguments.folder, {**over, "out": f"runs/{arguments.out.stem}"})
    width = max(len(guess.what) for guess in made.guesses)
    for guess in made.guesses:
        print(f"{guess.what:{width}s}  {guess.found} ({guess.evidence})")
    made = _asked(made)
    text = as_yaml(made)
    found = check(made.config())
    write_text(arguments.out, text)
    print("\n" + as_text(found, min(max(shutil.get_terminal_size((110, 24)).columns, 60), 120)))
    print(f"written: {arguments.out}")
    again = f"bleep data check {shlex.quote(str(arguments.out))}"
    print(f"next: {again}" if found.spoiled else f"next: bleep train --config {shlex.quote(str(arguments.out))}")
    return 1 if found.spoiled else 0


def _asked(made: "Plan") -> "Plan":
    """Ask whether the patients guessed are right, where somebody is there to answer; a split depends on it."""
    if not made.suggested or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return made
    pairs = ", ".join(f"{section} is of {patient}" for section, patient in made.suggested.items())
    if input(f"\nIs it right that {pairs}? [y/N] ").strip().lower() not in ("y", "yes"):
        return made
    from bleep.workflows.init import plan

    data = {**made.settings["data"], "patients": made.suggested}
    data = {key: value for key, value in data.items() if key not in ("split", "folds")}
    return plan(Path(data["root"]), {**made.settings, "data": data})
