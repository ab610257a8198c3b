"""Intervals that hold a stated share of measured values: split-conformal, gene by gene.

The score of a spot is its error in units of the neighbours' spread (Lei et al., JASA 2018); the quantile of the scores of
left-out spots makes the interval. The share is exact for spots exchangeable with those. Spots of an unseen section are so
only as far as sections are alike, which is why coverage is measured on unseen sections.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float32, Float64

from bleep.errors import ConfigError

Values = Float32[np.ndarray, "spots genes"]
Part = Float32[np.ndarray, "_ genes"]
"""Values of one part of several, each of its own length."""

LEVELS = np.arange(50, 100) / 100
"""Shares that quantiles are kept for."""
FLOOR = 0.1
"""Part of a gene's standard deviation added to every spread, so that neighbours that agree do not promise certainty."""


@final
@dataclass(frozen=True, slots=True)
class Conformal:
    """Quantiles of the scores of left-out spots."""

    quantiles: Float64[np.ndarray, "levels genes"]
    """One row for each of `LEVELS`."""
    floor: Float64[np.ndarray, " genes"]
    """Added to the spread."""

    @classmethod
    def fit(
        cls, errors: Sequence[Part], spreads: Sequence[Part | None], deviation: Float64[np.ndarray, " genes"]
    ) -> "Conformal":
        """Take the quantiles over all left-out spots together; `deviation` is each gene's in the training spots."""
        floor = FLOOR * np.maximum(deviation, 1e-6)
        scores = np.concatenate(
            [
                np.abs(error) / (floor if spread is None else spread + floor)
                for error, spread in zip(errors, spreads, strict=True)
            ]
        )
        # With n spots the rank is (n + 1) x level, rounded up: so an interval holds at least its share.
        ranks = np.minimum(np.ceil(LEVELS * (len(scores) + 1)).astype(np.int64), len(scores)) - 1
        return cls(np.sort(scores, axis=0)[ranks].astype(np.float64), floor)

    def half_width(self, shape: tuple[int, int], spread: Values | None, level: float) -> Values:
        """Return how far the interval reaches to either side of a prediction.

        Raises:
            ConfigError: no quantile is kept for such a level.

        """
        if not LEVELS[0] <= level <= LEVELS[-1]:
            raise ConfigError(f"an interval was asked to hold {level:g} of the values; expected {LEVELS[0]} to {LEVELS[-1]}")
        quantile = self.quantiles[int(np.searchsorted(LEVELS, level - 1e-9))]
        unit = np.zeros(shape) if spread is None else spread
        return ((unit + self.floor) * quantile).astype(np.float32)
