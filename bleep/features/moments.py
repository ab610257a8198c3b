"""Mean and spread of each feature, from blocks of rows that are never held together."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float32


@final
@dataclass(frozen=True, slots=True)
class Moments:
    """What features are standardised by."""

    mean: Float32[np.ndarray, " features"]
    spread: Float32[np.ndarray, " features"]

    @classmethod
    def of(cls, blocks: Iterable[Float32[np.ndarray, "_ features"]]) -> "Moments":
        """Return mean and standard deviation over all rows, merged block by block in double precision.

        The rule is Chan, Golub and LeVeque's (The American Statistician 37:242, 1983).
        """
        rows, mean, squares = 0, np.zeros(()), np.zeros(())
        for block in blocks:
            here = block.mean(axis=0, dtype=np.float64)
            apart, both = here - mean, rows + len(block)
            squares = squares + ((block - here) ** 2).sum(axis=0) + apart**2 * (rows * len(block) / both)
            mean, rows = mean + apart * (len(block) / both), both
        spread = np.maximum(np.sqrt(squares / rows), 1e-6)
        return cls(mean.astype(np.float32), spread.astype(np.float32))

    def standard(self, table: Float32[np.ndarray, "tiles features"]) -> Float32[np.ndarray, "tiles features"]:
        """Return features with this mean taken away and divided by this spread."""
        return (table - self.mean) / self.spread
