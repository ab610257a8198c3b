"""The learning rate as a function of the step."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bleep.config import Config, OptimConfig
from bleep.errors import ConfigError
from bleep.training.checkpoint import Progress
from bleep.training.optimizers import after_epoch, check_schedule, factor, least_rate, set_rate


def rates(falls: int = 0, **over: object) -> list[float]:
    config = OptimConfig.model_validate({"warmup": 0.1, **over})
    return [factor(config, step, 100, falls) for step in range(100)]


@pytest.mark.parametrize("schedule", ["cosine", "plateau", "constant"])
def test_the_rate_rises_over_the_warm_up(schedule: str) -> None:
    assert rates(schedule=schedule)[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])


def test_by_default_it_falls_as_a_cosine_to_nearly_nothing() -> None:
    found = rates()
    assert all(later <= earlier for earlier, later in pairwise(found[10:]))
    assert found[55] == pytest.approx(0.5)
    assert found[-1] < 1e-3


def test_without_warm_up_the_first_step_has_the_peak_rate() -> None:
    assert rates(warmup=0.0)[0] == 1.0


def test_a_constant_rate_stays_and_a_plateau_falls_by_its_factor_each_time() -> None:
    assert set(rates(schedule="constant")[10:]) == {1.0}
    assert rates(2, schedule="plateau")[10:] == pytest.approx([0.01] * 90)
    assert rates(2, schedule="plateau", plateau_factor=0.5)[10:] == pytest.approx([0.25] * 90)


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"patience": 0},
        {"patience": 3, "cooldown": 2, "factor": 0.5},
        {"patience": 2, "threshold": 0.05, "threshold_mode": "abs", "factor": 0.3},
        {"patience": 1, "threshold": 0.2, "threshold_mode": "rel", "min_lr": 2e-3},
        {"patience": 1, "cooldown": 4, "min_lr": 2e-2},
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_the_rate_falls_when_that_of_torchs_reduce_lr_on_plateau_does(rule: dict[str, Any], seed: int) -> None:
    rule = {"patience": 4, "threshold": 1e-4, "threshold_mode": "rel", "cooldown": 0, "factor": 0.1, "min_lr": 0.0, **rule}
    peaks = (0.1, 1e-2)
    made = [nn.Parameter(torch.zeros(2, 2)) for _ in peaks]
    theirs = torch.optim.SGD([{"params": [p], "lr": peak} for p, peak in zip(made, peaks, strict=True)])
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, mode="max", eps=0.0, **rule)
    ours = torch.optim.SGD([{"params": [p], "peak": peak, "start": 0.0} for p, peak in zip(made, peaks, strict=True)], lr=1.0)
    named = {f"plateau_{'mode' if key == 'threshold_mode' else key}": value for key, value in rule.items()}
    config = OptimConfig.model_validate({"schedule": "plateau", "warmup": 0.0, **named})
    scores = np.random.default_rng(seed).normal(0.3 * np.tanh(np.arange(60) / 10), 0.05)
    progress, falls = Progress.start(), 0
    for epoch, score in enumerate(scores):
        progress = after_epoch(progress, float(score), config)
        scheduler.step(float(score))
        set_rate(ours, factor(config, epoch + 1, 60, progress.falls), 1.0, least_rate(config, epoch + 1, 60))
        expected = [group["lr"] for group in theirs.param_groups]
        assert [group["lr"] for group in ours.param_groups] == pytest.approx(expected)
        falls = progress.falls
    assert falls >= 1


def test_no_least_rate_lifts_the_warm_up() -> None:
    config = OptimConfig(schedule="plateau", plateau_min_lr=0.5, warmup=0.1)
    assert [least_rate(config, step, 100) for step in (0, 9, 10)] == [0, 0, 0.5]
    assert least_rate(OptimConfig(plateau_min_lr=0.5), 50, 100) == 0


def test_other_schedules_look_at_no_score() -> None:
    progress = Progress.start()
    for _ in range(40):
        progress = after_epoch(progress, 0.0, OptimConfig())
    assert progress == Progress.start()


def test_a_plateau_needs_a_validation_score() -> None:
    with pytest.raises(ConfigError, match=r"plateau.*data\.val is none"):
        check_schedule(Config.load({"optim": {"schedule": "plateau"}}))
    check_schedule(Config.load({"optim": {"schedule": "plateau"}, "data": {"val": "block"}}))
    check_schedule(Config())
