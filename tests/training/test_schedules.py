"""The learning rate as a function of the step."""

from itertools import pairwise

import pytest

from bleep.errors import ConfigError
from bleep.settings import Config, OptimConfig
from bleep.training.journal import Progress
from bleep.training.schedules import after_epoch, check_schedule, factor


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


def test_a_constant_rate_stays_and_a_plateau_falls_tenfold_each_time() -> None:
    assert set(rates(schedule="constant")[10:]) == {1.0}
    assert rates(2, schedule="plateau")[10:] == pytest.approx([0.01] * 90)


def test_the_rate_falls_when_half_of_the_patience_has_gone_by_without_a_better_score() -> None:
    config = OptimConfig(schedule="plateau", patience=4)
    scores = [0.1, 0.2, 0.1, 0.1, 0.1, 0.1, 0.3, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2]
    progress, falls = Progress.start(), []
    for epoch, score in enumerate(scores):
        best = (epoch, score) if score > progress.best_score else (progress.best_epoch, progress.best_score)
        progress = after_epoch(Progress(epoch, *best, progress.falls, progress.fell), config)
        falls.append(progress.falls)
    assert falls == [0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 3]
    assert after_epoch(Progress(9, 0, 0.0), OptimConfig(patience=4)).falls == 0


def test_a_plateau_needs_a_validation_score() -> None:
    with pytest.raises(ConfigError, match=r"plateau.*data\.val is none"):
        check_schedule(Config.load({"optim": {"schedule": "plateau"}}))
    check_schedule(Config.load({"optim": {"schedule": "plateau"}, "data": {"val": "block"}}))
    check_schedule(Config())
