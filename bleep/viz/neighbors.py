"""Why a tile was given its values: the neighbours behind them, and the genes those agree and disagree on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64, UInt8

from bleep.errors import MismatchError

LISTED = 8
"""Genes listed on each side, at most."""
SCATTERED = 0.5
"""Least relative spread of a gene that neighbours disagree on; below, they say alike that it is as usual."""

Windows = UInt8[np.ndarray, "windows 3 pixels pixels"]


@final
@dataclass(frozen=True, slots=True)
class NeighborView:
    """One reference spot that a tile's values were averaged from."""

    id: str
    """`section/spot`."""
    section: str
    spot: str
    patient: str
    similarity: float
    """Inner product of the tile's and the spot's embedding."""
    weight: float
    """Its share in the average; the shares of all neighbours sum to 1."""
    tile: Windows | None = None
    """What the slide shows around it; none where that was not asked for, or the slide is not at hand."""


@final
@dataclass(frozen=True, slots=True)
class GeneView:
    """One gene of one tile; all values on the prediction's scale."""

    gene: str
    predicted: float
    values: Float32[np.ndarray, " neighbours"]
    """What was measured in each neighbour, best first."""
    mean: float
    """Weighted mean of the values."""
    spread: float
    """Weighted standard deviation of the values."""
    training_mean: float
    """Mean over all training spots."""
    training_spread: float
    """Standard deviation over all training spots; above 0."""

    @property
    def relative_spread(self) -> float:
        """Return the neighbours' spread as a share of the training spread: about 1 says no more than chance."""
        return self.spread / self.training_spread

    @property
    def shift(self) -> float:
        """Return how far the neighbours' mean lies from the training mean, in training spreads; above 0 is higher."""
        return (self.mean - self.training_mean) / self.training_spread

    @property
    def clearance(self) -> float:
        """Return how far the neighbours, one spread of theirs off, still clear the training mean, in training spreads."""
        return abs(self.shift) - self.relative_spread


@final
@dataclass(frozen=True, slots=True)
class Explanation:
    """One tile, the neighbours it was predicted from, and the genes these agree and disagree on.

    Raises:
        MismatchError: a gene has not one value for each neighbour.

    """

    id: str
    """`section/spot` of the tile."""
    tile: Windows
    """What was looked at."""
    microns: tuple[float, ...]
    """Side of each window."""
    neighbors: tuple[NeighborView, ...]
    """All that were used, best first."""
    agreed: tuple[GeneView, ...]
    """Genes whose neighbours clear the training mean, the clearest first."""
    disputed: tuple[GeneView, ...]
    """Genes whose neighbours scatter about it, the most scattered first."""
    scale: str
    """What the values are, in words."""
    predictor: str
    """What predicted them."""

    def __post_init__(self) -> None:
        for view in (*self.agreed, *self.disputed):
            if len(view.values) != len(self.neighbors):
                raise MismatchError(
                    f"{self.id}: gene {view.gene} came with {len(view.values)} values for {len(self.neighbors)} neighbours"
                )

    def shares(self) -> dict[str, float]:
        """Return the weight that each section has in the average, the largest first."""
        totals = pd.Series([n.weight for n in self.neighbors]).groupby([n.section for n in self.neighbors]).sum()
        return {str(name): float(share) for name, share in totals.sort_values(ascending=False, kind="stable").items()}

    def describe(self) -> str:
        """Say in a sentence what the neighbours are and what they agree on."""
        shares = self.shares()
        named = ", ".join(f"{name} {100 * share:.0f} %" for name, share in list(shares.items())[:3])
        others = f", {len(shares) - 3} other sections {100 * sum(list(shares.values())[3:]):.0f} %" if len(shares) > 3 else ""
        many = f"{len(self.neighbors)} neighbour{'s' * (len(self.neighbors) > 1)}"
        start = f"{self.id}: {many} (weight from {named}{others})"
        if not self.agreed:
            return f"{start} agree on no gene that is far from its training mean"
        high = [view.gene for view in self.agreed if view.shift > 0]
        low = [view.gene for view in self.agreed if view.shift < 0]
        sides = [f"{_listing(genes)} {side}" for genes, side in ((high, "high"), (low, "low")) if genes]
        return f"{start} agree most on {' and '.join(sides)}"


def gene_views(
    genes: Sequence[str],
    predicted: Float32[np.ndarray, " genes"],
    values: Float32[np.ndarray, "neighbours genes"],
    weights: Float32[np.ndarray, " neighbours"],
    training_mean: Float64[np.ndarray, " genes"],
    training_spread: Float64[np.ndarray, " genes"],
) -> tuple[tuple[GeneView, ...], tuple[GeneView, ...]]:
    """Return the genes that neighbours agree on, and those they disagree on; at most `LISTED` of each, the strongest first.

    They agree on a gene if their weighted mean lies further from the training mean than their weighted spread. They disagree
    if it does not, and that spread is at least `SCATTERED` of the training spread; so no gene is on both sides. Genes that do
    not vary in training are on neither.
    """
    wide = values.astype(np.float64)
    mean = weights.astype(np.float64) @ wide
    spread = np.sqrt(weights.astype(np.float64) @ (wide - mean) ** 2)
    varied = training_spread > 0
    divisor = np.where(varied, training_spread, 1.0)
    relative = spread / divisor
    clearance = np.abs(mean - training_mean) / divisor - relative

    def view(column: int) -> GeneView:
        return GeneView(
            gene=genes[column],
            predicted=float(predicted[column]),
            values=values[:, column],
            mean=float(mean[column]),
            spread=float(spread[column]),
            training_mean=float(training_mean[column]),
            training_spread=float(training_spread[column]),
        )

    def strongest(score: np.ndarray, allowed: np.ndarray) -> tuple[GeneView, ...]:
        order = np.argsort(-score, kind="stable")
        return tuple(view(int(column)) for column in order[allowed[order]][:LISTED])

    agreed = varied & (clearance > 0)
    return strongest(clearance, agreed), strongest(relative, varied & ~agreed & (relative >= SCATTERED))


def neighbor_rows(explanations: Sequence[Explanation]) -> pd.DataFrame:
    """Return one row for each tile and each neighbour it used, best first."""
    return pd.DataFrame(
        [
            (e.id, rank, n.id, n.section, n.patient, n.similarity, n.weight)
            for e in explanations
            for rank, n in enumerate(e.neighbors, 1)
        ],
        columns=["tile", "rank", "spot", "section", "patient", "similarity", "weight"],
    )


def gene_rows(explanations: Sequence[Explanation]) -> pd.DataFrame:
    """Return one row for each tile and each gene listed, those agreed on first."""
    return pd.DataFrame(
        [
            (e.id, side, g.gene, g.predicted, g.mean, g.spread, g.training_mean, g.training_spread, g.shift, g.relative_spread)
            for e in explanations
            for side, views in (("agree", e.agreed), ("disagree", e.disputed))
            for g in views
        ],
        columns=[
            "tile", "neighbours", "gene", "predicted", "mean", "spread", "training_mean", "training_spread", "shift",
            "relative_spread",
        ],
    )  # fmt: skip


def _listing(genes: Sequence[str]) -> str:
    return genes[0] if len(genes) == 1 else f"{', '.join(genes[:-1])} and {genes[-1]}"
