"""How the learning rate goes with the step: a rise over the warm-up, then what `optim.schedule` says."""

import math
from collections.abc import Callable
from dataclasses import replace

from bleep.config import Config, OptimConfig, ScheduleName
from bleep.errors import ConfigError
from bleep.training.checkpoint import Progress


def _cosine(share: float, falls: int, config: OptimConfig) -> float:
    return (1 + math.cos(math.pi * share)) / 2


def _plateau(share: float, falls: int, config: OptimConfig) -> float:
    return config.plateau_factor**falls


def _constant(share: float, falls: int, config: OptimConfig) -> float:
    return 1.0


SCHEDULES: dict[ScheduleName, Callable[[float, int, OptimConfig], float]] = {
    "cosine": _cosine,
    "plateau": _plateau,
    "constant": _constant,
}
"""Factor of the peak rate, from the share of the steps after the warm-up that are done and the falls so far."""


def factor(config: OptimConfig, step: int, steps: int, falls: int) -> float:
    """Return what the peak rates are multiplied by at a step: a linear rise over the warm-up's share, then the schedule."""
    rise = _rise(config, steps)
    if step < rise:
        return (step + 1) / rise
    return SCHEDULES[config.schedule](max(step - rise, 0) / max(steps - rise, 1), falls, config)


def least_rate(config: OptimConfig, step: int, steps: int) -> float:
    """Return what no rate falls below at a step; there is no such bound but under `schedule: plateau`, after the warm-up."""
    return config.plateau_min_lr if config.schedule == "plateau" and step >= _rise(config, steps) else 0.0


def _rise(config: OptimConfig, steps: int) -> int:
    return max(round(config.warmup * steps), 1)


def after_epoch(progress: Progress, score: float, config: OptimConfig) -> Progress:
    """Count epochs without a better score, and a fall of the rate once there were more than `plateau_patience`.

    Only `schedule: plateau` looks at it. The rule is that of torch's ReduceLROnPlateau for a score that shall rise. The counts
    are part of the state, so a resumed training falls at the same epochs.
    """
    if config.schedule != "plateau":
        return progress
    if _better(score, progress.mark, config):
        stale, mark = 0, score
    else:
        stale, mark = progress.stale + 1, progress.mark
    cooling = progress.cooling
    if cooling:
        stale, cooling = 0, cooling - 1
    if stale > config.plateau_patience:
        return replace(progress, falls=progress.falls + 1, stale=0, cooling=config.plateau_cooldown, mark=mark)
    return replace(progress, stale=stale, cooling=cooling, mark=mark)


def _better(score: float, mark: float, config: OptimConfig) -> bool:
    if config.plateau_mode == "abs":
        return score > mark + config.plateau_threshold
    return score > mark * (1 + config.plateau_threshold)


def check_schedule(config: Config) -> None:
    """Refuse a schedule that has nothing to look at.

    Raises:
        ConfigError: the rate is to fall with the validation score, and nothing is held out for one.

    """
    if config.optim.schedule == "plateau" and config.data.val == "none":
        raise ConfigError(
            "optim.schedule is plateau, which follows the validation score, but data.val is none: "
            "set data.val to group, block or random, or optim.schedule to cosine"
        )
