"""Spreads that standardised features are divided by, none so small that a feature which hardly varies could decide alone."""

import math

import numpy as np
from jaxtyping import Float

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
