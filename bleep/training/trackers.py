"""Experiment trackers, through Accelerate, beside the run's own log."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch
from accelerate import Accelerator

from bleep.config import Config
from bleep.errors import ConfigError, DataError

PROJECT = "bleep"
"""Name under which runs are tracked."""


def accelerator_of(config: Config) -> Accelerator:
    """Return the accelerator of this process, which knows the tracker of the settings.

    Raises:
        DataError: the tracker is not installed.
        ConfigError: half precision was asked for, and there is no GPU.

    """
    name = config.optim.tracker
    half = os.environ.get("ACCELERATE_MIXED_PRECISION") == "fp16"
    if half and torch.accelerator.current_accelerator(check_available=True) is None:
        raise ConfigError("mixed precision fp16 needs a GPU: launch with --mixed_precision bf16 or no on a CPU")
    if name == "none":
        return Accelerator()
    if find_spec(name) is None:
        raise DataError(f"optim.tracker {name} needs the extra track: pip install -e '.[track]' {name} in bleep's clone")
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
