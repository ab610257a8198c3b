"""Means and spreads that features are standardised by, no spread so small that a feature which hardly varies decides alone."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Float32

from bleep.config import FLOOR

LIMIT = 10.0
"""Standardised features are clipped to this many spreads: in one odd tile no single feature can decide."""


def limit_of(floor: float, *, learns: bool) -> float:
    """Return the limit of a run: none for a trunk that learns, as its features grow, nor for an old run without a floor."""
    return LIMIT if floor and not learns else math.inf


def floored(spread: Float[np.ndarray, " features"], floor: float = FLOOR) -> Float[np.ndarray, " features"]:
    """Return spreads of at least `floor` times the median of those that vary; where a feature does not vary, the median or 1.

    A feature that is nearly dead over the training tiles has a spread near 0, by which one tile that looks a little different
    would lie thousands of standard deviations away. Without a floor (0), only spreads below 1e-6 are replaced, by 1.
    """
    varies = spread > 1e-6
    if not floor or not varies.any():
        return np.where(varies, spread, np.ones_like(spread))
    usual = np.median(spread[varies]).astype(spread.dtype)
    # What never varied in training says nothing: divided by a small number it would decide wherever it wakes up.
    return np.where(varies, np.maximum(spread, floor * usual), np.maximum(usual, 1)).astype(spread.dtype)


@final
@dataclass(frozen=True, slots=True)
class RunningStats:
    """What features are standardised by."""

    mean: Float32[np.ndarray, " features"]
    spread: Float32[np.ndarray, " features"]

    @classmethod
    def of(cls, blocks: Iterable[Float32[np.ndarray, "_ features"]], floor: float = FLOOR) -> "RunningStats":
        """Return mean and standard deviation over all rows, merged block by block in double precision; the latter floored.

        The rule is Chan, Golub and LeVeque's (The American Statistician 37:242, 1983).
        """
        rows, mean, squares = 0, np.zeros(()), np.zeros(())
        for block in blocks:
            here = block.mean(axis=0, dtype=np.float64)
            apart, both = here - mean, rows + len(block)
            squares = squares + ((block - here) ** 2).sum(axis=0) + apart**2 * (rows * len(block) / both)
            mean, rows = mean + apart * (len(block) / both), both
        spread = np.sqrt(squares / rows)
        spread = floored(spread, floor) if floor else np.maximum(spread, 1e-6)
        return cls(mean.astype(np.float32), spread.astype(np.float32))

    def standard(self, table: Float32[np.ndarray, "tiles features"]) -> Float32[np.ndarray, "tiles features"]:
        """Return features with this mean taken away and divided by this spread."""
        return (table - self.mean) / self.spread
