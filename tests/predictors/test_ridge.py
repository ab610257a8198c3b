"""Ridge in closed form."""

import numpy as np
import pytest

from bleep.predictors.baselines import ALPHAS, fit_ridge


@pytest.mark.parametrize("features", [6, 90])
def test_the_solution_is_that_of_the_normal_equations(features: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (50, features)).astype(np.float32)
    y = rng.normal(1, 1, (50, 4)).astype(np.float32)
    ridge = fit_ridge(x, y, np.arange(50) % 5, alphas=(10.0,))
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    coefficients = np.linalg.solve(z.T @ z + 10 * np.eye(features), z.T @ (y - y.mean(axis=0)))
    np.testing.assert_allclose(ridge.predict(x), z @ coefficients + y.mean(axis=0), rtol=1e-3, atol=1e-4)


def test_the_penalty_is_light_for_a_law_and_heavy_for_noise() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 10)).astype(np.float32)
    law = x @ rng.standard_normal((10, 3)).astype(np.float32)
    groups = np.arange(120) % 4
    assert fit_ridge(x, law, groups).alpha == ALPHAS[0]
    assert fit_ridge(x, rng.standard_normal((120, 3)).astype(np.float32), groups).alpha >= 100


def test_a_feature_that_does_not_vary_is_harmless() -> None:
    x = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    x[:, 1] = 5
    ridge = fit_ridge(x, x[:, :1] * 2, np.arange(40) % 4)
    assert np.isfinite(ridge.coefficients).all()
    np.testing.assert_allclose(ridge.coefficients[1], 0, atol=1e-9)
