"""Errors against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from bleep.evaluation.metrics import DeviationState


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    measured = rng.random((40, 4)).astype(np.float32)
    return (measured + rng.normal(0, [0.01, 0.1, 1, 5], (40, 4))).astype(np.float32), measured


def test_the_errors_are_scikit_learns(pair: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, measured = pair
    state = DeviationState.of(predicted, measured)
    for found, by in ((state.mse(), mean_squared_error), (state.mae(), mean_absolute_error), (state.r2(), r2_score)):
        np.testing.assert_allclose(found, by(measured, predicted, multioutput="raw_values"), rtol=1e-4)
    np.testing.assert_allclose(state.variance_ratio(), predicted.var(axis=0) / measured.var(axis=0), rtol=1e-4)


def test_merged_parts_give_the_errors_of_the_whole(pair: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, measured = pair
    measured[3:6, 1] = np.nan
    whole = DeviationState.of(predicted, measured)
    parts = [DeviationState.of(predicted[a:b], measured[a:b]) for a, b in ((0, 7), (7, 7), (7, 8), (8, 40))]
    merged = parts[0].merge(parts[1].merge(parts[2])).merge(parts[3])
    for name in ("mse", "mae", "r2", "variance_ratio"):
        np.testing.assert_allclose(getattr(merged, name)(), getattr(whole, name)(), rtol=1e-10)


def test_what_does_not_vary_has_errors_but_no_r2_and_what_was_not_measured_has_neither() -> None:
    predicted, measured = np.random.default_rng(0).random((9, 2)), np.full((9, 2), 0.5)
    measured[:, 1] = np.nan
    state = DeviationState.of(predicted, measured)
    assert state.mse()[0] == pytest.approx(((predicted[:, 0] - 0.5) ** 2).mean())
    assert np.isnan(state.r2()).all()
    assert np.isnan(state.variance_ratio()).all()
    assert np.isnan(state.mse()[1])
    assert np.isnan(state.mae()[1])


def test_the_errors_are_of_what_was_measured(pair: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, measured = pair
    measured[3:6, 1], measured[1:, 2] = np.nan, np.nan
    state = DeviationState.of(predicted, measured)
    gap = predicted.astype(np.float64) - measured
    np.testing.assert_allclose(state.mse(), np.nanmean(gap**2, axis=0), rtol=1e-6)
    np.testing.assert_allclose(state.mae(), np.nanmean(np.abs(gap), axis=0), rtol=1e-6)
