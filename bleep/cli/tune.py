"""`bleep tune`: settings that score best on validation tissue."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from bleep.cli.flags import add_settings, load_settings
from bleep.errors import ConfigError

if TYPE_CHECKING:
    from bleep.training.tuning import Tried

SHOWN = 5
"""Trials in the table that is printed."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    # The setting `out` is the folder of a run; here it gives way to the folder of the tuning.
    parser.conflict_handler = "resolve"
    add_settings(parser)
    own = parser.add_argument_group("tuning")
    own.add_argument("--space", type=Path, required=True, metavar="YAML", help="which settings are tried, and in what range")
    own.add_argument("--trials", type=int, default=50, help="trials in all, those of earlier calls included (default: 50)")
    own.add_argument("--out", type=Path, default=None, help="folder (default: runs/tune/RUN-SPACE, of the two names)")
    own.add_argument("--storage", default=None, help="database: a file or a URL (default: study.db in --out)")
    own.add_argument("--keep-all", action="store_true", help="keep the run folder of every trial, not of the best alone")
    parser.set_defaults(run_command=_tune)


def _tune(arguments: argparse.Namespace) -> int:
    if arguments.trials < 1:
        raise ConfigError(f"--trials {arguments.trials}: expected a number above 0")
    config = load_settings(arguments)
    from bleep.training.search_space import read_space

    space = read_space(arguments.space, config)
    out: Path = arguments.out or Path("runs/tune") / f"{config.out.name}-{arguments.space.stem}"
    storage: str | None = arguments.storage
    if storage is not None and "://" not in storage:
        storage = f"sqlite:///{storage}"
    from bleep.workflows.tune import BEST, tune

    tuned = tune(config, space, arguments.trials, out, storage, keep_all=arguments.keep_all)
    ends = [one.state for one in tuned.tried]
    print(f"{len(ends)} trials: {ends.count('done')} done, {ends.count('pruned')} stopped early, {ends.count('failed')} failed")
    print("score: best mean correlation per gene on validation tissue; the test fold was not scored")
    print(_table([one for one in tuned.tried if one.state == "done"][:SHOWN], list(space)))
    own = next((one for one in tuned.tried if one.recipe and one.score is not None), None)
    if own is not None:
        print(f"trial {own.number} is the recipe as it is: {own.score:.4f}")
    for name, share in tuned.importances.items():
        print(f"{share:5.0%} of the importance: {name}")
    for path in tuned.written:
        print(f"written: {path}")
    place = shlex.quote(f"runs/{out.name}")
    print(f"next: bleep train {_again(arguments, out / BEST, list(space))} --out {place}")
    return 0


def _table(best: "list[Tried]", names: list[str]) -> str:
    rows = [["trial", "score", "epochs", *names]]
    for one in best:
        values = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in map(one.values.get, names)]
        rows.append([str(one.number), f"{one.score:.4f}", str(len(one.log)), *values])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(word.rjust(width) for word, width in zip(row, widths, strict=True)) for row in rows)


def _again(arguments: argparse.Namespace, best: Path, tuned: list[str]) -> str:
    """Return the recipes and flags given, with the best settings laid over both."""
    words = ["--config", *map(str, arguments.config), str(best)]
    for key, value in vars(arguments).items():
        if key.startswith("set:") and value is not None and key.removeprefix("set:") not in tuned:
            words += [f"--{key.removeprefix('set:')}", *(value if isinstance(value, list) else [value])]
    return shlex.join(words)
