"""Correlation down columns, Pearson's and Spearman's: at once, or from parts that are merged.

Where the measured values do not vary there is nothing to correlate: the result is not a number, and means leave it out.
Where only the prediction does not vary, it explains nothing: the result is 0. A measured value that is not a number leaves
its row out of that column; a predicted one that is not a number where something was measured is refused.
"""

from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from bleep.errors import DataError, MismatchError
from bleep.retrieval.index.flat import rounding

Column = Float64[np.ndarray, " columns"]
Table = Float[np.ndarray, "rows columns"]

FLAT, FLAT_OF_DOUBLES = 1e-12, 1e-20
"""A column whose variance is a smaller share of its mean square does not vary: numbers of 32 or of 64 bits cannot tell it
from the rounding of their sums."""


def flat_share(values: Table) -> float:
    """Return up to what share of its mean square a column's variance may be rounding, by the kind of its numbers."""
    return FLAT_OF_DOUBLES if values.dtype == np.float64 else FLAT


@final
@dataclass(frozen=True, slots=True)
class PearsonState:
    """Sums from which column-wise correlations follow; states of parts add up (Chan et al., COMPSTAT 1982)."""

    count: Column
    """Rows in which the column was measured."""
    mean: tuple[Column, Column]
    square: tuple[Column, Column]
    cross: Column
    flat: tuple[float, float]
    """Up to what share of its mean square a column's variance may be rounding."""

    @classmethod
    def of(cls, predicted: Table, measured: Table) -> "PearsonState":
        """Summarise some rows.

        Raises:
            DataError: a predicted value is not a number.

        """
        known = known_values(predicted, measured)
        count = known.sum(axis=0).astype(np.float64)
        p, m = predicted.astype(np.float64), measured.astype(np.float64)
        if not known.all():
            p[~known], m[~known] = np.nan, np.nan
        some = np.maximum(count, 1.0)
        mean = (np.nansum(p, axis=0) / some, np.nansum(m, axis=0) / some)
        p -= mean[0]
        m -= mean[1]
        if not known.all():
            p[~known], m[~known] = 0.0, 0.0
        squares = np.einsum("rc,rc->c", p, p), np.einsum("rc,rc->c", m, m)
        return cls(count, mean, squares, np.einsum("rc,rc->c", p, m), (flat_share(predicted), flat_share(measured)))

    def merge(self, other: "PearsonState") -> "PearsonState":
        """Return the state of both parts together."""
        count = self.count + other.count
        some = np.maximum(count, 1.0)
        share = self.count * other.count / some
        gap = tuple(there - here for here, there in zip(self.mean, other.mean, strict=True))
        mean = tuple(here + step * other.count / some for here, step in zip(self.mean, gap, strict=True))
        square = tuple(a + b + step**2 * share for a, b, step in zip(self.square, other.square, gap, strict=True))
        cross = self.cross + other.cross + gap[0] * gap[1] * share
        flat = max(self.flat[0], other.flat[0]), max(self.flat[1], other.flat[1])
        return PearsonState(count, (mean[0], mean[1]), (square[0], square[1]), cross, flat)

    @property
    def varies(self) -> Bool[np.ndarray, " columns"]:
        """Return the columns whose measured values vary."""
        return self.square[1] > self._floors[1]

    @property
    def _floors(self) -> tuple[Column, Column]:
        """Return the squares that rounding alone may give, whatever unit values are in."""
        tiny = float(np.finfo(float).tiny)
        first, second = (
            np.maximum(share * (self.count * mean**2 + square), tiny)
            for mean, square, share in zip(self.mean, self.square, self.flat, strict=True)
        )
        return first, second

    def pearson(self) -> Column:
        """Return the correlation of each column."""
        floors = self._floors
        size = np.sqrt(np.maximum(self.square[0], floors[0])) * np.sqrt(np.maximum(self.square[1], floors[1]))
        r = np.where(self.square[0] > floors[0], self.cross / size, 0.0)
        out: Column = np.where(self.varies, np.clip(r, -1, 1), np.nan)
        return out


@final
@dataclass(frozen=True, slots=True)
class SpearmanState:
    """The rows themselves: a rank depends on all values of its column, so nothing smaller gives the exact result.

    Memory therefore grows with the rows. Scores take ranks within one section, which fits.
    """

    predicted: Table
    measured: Table

    @classmethod
    def of(cls, predicted: Table, measured: Table) -> "SpearmanState":
        """Keep some rows.

        Raises:
            DataError: a predicted value is not a number.

        """
        known_values(predicted, measured)
        return cls(predicted, measured)

    def merge(self, other: "SpearmanState") -> "SpearmanState":
        """Return the rows of both parts."""
        predicted, measured = (self.predicted, other.predicted), (self.measured, other.measured)
        return SpearmanState(np.concatenate(predicted), np.concatenate(measured))

    def spearman(self) -> Column:
        """Return the rank correlation of each column."""
        return pearson(ranked(self.predicted, self.measured), ranked(self.measured, self.measured))


def pearson(predicted: Table, measured: Table) -> Column:
    """Return the correlation of each column over the rows; not a number where a column does not vary.

    >>> predicted = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]], np.float32)
    >>> measured = np.array([[2.0, 1.0], [4.0, 2.0], [6.0, 3.0]], np.float32)
    >>> pearson(predicted, measured).round(3).tolist()
    [1.0, -1.0]

    """
    return PearsonState.of(predicted, measured).pearson()


