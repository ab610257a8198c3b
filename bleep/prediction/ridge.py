"""Ridge regression in closed form, its penalty chosen on held-out training groups."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float32, Float64, Int

ALPHAS = tuple(10.0**power for power in np.arange(0, 6.5, 0.5))
"""Penalties tried, for standardised features: with n spots, n is a shrinkage by half along a direction of unit variance."""


@final
@dataclass(frozen=True, slots=True)
class Ridge:
    """A fitted linear map from features to values."""

    mean: Float64[np.ndarray, " features"]
    spread: Float64[np.ndarray, " features"]
    offset: Float64[np.ndarray, " genes"]
    coefficients: Float64[np.ndarray, "features genes"]
    alpha: float
    """The penalty chosen."""

    def predict(self, features: Float32[np.ndarray, "spots features"]) -> Float32[np.ndarray, "spots genes"]:
        """Return the predicted values."""
        out: np.ndarray = (((features - self.mean) / self.spread) @ self.coefficients + self.offset).astype(np.float32)
        return out


def fit_ridge(
    features: Float32[np.ndarray, "spots features"],
    values: Float32[np.ndarray, "spots genes"],
    groups: Int[np.ndarray, " spots"],
    alphas: tuple[float, ...] = ALPHAS,
) -> Ridge:
    """Fit by minimising squared error + alpha x squared coefficients; features are standardised, the offset is free.

    Alpha is the one of least squared error over the groups, each held out once.
    """
    errors = np.zeros(len(alphas))
    for group in np.unique(groups):
        held = groups == group
        fitted = _solve(features[~held], values[~held], alphas)
        errors += [float(((ridge.predict(features[held]) - values[held]) ** 2).sum()) for ridge in fitted]
    best = alphas[int(np.argmin(errors))]
    return _solve(features, values, (best,))[0]


def _solve(features: np.ndarray, values: np.ndarray, alphas: tuple[float, ...]) -> list[Ridge]:
    """Solve for all penalties from one decomposition of the smaller of the two Gram matrices."""
    mean, spread = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    spread = np.where(spread > 1e-8, spread, 1.0)
    offset = values.mean(axis=0, dtype=np.float64)
    x, y = (features - mean) / spread, values - offset
    wide = x.shape[1] > x.shape[0]
    eigenvalues, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    eigenvalues = np.maximum(eigenvalues, 0.0)
    turned = vectors.T @ (y if wide else x.T @ y)
    out = []
    for alpha in alphas:
        solved = vectors @ (turned / (eigenvalues + alpha)[:, None])
        out.append(Ridge(mean, spread, offset, x.T @ solved if wide else solved, alpha))
    return out
