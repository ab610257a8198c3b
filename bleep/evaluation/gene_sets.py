"""Gene sets that scores are taken over, chosen on training data alone."""

from jaxtyping import Int
from numpy import ndarray

from bleep.tissue.panel import GenePanel

SIZE = 50
"""Genes in each set, as in the literature."""


def gene_sets(panel: GenePanel) -> dict[str, Int[ndarray, " some"]]:
    """Return the columns of the 50 genes of highest training mean and of highest training variance.

    A panel of no more than 50 genes has none: they would be the panel itself.
    """
    if len(panel.genes) <= SIZE:
        return {}
    return {"pcc_heg50": panel.top(SIZE, "mean"), "pcc_hvg50": panel.top(SIZE, "variance")}
