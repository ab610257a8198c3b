"""Whether predicted intervals hold what they promise: their coverage and their width."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bleep.errors import DataError
from bleep.evaluation.correlation import Column

Values = Float[np.ndarray, "spots genes"]


class IntervalScores(NamedTuple):
    """For each gene."""

    coverage: Column
    """Share of the measured values inside the interval, its ends among it; not a number where nothing was measured."""
    width: Column
    """Mean width, on the normalised scale."""


def interval_scores(lower: Values, upper: Values, measured: Values) -> IntervalScores:
    """Compare intervals with what was measured; what was not measured is left out.

    Raises:
        DataError: a lower end lies above its upper end, or an end is not a number.

    """
    if np.isnan(lower).any() or np.isnan(upper).any() or (lower > upper).any():
        raise DataError("an interval has a lower end above its upper end, or an end that is not a number; calibrate again")
    known = np.isfinite(measured)
    many = known.sum(axis=0)
    some = np.maximum(many, 1)
    inside = (known & (measured >= lower) & (measured <= upper)).sum(axis=0) / some
    width = np.where(known, upper.astype(np.float64) - lower, 0.0).sum(axis=0) / some
    return IntervalScores(np.where(many > 0, inside, np.nan), np.where(many > 0, width, np.nan))
