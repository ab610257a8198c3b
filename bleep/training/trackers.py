"""Experiment trackers, through Accelerate, beside the run's own log."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from accelerate import Accelerator

from bleep.errors import DataError
from bleep.settings import Config

PROJECT = "bleep"
"""Name under which runs are tracked."""


def accelerator_of(config: Config) -> Accelerator:
    """Return the accelerator of this process, which knows the tracker of the settings.

    Raises:
        DataError: the tracker is not installed.

    """
    name = config.optim.tracker
    if name == "none":
        return Accelerator()
    if find_spec(name) is None:
        raise DataError(f"optim.tracker {name} needs the extra track: pip install 'bleep-st[track]' {name}")
    return Accelerator(log_with=name, project_dir=config.out)


def begin(accelerator: Accelerator, config: Config) -> None:
    """Tell the tracker, if there is one, that a training begins with these settings."""
    if config.optim.tracker != "none":
        accelerator.init_trackers(PROJECT, flat(config.dump()))


def flat(tree: Mapping[str, Any], at: str = "") -> dict[str, str | int | float | bool]:
    """Return a tree of settings as dotted names with plain values, lists and nothing as text."""
    found: dict[str, str | int | float | bool] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{at}{key}.")
        else:
            found[f"{at}{key}"] = value if isinstance(value, str | int | float | bool) else str(value)
    return found
