"""How far a tile is from the tissue a run was trained on, and how many left-out training tiles are as far.

The distance is that of probabilistic principal components (Tipping and Bishop, J. R. Stat. Soc. B 1999) of the trunk's own
features: Mahalanobis along the leading axes, and what lies beside them in units of its mean variance. It needs no training
tile kept, whatever their number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64

from bleep.features import Features

Distance = Float64[np.ndarray, " tiles"]

AXES = 30
"""Leading axes whose variances are told apart."""
KEPT = 2000
"""Distances of left-out tiles kept at most, evenly taken of the sorted ones."""


@final
@dataclass(frozen=True, slots=True)
class Cloud:
    """Where training tiles lie."""

    mean: Float64[np.ndarray, " features"]
    spread: Float64[np.ndarray, " features"]
    axes: Float64[np.ndarray, "axes features"]
    variance: Float64[np.ndarray, " axes"]
    """Along each axis."""
    rest: float
    """Mean variance along all others."""

    @classmethod
    def fit(cls, features: Features) -> "Cloud":
        """Measure training tiles; no more axes than a third of the tiles."""
        table = features.astype(np.float64)
        mean, spread = table.mean(axis=0), table.std(axis=0)
        spread = np.where(spread > 1e-8, spread, 1.0)
        unit = (table - mean) / spread
        values, vectors = np.linalg.eigh(unit.T @ unit / len(unit))
        count = max(1, min(AXES, len(unit) // 3, len(values) - 1))
        variance = np.maximum(values[::-1][:count], 1e-12)
        rest = max(float(values[:-count].sum()) / max(len(values) - count, 1), 1e-6)
        return cls(mean, spread, vectors[:, ::-1][:, :count].T.copy(), np.maximum(variance, rest), rest)

    def distance(self, features: Features) -> Distance:
        """Return the root of the mean squared distance, in standard deviations: near 1 for training tiles."""
        unit = (features - self.mean) / self.spread
        along = unit @ self.axes.T
        beside = np.maximum((unit**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
        total = (along**2 / self.variance).sum(axis=1) + beside / self.rest
        return np.sqrt(total / len(self.mean))


@final
@dataclass(frozen=True, slots=True)
class Familiarity:
    """Distances, and what they mean on left-out training tissue."""

    cloud: Cloud
    left_out: Distance
    """Distances of left-out training tiles from the others, sorted."""

    @classmethod
    def fit(cls, features: Features, left_out: Sequence[Float64[np.ndarray, "_"]]) -> "Familiarity":
        """Join all training tiles with the distances that rehearsals measured."""
        distances = np.sort(np.concatenate(left_out)).astype(np.float64)
        if len(distances) > KEPT:
            distances = np.quantile(distances, np.linspace(0, 1, KEPT))
        return cls(Cloud.fit(features), distances)

    def of(self, distance: Distance) -> Distance:
        """Return the share of left-out training tiles at least as far: an empirical p-value, 1 for the most usual tile."""
        nearer = np.searchsorted(self.left_out, distance, side="left")
        return (len(self.left_out) - nearer + 1) / (len(self.left_out) + 1)
