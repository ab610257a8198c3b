"""The rank of the true spot, and intervals, against plain computations."""

import numpy as np
import pytest

from bleep.errors import DataError, MismatchError
from bleep.evaluation import metrics as ranking
from bleep.evaluation.metrics import interval_scores, ranking_scores, true_ranks


@pytest.fixture
def embedded() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    spots = rng.normal(size=(90, 8)).astype(np.float32)
    return (spots + rng.normal(0, 1, (90, 8))).astype(np.float32), spots


def test_ranks_are_those_of_a_plain_sort_however_they_are_blocked(
    embedded: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, spots = embedded
    expected = [int(np.flatnonzero(np.argsort(-(spots @ q), kind="stable") == row)[0]) + 1 for row, q in enumerate(queries)]
    np.testing.assert_array_equal(true_ranks(queries, spots), expected)
    monkeypatch.setattr(ranking, "BLOCK", 7)
    np.testing.assert_array_equal(true_ranks(queries, spots), expected)


def test_equal_vectors_gain_nothing() -> None:
    same = np.ones((20, 3), np.float32)
    scores = ranking_scores(true_ranks(same, same))
    assert scores["recall_1"] == scores["recall_10"] == 0
    assert scores["median_rank"] == 1
    # Nor where a product of matrices sums the columns of equal vectors in another order.
    row = np.random.default_rng(0).normal(size=255).astype(np.float32)
    assert (true_ranks(np.tile(row, (515, 1)), np.tile(row, (515, 1))) == 515).all()


def test_the_true_spot_found_first_is_full_recall_and_chance_is_a_half() -> None:
    rng = np.random.default_rng(0)
    spots = np.linalg.qr(rng.normal(size=(40, 40)))[0].astype(np.float32)
    scores = ranking_scores(true_ranks(spots, spots))
    assert scores == pytest.approx(
        {"recall_1": 1, "recall_10": 1, "recall_50": 1, "recall_10_over_chance": 4, "median_rank": 1 / 40}
    )
    blind = ranking_scores(
        true_ranks(rng.normal(size=(2000, 4)).astype(np.float32), rng.normal(size=(2000, 4)).astype(np.float32))
    )
    assert blind["median_rank"] == pytest.approx(0.5, abs=0.05)


def test_embeddings_that_do_not_fit_or_are_no_numbers_are_refused(embedded: tuple[np.ndarray, np.ndarray]) -> None:
    queries, spots = embedded
    with pytest.raises(MismatchError, match="came with spots of"):
        true_ranks(queries[:3], spots)
    spots[2, 1] = np.nan
    with pytest.raises(DataError, match="not numbers"):
        true_ranks(queries, spots)


def test_coverage_and_width_are_counted_where_something_was_measured() -> None:
    measured = np.array([[0.0, 1.0], [1.0, np.nan], [2.0, np.nan], [3.0, 9.0]])
    lower, upper = np.full((4, 2), 0.0), np.full((4, 2), 2.0)
    upper[3, 1] = 4.0
    found = interval_scores(lower, upper, measured)
    np.testing.assert_allclose(found.coverage, [0.75, 0.5])
    np.testing.assert_allclose(found.width, [2.0, 3.0])
    assert np.isnan(interval_scores(lower, upper, np.full((4, 2), np.nan)).coverage).all()


def test_normal_intervals_of_a_normal_gene_cover_what_they_say() -> None:
    measured = np.random.default_rng(0).normal(size=(20_000, 1))
    found = interval_scores(np.full((20_000, 1), -1.645), np.full((20_000, 1), 1.645), measured)
    assert found.coverage[0] == pytest.approx(0.9, abs=0.01)


def test_an_interval_upside_down_is_refused() -> None:
    with pytest.raises(DataError, match="above its upper end"):
        interval_scores(np.ones((2, 2)), np.zeros((2, 2)), np.zeros((2, 2)))
