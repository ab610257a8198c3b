"""Streaming Pearson and Spearman against scipy's."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from bleep.errors import DataError
from bleep.evaluation.metrics import PearsonState, SpearmanState, pearson, spearman
from bleep.evaluation.statistics import morans_i, neighbour_graph

CUTS = [(30,), (1, 2, 59), (10, 10, 45)]


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    measured = rng.normal(1e3, 1, (60, 5))
    return measured + rng.normal(0, [0.1, 1, 2, 5, 20], (60, 5)), measured


def test_the_correlation_is_scipys(pair: tuple[np.ndarray, np.ndarray]) -> None:
    expected = [pearsonr(pair[0][:, column], pair[1][:, column]).statistic for column in range(5)]
    np.testing.assert_allclose(pearson(*pair), expected, rtol=1e-8)


def test_the_rank_correlation_is_scipys_with_ties_and_without(pair: tuple[np.ndarray, np.ndarray]) -> None:
    for predicted, measured in (pair, (np.round(pair[0]), np.round(pair[1]))):
        expected = [spearmanr(predicted[:, column], measured[:, column]).statistic for column in range(5)]
        np.testing.assert_allclose(spearman(predicted, measured), expected, rtol=1e-6)


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_the_unit_of_values_changes_no_correlation_and_rounding_is_none(unit: float) -> None:
    rng = np.random.default_rng(0)
    measured = rng.gamma(2.0, 1.0, (60, 5)).astype(np.float32)
    predicted = measured + rng.normal(0, 1, (60, 5)).astype(np.float32)
    scaled = [(table * unit).astype(np.float32) for table in (predicted, measured)]
    np.testing.assert_allclose(pearson(*scaled), pearson(predicted, measured), rtol=1e-4)
    flat = (unit * (3.7 + 1e-7 * rng.normal(size=(60, 5)))).astype(np.float32)
    assert (pearson(flat, scaled[1]) == 0).all()
    assert np.isnan(pearson(scaled[0], flat)).all()
    graph = neighbour_graph(np.stack(np.divmod(np.arange(60), 8), axis=1).astype(np.float64))
    np.testing.assert_allclose(morans_i(scaled[1], graph), morans_i(measured, graph), atol=1e-5)


@pytest.mark.parametrize("offset", [1e-4, 1e4])
def test_rounding_of_a_flat_prediction_is_none_beside_values_of_another_size(offset: float) -> None:
    rng = np.random.default_rng(0)
    measured = rng.gamma(2.0, 1.0, (60, 5)).astype(np.float32)
    flat = (offset * (1 + 1e-7 * rng.normal(size=(60, 5)))).astype(np.float32)
    assert flat.var() > 0
    assert (pearson(flat, measured) == 0).all()
    assert np.isnan(pearson(measured, flat)).all()


def test_parts_of_both_kinds_of_numbers_are_told_from_rounding_as_the_coarser_kind() -> None:
    rng = np.random.default_rng(0)
    measured = rng.gamma(2.0, 1.0, (60, 5))
    flat = 1e4 * (1 + 1e-7 * rng.normal(size=(60, 5)))
    fine, coarse = PearsonState.of(flat[:30], measured[:30]), PearsonState.of(flat[30:].astype(np.float32), measured[30:])
    assert (fine.pearson() != 0).all()
    for merged in (fine.merge(coarse), coarse.merge(fine)):
        assert (merged.pearson() == 0).all()


def test_doubles_keep_the_small_differences_that_they_can_tell_apart() -> None:
    rng = np.random.default_rng(0)
    measured = rng.gamma(2.0, 1.0, (60, 5))
    offset = 1e5 + 1e-3 * measured
    np.testing.assert_allclose(pearson(offset, measured), 1.0, atol=1e-6)
    np.testing.assert_allclose(spearman(offset, measured), 1.0, atol=1e-6)
    np.testing.assert_allclose(
        PearsonState.of(offset[:20], measured[:20]).merge(PearsonState.of(offset[20:], measured[20:])).pearson(), 1.0, atol=1e-6
    )
    flat = 3.7 * (1 + 1e-12 * rng.normal(size=(60, 5)))
    assert (pearson(flat, measured) == 0).all()
    assert np.isnan(pearson(measured, flat)).all()


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("missing", [False, True])
def test_merged_parts_give_the_correlation_of_the_whole(
    cuts: tuple[int, ...], missing: bool, pair: tuple[np.ndarray, np.ndarray]
) -> None:
    predicted, measured = pair
    if missing:
        measured[::7, 1], measured[:, 4] = np.nan, np.nan
    bounds = [0, *sorted(set(cuts)), 60]
    parts = [PearsonState.of(predicted[a:b], measured[a:b]) for a, b in pairwise(bounds)]
    left = parts[0]
    for part in parts[1:]:
        left = left.merge(part)
    right = parts[-1]
    for part in reversed(parts[:-1]):
        right = part.merge(right)
    np.testing.assert_allclose(left.pearson(), pearson(predicted, measured), rtol=1e-8)
    np.testing.assert_allclose(right.pearson(), pearson(predicted, measured), rtol=1e-8)
    np.testing.assert_array_equal(left.count, np.isfinite(measured).sum(axis=0))


@pytest.mark.parametrize("cuts", CUTS)
def test_merged_parts_give_the_rank_correlation_of_the_whole(
    cuts: tuple[int, ...], pair: tuple[np.ndarray, np.ndarray]
) -> None:
    bounds = [0, *sorted(set(cuts)), 60]
    whole = SpearmanState.of(pair[0][:0], pair[1][:0])
    for a, b in pairwise(bounds):
        whole = whole.merge(SpearmanState.of(pair[0][a:b], pair[1][a:b]))
    np.testing.assert_array_equal(whole.spearman(), spearman(*pair))


def test_what_was_not_measured_is_left_out_of_its_column_alone(pair: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, measured = pair
    measured[5:9, 2] = np.nan
    kept = np.delete(np.arange(60), np.arange(5, 9))
    for found, by in ((pearson(predicted, measured), pearsonr), (spearman(predicted, measured), spearmanr)):
        assert found[2] == pytest.approx(by(predicted[kept, 2], measured[kept, 2]).statistic)
        assert found[1] == pytest.approx(by(predicted[:, 1], measured[:, 1]).statistic)


@pytest.mark.parametrize("how", [pearson, spearman])
def test_a_predicted_value_that_is_no_number_is_refused_not_left_out(how: object, pair: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, measured = pair
    predicted[3, 1] = np.nan
    with pytest.raises(DataError, match="row 3, column 1"):
        how(predicted, measured)  # type: ignore[operator]
    measured[3, 1] = np.nan
    assert np.isfinite(how(predicted, measured)).all()  # type: ignore[operator]


@pytest.mark.parametrize("how", [pearson, spearman])
def test_a_gene_measured_alike_everywhere_has_no_correlation_and_a_flat_prediction_has_0(how: object) -> None:
    varied = np.random.default_rng(0).random((20, 1))
    flat = np.full((20, 1), 0.3)
    predicted, measured = np.hstack([varied, flat, flat, varied]), np.hstack([flat, varied, flat, varied])
    r = how(predicted, measured)  # type: ignore[operator]
    assert np.isnan(r[[0, 2]]).all()
    assert r[1] == 0
    assert r[3] == pytest.approx(1)


@pytest.mark.parametrize("how", [pearson, spearman])
def test_one_spot_and_none_have_no_correlation(how: object) -> None:
    for rows in (0, 1):
        values = np.ones((rows, 3))
        assert np.isnan(how(values, values)).all()  # type: ignore[operator]


def test_float32_of_a_large_offset_loses_nothing() -> None:
    rng = np.random.default_rng(0)
    measured = (1e4 + rng.normal(0, 1, (500, 1))).astype(np.float32)
    predicted = (measured + rng.normal(0, 1, (500, 1))).astype(np.float32)
    expected = np.corrcoef(predicted[:, 0].astype(float), measured[:, 0].astype(float))[0, 1]
    assert pearson(predicted, measured)[0] == pytest.approx(expected, rel=1e-8)


def test_a_perfect_prediction_is_1_and_its_mirror_minus_1() -> None:
    values = np.random.default_rng(0).random((30, 2))
    for how in (pearson, spearman):
        assert how(values, values) == pytest.approx([1, 1])
        assert how(-values, values) == pytest.approx([-1, -1])
        assert (np.abs(how(values, values)) <= 1).all()
