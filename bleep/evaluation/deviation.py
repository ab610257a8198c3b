"""How far predicted values lie from measured ones, down columns: squared and absolute error, R2, ratio of variances."""

from dataclasses import dataclass
from typing import final

import numpy as np

from bleep.evaluation.correlation import Column, PearsonState, Table, known_values


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
