"""A feature that hardly varies over the training tiles cannot decide alone what is predicted of a tile."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from bleep.models.heads import LIMIT, PrincipalAxes, RunningStats, Standardizer, floored, limit_of
from bleep.predictors.baselines import fit_ridge
from bleep.predictors.conformal import PpcaDistance
from bleep.predictors.descriptions import COLOURS, _mean_spread

Standard = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _by_layer(train: np.ndarray, tile: np.ndarray) -> np.ndarray:
    layer = Standardizer(train.shape[1])
    layer.fit(torch.from_numpy(train))
    return layer(torch.from_numpy(tile)).numpy()


def _by_ridge(train: np.ndarray, tile: np.ndarray) -> np.ndarray:
    ridge = fit_ridge(train, train[:, :1], np.arange(len(train)) % 3)
    return (tile - ridge.mean) / ridge.spread


def _by_cloud(train: np.ndarray, tile: np.ndarray) -> np.ndarray:
    cloud = PpcaDistance.fit(train)
    return (tile - cloud.mean) / cloud.spread


STANDARDISERS: dict[str, Standard] = {
    "the model's layer": _by_layer,
    "a section's own moments": lambda train, tile: RunningStats.of([train]).standard(tile),
    "ridge": _by_ridge,
    "familiarity": _by_cloud,
}


@pytest.fixture
def features() -> tuple[np.ndarray, np.ndarray]:
    """Training tiles whose last feature has a spread of 1e-4, and one ordinary tile at which it is 0.2 away."""
    train = np.random.default_rng(0).normal(size=(200, 40)).astype(np.float32)
    train[:, -1] *= 1e-4
    tile = train[:1].copy()
    tile[0, -1] = 0.2
    return train, tile


@pytest.mark.parametrize("name", STANDARDISERS)
def test_one_nearly_dead_feature_is_not_thousands_of_deviations_away(
    name: str, features: tuple[np.ndarray, np.ndarray]
) -> None:
    train, tile = features
    assert abs((tile[0, -1] - train[:, -1].mean()) / train[:, -1].std()) > 1500
    assert abs(STANDARDISERS[name](train, tile)[0, -1]) < 15


def test_spreads_above_the_floor_stay_as_they_are_to_the_bit() -> None:
    spread = np.random.default_rng(1).uniform(0.1, 5, size=300).astype(np.float32)
    np.testing.assert_array_equal(floored(spread), spread)
    np.testing.assert_array_equal(floored(np.zeros(3)), np.ones(3))
    np.testing.assert_array_equal(floored(np.array([1e-4, 0.0, 1.0]), 0.0), [1e-4, 1.0, 1.0])


def test_dead_features_do_not_lower_the_floor_of_the_others() -> None:
    spread = np.concatenate([np.zeros(90), [1e-4], np.ones(9)])
    assert floored(spread)[90] > 1e-3


def test_a_feature_that_wakes_up_at_a_test_tile_does_not_decide_alone() -> None:
    spread = np.concatenate([[0.0], np.full(99, 0.01)])
    assert 0.2 / floored(spread)[0] <= 0.2


def test_colours_and_stains_have_each_their_own_floor() -> None:
    table = np.random.default_rng(2).normal(size=(100, 13)).astype(np.float32)
    table[:, :COLOURS] *= 40
    table[:, COLOURS:] *= 0.05
    np.testing.assert_array_equal(_mean_spread(table)[1], table.std(axis=0))


def test_principal_axes_along_which_nothing_varies_are_not_blown_up() -> None:
    train = torch.randn(100, 6, generator=torch.Generator().manual_seed(3))
    train[:, 4:] *= 1e-5
    axes = PrincipalAxes(6, 1, 6)
    axes.fit(train)
    assert axes(torch.full((1, 6), 0.1)).abs().max() < 20


def test_standardised_features_are_clipped_in_runs_of_frozen_trunks_alone() -> None:
    assert limit_of(0.02, learns=False) == LIMIT
    assert limit_of(0.02, learns=True) == limit_of(0.0, learns=False) == np.inf
    layer = Standardizer(3, limit=LIMIT)
    layer.fit(torch.randn(50, 3))
    np.testing.assert_array_equal(layer(torch.tensor([[1e6, -1e6, np.nan]])).numpy(), [[LIMIT, -LIMIT, np.nan]])
    free = Standardizer(3)
    free.fit(torch.randn(50, 3))
    assert free(torch.full((1, 3), 1e6)).min() > 1e4
