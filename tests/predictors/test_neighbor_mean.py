"""The average over neighbours is that of the definition, in every form and within every budget."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bleep.predictors import retrieval as averaging
from bleep.predictors.retrieval import averaged, weighted_mean
from bleep.records import Neighbors
from bleep.retrieval.reference.expression_writer import stored


def made(spots: int, genes: int, queries: int, k: int, seed: int = 0) -> tuple[np.ndarray, Neighbors, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = (rng.random((spots, genes)) * 8 * (rng.random((spots, genes)) < 0.5)).astype(np.float32)
    weights = rng.random((queries, k)).astype(np.float32) + 0.01
    weights /= weights.sum(axis=1, keepdims=True)
    return values, Neighbors(weights, rng.integers(0, spots, (queries, k))), weights


def defined(values: np.ndarray, neighbors: Neighbors, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    taken, share = values[neighbors.rows].astype(np.float64), weights[:, :, None].astype(np.float64)
    share = share / share.sum(axis=1, keepdims=True)
    mean = (taken * share).sum(axis=1)
    return mean, np.sqrt((share * (taken - mean[:, None]) ** 2).sum(axis=1))


@pytest.mark.parametrize("budget", [2**28, 2**14, 1])
@pytest.mark.parametrize("form", ["dense", "half", "sparse"])
def test_every_form_and_budget_gives_the_average_of_the_definition(
    form: str, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(averaging, "BUDGET", budget)
    values, neighbors, weights = made(60, 70, 40, 9)
    store, _ = stored([values], form)  # type: ignore[arg-type]
    expected = defined(store.rows(np.arange(60)), neighbors, weights)
    mean, spread = averaged(store, neighbors, weights)
    np.testing.assert_allclose(mean, expected[0], atol=1e-5)
    np.testing.assert_allclose(spread, expected[1], atol=1e-5)
    np.testing.assert_allclose(weighted_mean(store, neighbors, weights), expected[0], atol=1e-5)
    assert spread.max() > 1


@given(st.integers(1, 40), st.integers(1, 130), st.integers(0, 30), st.integers(1, 12), st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_any_shape_is_averaged(spots: int, genes: int, queries: int, k: int, seed: int) -> None:
    values, neighbors, weights = made(spots, genes, queries, k, seed)
    expected = defined(values, neighbors, weights)
    mean, spread = averaged(values, neighbors, weights)
    assert mean.shape == spread.shape == (queries, genes)
    np.testing.assert_allclose(mean, expected[0], atol=1e-5)
    np.testing.assert_allclose(spread, expected[1], atol=2e-5)


def test_equal_neighbours_have_no_spread_however_far_from_zero() -> None:
    values = np.array([[1000.1, 0.3], [1000.1, 5.0], [0.0, 5.0]], np.float32)
    weights = np.full((1, 3), 1 / 3, np.float32)
    mean, spread = averaged(values, Neighbors(weights, np.array([[0, 0, 1]])), weights)
    np.testing.assert_allclose(mean[0, 0], 1000.1, rtol=1e-6)
    assert spread[0, 0] < 1e-4
    mean, spread = averaged(values, Neighbors(weights, np.array([[1, 2, 1]])), weights)
    assert spread[0, 1] < 1e-6


def test_the_rows_asked_for_at_once_stay_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    values, neighbors, weights = made(400, 30, 100, 50)
    store, _ = stored([values], "sparse")
    asked: list[int] = []
    whole = type(store).rows

    def rows(self: object, wanted: np.ndarray) -> np.ndarray:
        asked.append(4 * 30 * len(wanted))
        return whole(self, wanted)  # type: ignore[arg-type]

    monkeypatch.setattr(averaging, "BUDGET", 12_000)
    monkeypatch.setattr(type(store), "rows", rows)
    averaged(store, neighbors, weights)
    assert len(asked) > 10
    assert max(asked) <= 12_000


def test_the_arguments_are_not_changed() -> None:
    values, neighbors, weights = made(50, 10, 60, 5)
    before = values.copy()
    values.flags.writeable = False
    averaged(values, neighbors, weights)
    weighted_mean(values, neighbors, weights)
    np.testing.assert_array_equal(values, before)
