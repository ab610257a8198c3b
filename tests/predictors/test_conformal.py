"""Intervals and familiarity."""

import numpy as np
import pytest

from bleep.errors import ConfigError
from bleep.predictors.conformal import (
    FLOOR,
    SHIFT,
    Conformal,
    OutOfDistribution,
    PpcaDistance,
    coverage_in_words,
    coverage_of_others,
    widening,
)

RNG = np.random.default_rng(0)


def spots(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Errors whose size a spread foretells, for five genes."""
    rng = np.random.default_rng(seed)
    spread = rng.uniform(0.2, 2.0, (count, 5)).astype(np.float32)
    return (spread * rng.standard_t(4, (count, 5))).astype(np.float32), spread


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("known", [True, False])
def test_intervals_hold_their_share_of_exchangeable_spots(level: float, known: bool) -> None:
    (error, spread), (fresh, unseen) = spots(1500, 1), spots(4000, 2)
    conformal = Conformal.fit([error[:700], error[700:]], [spread[:700], spread[700:]] if known else [None, None], np.ones(5))
    held = np.abs(fresh) <= conformal.half_width(fresh.shape, unseen if known else None, level)
    np.testing.assert_allclose(held.mean(axis=0), level, atol=0.03)


def test_intervals_are_wider_where_neighbours_differ_and_where_more_is_to_be_held() -> None:
    error, spread = spots(500, 3)
    conformal = Conformal.fit([error], [spread], np.ones(5))
    narrow, wide = (conformal.half_width((4, 5), np.full((4, 5), sd, np.float32), 0.9) for sd in (0.2, 2.0))
    assert (wide > 5 * narrow).all()
    assert (conformal.half_width((4, 5), None, 0.95) > conformal.half_width((4, 5), None, 0.6)).all()


def test_what_is_added_to_a_spread_is_a_part_of_the_genes_deviation() -> None:
    error, spread = spots(99, 3)
    deviation = np.array([0.1, 1.0, 10.0, 0.5, 2.0])
    fitted = Conformal.fit([error], [spread], deviation)
    # Of 99 spots and a level of .9 the 90th score is the quantile.
    quantile = np.sort(np.abs(error) / (spread + FLOOR * deviation), axis=0)[89]
    np.testing.assert_allclose(
        fitted.half_width((1, 5), np.zeros((1, 5), np.float32), 0.9)[0], quantile * FLOOR * deviation, rtol=1e-5
    )


def test_the_share_that_is_told_of_a_part_is_by_intervals_of_the_others_alone() -> None:
    (usual, spread), (other, _) = spots(400, 3), spots(400, 4)
    errors, near = [usual, other, 100 * usual], [np.ones(400)] * 3
    told = coverage_of_others(errors, [spread] * 3, np.ones(5), near, 0.9)
    assert told["least"] < 0.1  # the third, of which the others foretell nothing
    by_hand = [
        (np.abs(errors[at]) <= Conformal.fit(rest, [spread] * 2, np.ones(5)).half_width((400, 5), spread, 0.9)).mean()
        for at, rest in enumerate([errors[1:], errors[::2], errors[:2]])
    ]
    assert [told["mean"], told["least"], told["most"]] == pytest.approx([np.mean(by_hand), min(by_hand), max(by_hand)])


def test_a_part_whose_others_are_too_few_for_intervals_says_nothing_of_what_they_hold() -> None:
    """A small section beside a large one: intervals of the large one are checked on the small one, not the other way round."""
    (large, _), (small, _) = spots(400, 3), spots(5, 4)
    told = coverage_of_others([large, small], [None] * 2, np.ones(5), [np.ones(400), np.ones(5)], 0.9)
    inside = np.abs(small) <= Conformal.fit([large], [None], np.ones(5)).half_width((5, 5), None, 0.9)
    assert told == {"level": 0.9, **dict.fromkeys(("mean", "least", "most"), pytest.approx(inside.mean()))}
    assert "held" in coverage_in_words(told)
    few = coverage_of_others([small, small], [None] * 2, np.ones(5), [np.ones(5)] * 2, 0.9)
    assert few["mean"] is None
    assert "not known" in coverage_in_words(few)


def test_intervals_widen_beyond_the_reach_of_what_was_rehearsed_and_only_there() -> None:
    error, spread = spots(500, 3)
    near = np.linspace(1.0, 2.0, 500)
    fitted = Conformal.fit([error], [spread], np.ones(5), [near])
    assert fitted.reach == pytest.approx(1.9)
    within, at_twice = (fitted.half_width((1, 5), None, 0.9, np.array([far])) for far in (1.0, 2 * fitted.reach))
    np.testing.assert_allclose(at_twice, 4 * within, rtol=1e-5)
    np.testing.assert_array_equal(within, fitted.half_width((1, 5), None, 0.9))
    # A calibration without distances, as older ones are, never widens.
    older = Conformal.fit([error], [spread], np.ones(5))
    np.testing.assert_array_equal(older.half_width((1, 5), None, 0.9, np.array([1e6])), older.half_width((1, 5), None, 0.9))


def test_too_few_spots_promise_no_level_that_they_cannot_show() -> None:
    """Of n left-out spots the largest error holds n / (n + 1) of others like them."""
    error, _ = spots(20, 5)
    conformal = Conformal.fit([error], [None], np.ones(5))
    np.testing.assert_allclose(conformal.half_width((4, 5), None, 0.95)[0], np.abs(error).max(axis=0), rtol=1e-6)
    with pytest.raises(
        ConfigError, match=r"left out too few spots .* that hold 0\.96 of .*: train with query\.interval 0\.95 or less"
    ):
        conformal.half_width((4, 5), None, 0.96)


@pytest.mark.parametrize("level", [0.3, 1.0])
def test_a_level_that_no_quantile_is_kept_for_is_refused(level: float) -> None:
    error, spread = spots(100, 4)
    with pytest.raises(ConfigError, match=r"expected 0\.5 to 0\.99"):
        Conformal.fit([error], [spread], np.ones(5)).half_width((4, 5), None, level)


def tiles(count: int, shift: float = 0.0) -> np.ndarray:
    """Features that vary along a few axes mostly."""
    axes = np.random.default_rng(7).normal(size=(4, 40))
    return (RNG.normal(size=(count, 4)) @ axes * 2 + RNG.normal(size=(count, 40)) + shift).astype(np.float32)


def test_training_tissue_is_about_one_away_and_other_tissue_far() -> None:
    cloud = PpcaDistance.fit(tiles(600))
    assert np.median(cloud.distance(tiles(300))) == pytest.approx(1.0, abs=0.15)
    assert cloud.distance(tiles(50, shift=8.0)).min() > cloud.distance(tiles(300)).max()


def test_distance_is_that_of_mahalanobis_under_the_covariance_of_probabilistic_components() -> None:
    """Tipping and Bishop, J. R. Stat. Soc. B 61:611, 1999: the leading variances, and one for all other axes."""
    train, asked = 100 + 3 * tiles(60), 100 + 3 * tiles(20)
    found = PpcaDistance.fit(train).distance(asked)
    unit = (train.astype(np.float64) - train.mean(axis=0, dtype=np.float64)) / train.std(axis=0, dtype=np.float64)
    values, vectors = np.linalg.eigh(np.cov(unit.T, bias=True))
    many = len(train) // 3
    values[:-many] = values[:-many].mean()
    to_mean = (asked.astype(np.float64) - train.mean(axis=0, dtype=np.float64)) / train.std(axis=0, dtype=np.float64)
    by_hand = np.einsum("ta,ab,tb->t", to_mean, np.linalg.inv(vectors @ np.diag(values) @ vectors.T), to_mean)
    np.testing.assert_allclose(found, np.sqrt(by_hand / train.shape[1]), rtol=1e-6)


def test_familiarity_is_the_share_of_left_out_tiles_as_far() -> None:
    train = tiles(600)
    left_out = PpcaDistance.fit(train[:300]).distance(train[300:])
    familiarity = OutOfDistribution.fit(train, [left_out])
    shares = familiarity.of(np.array([0.0, np.median(left_out), 1e6]))
    assert shares == pytest.approx([1.0, 0.5, 1 / 301], abs=0.01)
    many = np.tile(left_out, 20) + np.linspace(0, 1e-6, 6000)  # more than are kept
    np.testing.assert_allclose(OutOfDistribution.fit(train, [many]).of(left_out), familiarity.of(left_out), atol=0.01)
    usual = familiarity.of(familiarity.cloud.distance(tiles(1000)))
    assert (usual < 0.1).mean() == pytest.approx(0.1, abs=0.06)


def test_where_all_training_tiles_are_alike_intervals_are_finite() -> None:
    """Such as blank pictures: no tile is farther than another, and one that is, is far."""
    errors = [np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)]
    fitted = Conformal.fit(errors, [None], np.ones(3), [np.zeros(40)])
    alike, far = fitted.half_width((2, 3), None, 0.9, np.array([0.0, 1.0]))
    plain = Conformal.fit(errors, [None], np.ones(3)).half_width((1, 3), None, 0.9)
    np.testing.assert_allclose(alike, plain[0], rtol=1e-6)
    assert (far > 1e3 * alike).all()
    assert np.isfinite(far).all()


def test_a_cloud_of_few_tiles_has_a_distance_too() -> None:
    assert np.isfinite(PpcaDistance.fit(tiles(5)).distance(tiles(3))).all()


def test_a_factor_widens_all_intervals() -> None:
    random = np.random.default_rng(0)
    error, spread = random.normal(size=(200, 5)).astype(np.float32), random.random((200, 5)).astype(np.float32)
    plain, wider = (Conformal.fit([error], [spread], np.ones(5), factor=factor) for factor in (1.0, 1.1))
    for level in (0.5, 0.9):
        widths = [one.half_width((200, 5), spread, level) for one in (plain, wider)]
        np.testing.assert_allclose(widths[1], 1.1 * widths[0], rtol=1e-5)


def sections_off_by(level: float, spots: int, spread: np.ndarray) -> list[np.ndarray]:
    """Errors of thirty sections whose genes lie `level` spreads off, up or down."""
    random = np.random.default_rng(0)
    off = [random.choice([-level, level], len(spread)) for _ in range(30)]
    return [(spread * (random.normal(size=(spots, len(spread))) + one)).astype(np.float32) for one in off]


def test_intervals_widen_by_what_sections_of_one_subject_do_not_show_of_others() -> None:
    spread = np.array([0.1, 1.0, 10.0, 3.0])
    # Of a shift of .2 in variances within sections, left-out sections show nothing, a half, and all.
    assert widening(sections_off_by(0, 400, spread), spread) == pytest.approx(np.sqrt(1 + SHIFT), rel=0.01)
    assert widening(sections_off_by(np.sqrt(SHIFT / 2), 400, spread), spread) == pytest.approx(np.sqrt(1.2 / 1.1), rel=0.01)
    assert widening(sections_off_by(np.sqrt(2 * SHIFT), 400, spread), spread) == 1
    # The mean of ten spots is off by chance alone as much as a half of the shift, which is not taken for one.
    assert widening(sections_off_by(0, 10, spread), spread) == pytest.approx(np.sqrt(1 + SHIFT / 0.9), rel=0.02)


def test_a_section_of_one_spot_widens_nothing_to_infinity() -> None:
    factor = widening([np.ones((1, 3), np.float32), np.zeros((1, 3), np.float32)], np.ones(3))
    assert np.isfinite(factor)
    assert factor >= 1
