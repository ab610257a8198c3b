"""Weights of neighbours."""

import numpy as np
import pytest

from bleep.predictors.retrieval import WEIGHTS, averaged, softmax
from bleep.records import Neighbors

SIMILARITY = -np.sort(-np.random.default_rng(0).uniform(-1, 1, (30, 8)).astype(np.float32), axis=1)


@pytest.mark.parametrize("scale", [1.0, 40.0])
@pytest.mark.parametrize("name", WEIGHTS)
def test_each_row_sums_to_one_and_no_weight_is_negative(name, scale: float) -> None:
    weights = WEIGHTS[name](SIMILARITY * np.float32(scale), 0.1)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    assert (weights >= 0).all()


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_nearer_neighbour_never_counts_less(name) -> None:
    assert (np.diff(WEIGHTS[name](SIMILARITY, 0.1), axis=1) <= 1e-7).all()


def test_only_uniform_weights_ignore_the_similarity() -> None:
    for name, weigh in WEIGHTS.items():
        assert (np.ptp(weigh(SIMILARITY, 0.1), axis=1) < 1e-6).all() == (name == "uniform")


def test_a_perfect_match_has_a_finite_weight() -> None:
    similarity = np.array([[1.0, 1.0, 0.5]], dtype=np.float32)
    weights = WEIGHTS["distance"](similarity, 0.1)
    assert weights[0, :2] == pytest.approx([0.5, 0.5], abs=1e-3)


def test_a_lower_temperature_sharpens() -> None:
    assert (softmax(SIMILARITY, 0.01)[:, 0] > softmax(SIMILARITY, 1.0)[:, 0]).all()
    np.testing.assert_allclose(softmax(SIMILARITY, 1e6), 1 / 8, rtol=1e-4)


def test_averages_and_spreads_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(1)
    expression = rng.random((50, 5)).astype(np.float32)
    rows, weights = rng.integers(0, 50, (600, 8)), WEIGHTS["softmax"](np.repeat(SIMILARITY, 20, axis=0), 0.1)
    mean, spread = averaged(expression, Neighbors(np.repeat(SIMILARITY, 20, axis=0), rows), weights)
    for query in (0, 255, 256, 599):
        expected = np.average(expression[rows[query]], axis=0, weights=weights[query])
        variance = np.average((expression[rows[query]] - expected) ** 2, axis=0, weights=weights[query])
        np.testing.assert_allclose(mean[query], expected, rtol=1e-5)
        np.testing.assert_allclose(spread[query], np.sqrt(variance), rtol=1e-4, atol=1e-6)