def spearman(predicted: Table, measured: Table) -> Column:
    """Return the rank correlation of each column over the rows; ties share their mean rank."""
    return SpearmanState.of(predicted, measured).spearman()


def ranked(values: Table, measured: Table) -> Table:
    """Return the rank of each value in its column, from 1, among the rows that were measured; not a number elsewhere.

    What differs by no more than the rounding of a flat column ties, as for Pearson.
    """
    from scipy.stats import rankdata

    known = np.isfinite(measured)
    state = PearsonState.of(values, np.where(known, values, np.nan))
    held = np.where(state.varies, values, 0.0).astype(values.dtype)
    if known.all():
        return rankdata(held, axis=0).astype(np.float32)
    return rankdata(np.where(known, held, np.nan), axis=0, nan_policy="omit").astype(np.float32)


def known_values(predicted: Table, measured: Table) -> Bool[np.ndarray, "rows columns"]:
    """Return where something was measured.

    Raises:
        DataError: a predicted value there is not a number.

    """
    known = np.isfinite(measured)
    wrong = known & ~np.isfinite(predicted)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DataError(
            f"{int(wrong.sum())} predicted values are not numbers, first in row {row}, column {column}: leaving them out would "
            "flatter the predictor, so mend it"
        )
    return known


@final
@dataclass(frozen=True, slots=True)
class DeviationState:
    """Sums from which the errors follow; states of parts add up.

    Values that were not measured are left out. A column that was never measured has no error; one whose measured values do
    not vary has no R2 and no ratio of variances: they are not numbers.
    """

    moments: PearsonState
    squared: Column
    """Sum of squared errors."""
    absolute: Column
    """Sum of absolute errors."""

    @classmethod
    def of(cls, predicted: Table, measured: Table) -> "DeviationState":
        """Summarise some rows.

        Raises:
            DataError: a predicted value is not a number.

        """
        gap = np.where(known_values(predicted, measured), predicted.astype(np.float64) - measured, 0.0)
        squared = np.einsum("rc,rc->c", gap, gap)
        return cls(PearsonState.of(predicted, measured), squared, np.abs(gap).sum(axis=0))

    def merge(self, other: "DeviationState") -> "DeviationState":
        """Return the state of both parts together."""
        squared, absolute = self.squared + other.squared, self.absolute + other.absolute
        return DeviationState(self.moments.merge(other.moments), squared, absolute)

    def mse(self) -> Column:
        """Return the mean squared error of each column."""
        return self._over(self.squared)

    def mae(self) -> Column:
        """Return the mean absolute error of each column."""
        return self._over(self.absolute)

    def r2(self) -> Column:
        """Return 1 - squared error / squared error of the column's own mean: 0 is that mean, below 0 is worse than it."""
        return self._where_varied(1.0, -self.squared)

    def variance_ratio(self) -> Column:
        """Return the variance of the predicted values over that of the measured."""
        return self._where_varied(0.0, self.moments.square[0])

    def _over(self, total: Column) -> Column:
        count = self.moments.count
        return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)

    def _where_varied(self, start: float, numerator: Column) -> Column:
        varies = self.moments.varies
        return np.where(varies, start + numerator / np.where(varies, self.moments.square[1], 1.0), np.nan)


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


BLOCK = 2048
"""Queries compared at a time, so that memory stays small."""
SHOWN = (1, 10, 50)
"""Values of k that recall is told for."""


def true_ranks(
    queries: Float32[np.ndarray, "queries dim"], spots: Float32[np.ndarray, "spots dim"]
) -> Int64[np.ndarray, " queries"]:
    """Return, for each query, the rank of the spot in its own row by inner product; 1 is the best.

    Spots as similar as the true one count as before it, so that equal vectors gain nothing; as similar is whatever rounding in
    single precision may have told apart.

    Raises:
        MismatchError: the tables differ in shape.
        DataError: a value is not a number.

    """
    if queries.shape != spots.shape:
        raise MismatchError(f"queries of shape {queries.shape} came with spots of {spots.shape}: expected one a query")
    if not (np.isfinite(queries).all() and np.isfinite(spots).all()):
        raise DataError("embeddings hold values that are not numbers, so nothing can be ranked")
    ranks, longest = np.empty(len(queries), dtype=np.int64), float(np.linalg.norm(spots, axis=1).max(initial=0))
    for start in range(0, len(queries), BLOCK):
        block = queries[start : start + BLOCK] @ spots.T
        own = block[np.arange(len(block)), start + np.arange(len(block))] - rounding(queries[start : start + BLOCK], longest)
        ranks[start : start + BLOCK] = (block >= own[:, None]).sum(axis=1)
    return ranks


def ranking_scores(ranks: Int64[np.ndarray, " spots"]) -> dict[str, float]:
    """Return recall at 1, 10 and 50, the median rank as a share of the spots, and how many times chance recall@10 is.

    Chance is k of n for recall@k and a half for the median rank.
    """
    many = len(ranks)
    scores = {f"recall_{k}": float((ranks <= k).mean()) for k in SHOWN}
    chance = min(10 / many, 1.0)
    return scores | {"recall_10_over_chance": scores["recall_10"] / chance, "median_rank": float(np.median(ranks)) / many}
