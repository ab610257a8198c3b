"""The corrector of the combined predictor."""

import numpy as np
import pytest

from bleep.errors import MismatchError
from bleep.predictors.stacking import Basis, Stacker, StackingInput, fit_stacker

GENES = 30


def section(seed: int, noise: dict[str, float], spots: int = 120) -> StackingInput:
    """Two hidden factors drive all genes; each member sees them through its own noise, `none` sees nothing."""
    axes = np.random.default_rng(99).normal(size=(2, GENES))
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(spots, 2)) @ axes
    level = rng.normal(size=GENES)
    members = {
        name: (np.zeros_like(signal) if name == "none" else signal) + sd * rng.normal(size=signal.shape)
        for name, sd in noise.items()
    }
    truth = signal + 1.5 * rng.normal(size=signal.shape) + level
    return StackingInput(
        {name: one.astype(np.float32) for name, one in members.items()}, truth.astype(np.float32), np.zeros(GENES)
    )


def fitted(noise: dict[str, float], axes: int = 5, shrink: float = 10.0) -> Stacker:
    seen = [section(seed, noise) for seed in range(3)]
    return fit_stacker(seen, Basis.of([one.truth for one in seen]), axes, shrink)


def error(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Squared error within the section."""
    gap = predicted - truth
    return float(((gap - gap.mean(axis=0)) ** 2).mean())


def test_on_unseen_tissue_it_errs_less_than_each_member_and_their_mean() -> None:
    noise = {"retrieval": 1.0, "regression": 1.5, "ridge": 2.5}
    stacker, unseen = fitted(noise), section(50, noise, 400)
    members = [error(one, unseen.truth) for one in unseen.predictions.values()]
    plain = error(np.mean(list(unseen.predictions.values()), axis=0), unseen.truth)
    assert error(stacker.apply(unseen.predictions), unseen.truth) < min(*members, plain)


def test_the_axes_of_expression_take_noise_away() -> None:
    noise = {"retrieval": 1.0, "regression": 1.0}
    unseen = section(51, noise, 400)
    with_axes, without = (fitted(noise, axes).apply(unseen.predictions) for axes in (5, 0))
    assert error(with_axes, unseen.truth) < 0.97 * error(without, unseen.truth)


def test_a_member_that_knows_nothing_gets_next_to_no_weight() -> None:
    stacker = fitted({"retrieval": 1.0, "none": 1.0})
    along = stacker.weights[:2]
    assert along[0].mean() > 10 * along[1].mean()


def test_members_that_know_nothing_are_shrunk_to_the_mean() -> None:
    noise = {"none": 1.0}
    stacker, unseen = fitted(noise), section(52, noise)
    away = stacker.apply(unseen.predictions) - stacker.mean
    assert np.abs(away).mean() < 0.15 * np.abs(unseen.predictions["none"]).mean()


def test_weights_are_never_negative_and_a_stronger_pull_makes_genes_alike() -> None:
    noise = {"retrieval": 1.0, "regression": 1.5}
    loose, tight = fitted(noise, shrink=0.1), fitted(noise, shrink=1000.0)
    assert (loose.weights >= 0).all()
    assert tight.weights.std(axis=1).max() < 0.05 * loose.weights.std(axis=1).max()


def test_each_tile_is_corrected_by_itself() -> None:
    noise = {"retrieval": 1.0, "regression": 1.5}
    stacker, unseen = fitted(noise), section(53, noise)
    whole = stacker.apply(unseen.predictions)
    half = stacker.apply({name: one[:40] for name, one in unseen.predictions.items()})
    np.testing.assert_allclose(half, whole[:40], rtol=1e-5, atol=1e-5)


def test_a_missing_member_is_refused() -> None:
    stacker = fitted({"retrieval": 1.0, "regression": 1.5})
    with pytest.raises(MismatchError, match="regression was not given"):
        stacker.apply({"retrieval": section(1, {"retrieval": 1.0}).predictions["retrieval"]})
