"""How the learning rate goes with the step: a rise over the warm-up, then what `optim.schedule` says."""

import math
from collections.abc import Callable
from dataclasses import replace

from bleep.errors import ConfigError
from bleep.settings import Config, OptimConfig, ScheduleName
from bleep.training.journal import Progress

TENFOLD = 0.1


def _cosine(share: float, falls: int) -> float:
    return (1 + math.cos(math.pi * share)) / 2


def _plateau(share: float, falls: int) -> float:
    return TENFOLD**falls


def _constant(share: float, falls: int) -> float:
    return 1.0


SCHEDULES: dict[ScheduleName, Callable[[float, int], float]] = {
    "cosine": _cosine,
    "plateau": _plateau,
    "constant": _constant,
}
"""Factor of the peak rate, from the share of the steps after the warm-up that are done and the falls so far."""


def factor(config: OptimConfig, step: int, steps: int, falls: int) -> float:
    """Return what the peak rates are multiplied by at a step: a linear rise over the warm-up's share, then the schedule."""
    rise = max(round(config.warmup * steps), 1)
    if step < rise:
        return (step + 1) / rise
    return SCHEDULES[config.schedule](max(step - rise, 0) / max(steps - rise, 1), falls)


def after_epoch(progress: Progress, config: OptimConfig) -> Progress:
    """Count a fall of the rate once an epoch more than half of `patience` has gone by without a better score.

    Only `schedule: plateau` looks at it. The count is part of the state, so a resumed training falls at the same epochs.
    """
    waited = progress.epoch - max(progress.best_epoch, progress.fell)
    if config.schedule == "plateau" and waited > config.patience // 2:
        return replace(progress, falls=progress.falls + 1, fell=progress.epoch)
    return progress


def check_schedule(config: Config) -> None:
    """Refuse a schedule that has nothing to look at.

    Raises:
        ConfigError: the rate is to fall with the validation score, and nothing is held out for one.

    """
    if config.optim.schedule == "plateau" and config.data.val == "none":
        raise ConfigError(
            "optim.schedule is plateau, which follows the validation score, but data.val is none: "
            "set data.val to group or block, or optim.schedule to cosine"
        )
