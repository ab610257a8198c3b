"""What a rehearsal's neighbours are worth, and what it is held against, are measured without the other side's counts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bleep.config import Config
from bleep.data.panel import GenePanel
from bleep.data.section import Section
from bleep.data.splits import Split
from bleep.predictors import cross_fitting
from bleep.predictors.cross_fitting import Fold, OutOfFold, parts_of
from bleep.predictors.stacking import StackingInput
from bleep.records import Leak, Neighbors
from bleep.runs import Run
from bleep.workflows import calibrate as rehearsing

CASES = {"center": (3, {"batch": "center"}), "pool": (1, {"pool": 100.0}), "pooled sections": (2, {"pool": 100.0})}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, trained: dict[str, Path], toys: tuple[Section, ...]) -> tuple[Run, Split]:
    """A run whose panel corrects or pools, and its training tissue; it was trained otherwise, which does not matter here."""
    run, (count, panel) = Run.load(trained["contrastive"]), CASES[request.param]
    over = {"data": {"split": "section", "test": []}, "panel": panel, "query": {"members": []}}
    config = Config.load(run.config.dump(), over)
    divided = Split(toys[:count], (), (), "none", Leak("unknown", "toys"))
    return replace(run, config=config, panel=GenePanel.fit(divided.train, config.panel)), divided


def corrector_sees(
    run: Run, sections: tuple[Section, ...], folds: list[Fold], patched: pytest.MonkeyPatch
) -> list[StackingInput]:
    """Return what the corrector is fitted on, each part with neighbours drawn from its rest."""
    drawn = np.random.default_rng(0)
    left_out = []
    for fold in folds:
        rows = drawn.choice(fold.rest, (len(fold.held), 10))
        near = Neighbors(np.ones(rows.shape, np.float32), rows)
        ridge = {"ridge": np.zeros((len(fold.held), len(run.panel.genes)), np.float32)}
        left_out.append(OutOfFold(fold.name, fold.held, ridge, near, np.ones(len(fold.held)), run.panel.mean))
    seen: list[StackingInput] = []

    def stop(inputs: list[StackingInput], score: object) -> None:
        seen.extend(inputs)
        raise InterruptedError

    patched.setattr(rehearsing, "choose_stacker", stop)
    patched.setattr(cross_fitting, "WEIGHTINGS", cross_fitting.WEIGHTINGS[:1])
    with pytest.raises(InterruptedError):
        rehearsing.fit_calibration(run, Split(sections, (), (), "none", Leak("unknown", "toys")), left_out)
    return seen


def changed(sections: tuple[Section, ...], rows: np.ndarray) -> tuple[Section, ...]:
    """Return the sections with these spots, counted through all of them, caught gene by gene at other rates."""
    found, start = [], 0
    for section in sections:
        counts, mine = section.counts.copy(), np.isin(np.arange(len(section)) + start, rows)
        rates = np.where(mine[:, None], 1 + np.arange(counts.n_vars) % 7, 1)
        counts.X = (counts.X.toarray() * rates).astype(np.float32)
        found.append(replace(section, counts=counts))
        start += len(section)
    return tuple(found)


def test_counts_of_one_side_reach_neither_neighbours_nor_truth_of_the_other(
    case: tuple[Run, Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, divided = case
    folds = parts_of(run, divided.train)
    before = corrector_sees(run, divided.train, folds, monkeypatch)
    for number in (0, len(folds) - 1):
        for side in ("held", "rest"):
            sections = changed(divided.train, getattr(folds[number], side))
            other = replace(run, panel=run.panel.refitted(sections, run.config.panel))
            was, now = before[number], corrector_sees(other, sections, folds, monkeypatch)[number]
            moved = {
                "rest": np.abs(was.predictions["retrieval"] - now.predictions["retrieval"]).max(),
                "held": np.abs(was.truth - now.truth).max(),
            }
            assert moved.pop(side) > 0.1
            assert list(moved.values()) == [0]


def test_without_correction_and_pooling_neighbours_have_their_own_values(
    trained: dict[str, Path], toys: tuple[Section, ...]
) -> None:
    run = Run.load(trained["contrastive"])
    part = OutOfFold("toy1", np.arange(len(toys[0])), {}, None, np.ones(len(toys[0])), run.panel.mean)
    assert cross_fitting.seen_without(run, toys[:2], part) is None
    batched = replace(run, panel=GenePanel.fit(toys[:3], run.config.panel.model_copy(update={"batch": "center"})))
    config = Config.load(run.config.dump(), {"panel": {"batch": "center"}})
    found = cross_fitting.seen_without(replace(batched, config=config), toys[:3], part)
    assert found is not None
    rest, panel = found
    assert panel.sections == ("toy2", "toy3")
    values = cross_fitting.values_without(toys[:3], rest, panel)
    expected = np.concatenate([panel.training_values(section) for section in toys[1:3]])
    np.testing.assert_array_equal(values[len(toys[0]) :], expected)
    assert not values[: len(toys[0])].any()
