"""Pearson correlation down columns: at once, or from parts that are merged.

Where the measured values do not vary there is nothing to correlate: the result is not a number, and means leave it out.
Where only the prediction does not vary, it explains nothing: the result is 0.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Float64

Column = Float64[np.ndarray, " columns"]


@final
@dataclass(frozen=True, slots=True)
class PearsonState:
    """Sums from which column-wise correlations follow; states of parts add up (Chan et al., COMPSTAT 1982)."""

    count: int
    mean: tuple[Column, Column]
    square: tuple[Column, Column]
    cross: Column

    @classmethod
    def of(cls, predicted: Float[np.ndarray, "rows columns"], measured: Float[np.ndarray, "rows columns"]) -> "PearsonState":
        """Summarise some rows."""
        p, m = predicted.astype(np.float64), measured.astype(np.float64)
        mean = (p.mean(axis=0), m.mean(axis=0))
        p, m = p - mean[0], m - mean[1]
        return cls(len(p), mean, ((p**2).sum(axis=0), (m**2).sum(axis=0)), (p * m).sum(axis=0))

    def merge(self, other: "PearsonState") -> "PearsonState":
        """Return the state of both parts together."""
        count = self.count + other.count
        share = self.count * other.count / count
        gap = tuple(there - here for here, there in zip(self.mean, other.mean, strict=True))
        mean = tuple(here + step * other.count / count for here, step in zip(self.mean, gap, strict=True))
        square = tuple(a + b + step**2 * share for a, b, step in zip(self.square, other.square, gap, strict=True))
        cross = self.cross + other.cross + gap[0] * gap[1] * share
        return PearsonState(count, (mean[0], mean[1]), (square[0], square[1]), cross)

    def pearson(self) -> Column:
        """Return the correlation of each column."""
        floor = 1e-12 * self.count
        size = np.sqrt(np.maximum(self.square[0], floor)) * np.sqrt(np.maximum(self.square[1], floor))
        r = np.where(self.square[0] > floor, self.cross / size, 0.0)
        out: Column = np.where(self.square[1] > floor, np.clip(r, -1, 1), np.nan)
        return out


def pearson(predicted: Float[np.ndarray, "rows columns"], measured: Float[np.ndarray, "rows columns"]) -> Column:
    """Return the correlation of each column over the rows."""
    return PearsonState.of(predicted, measured).pearson()
