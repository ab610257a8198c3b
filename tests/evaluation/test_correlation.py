"""Streaming Pearson against scipy's."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import pearsonr

from bleep.evaluation.correlation import PearsonState, pearson


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    measured = rng.normal(1e3, 1, (60, 5))
    return measured + rng.normal(0, [0.1, 1, 2, 5, 20], (60, 5)), measured


def test_the_correlation_is_scipys(pair: tuple[np.ndarray, np.ndarray]) -> None:
    expected = [pearsonr(pair[0][:, column], pair[1][:, column]).statistic for column in range(5)]
    np.testing.assert_allclose(pearson(*pair), expected, rtol=1e-8)


@pytest.mark.parametrize("cuts", [(30,), (1, 2, 59), (10, 10, 45)])
def test_merged_parts_give_the_correlation_of_the_whole(cuts: tuple[int, ...], pair: tuple[np.ndarray, np.ndarray]) -> None:
    bounds = [0, *sorted(set(cuts)), 60]
    parts = [PearsonState.of(pair[0][a:b], pair[1][a:b]) for a, b in pairwise(bounds)]
    left = parts[0]
    for part in parts[1:]:
        left = left.merge(part)
    right = parts[-1]
    for part in reversed(parts[:-1]):
        right = part.merge(right)
    expected = [pearsonr(pair[0][:, column], pair[1][:, column]).statistic for column in range(5)]
    np.testing.assert_allclose(left.pearson(), expected, rtol=1e-8)
    np.testing.assert_allclose(right.pearson(), expected, rtol=1e-8)
    assert left.count == 60


def test_a_gene_measured_alike_everywhere_has_no_correlation_and_a_flat_prediction_has_0() -> None:
    varied = np.random.default_rng(0).random((20, 1))
    flat = np.full((20, 1), 0.3)
    predicted, measured = np.hstack([varied, flat, flat, varied]), np.hstack([flat, varied, flat, varied])
    r = pearson(predicted, measured)
    assert np.isnan(r[[0, 2]]).all()
    assert r[1] == 0
    assert r[3] == pytest.approx(1)


def test_float32_of_a_large_offset_loses_nothing() -> None:
    rng = np.random.default_rng(0)
    measured = (1e4 + rng.normal(0, 1, (500, 1))).astype(np.float32)
    predicted = (measured + rng.normal(0, 1, (500, 1))).astype(np.float32)
    expected = np.corrcoef(predicted[:, 0].astype(float), measured[:, 0].astype(float))[0, 1]
    assert pearson(predicted, measured)[0] == pytest.approx(expected, rel=1e-8)


def test_a_perfect_prediction_is_1_and_its_mirror_minus_1() -> None:
    values = np.random.default_rng(0).random((30, 2))
    assert pearson(values, values) == pytest.approx([1, 1])
    assert pearson(-values, values) == pytest.approx([-1, -1])
    assert (np.abs(pearson(values, values)) <= 1).all()
