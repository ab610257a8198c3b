"""Gene sets that scores are taken over, chosen on training data; a set chosen on test data says so in its score's name."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from bleep.data.panel import GenePanel
from bleep.data.section import Section
from bleep.errors import DataError
from bleep.evaluation.spatial import morans_i, neighbour_graph

SIZE = 50
"""Genes in each set, as in the literature."""
LIST = "pcc_list_"
"""How the scores over lists of genes begin."""
OF_TEST = "_of_test"
"""How the scores over genes chosen on the test section itself end."""
MARKERS: Mapping[str, tuple[str, ...]] = {
    "liver": ("HAL", "CYP3A4", "VWF", "SOX9", "KRT7", "ANXA4", "ACTA2", "DCN"),
}
"""Lists of markers by name: `liver` is the eight of Xie et al. (NeurIPS 2023), after MacParland et al. (2018)."""

Columns = Int[ndarray, " some"]
log = logging.getLogger(__name__)


def gene_sets(panel: GenePanel) -> dict[str, Columns]:
    """Return the columns of the 50 genes of highest training mean and of highest training variance.

    A panel of no more than 50 genes has none: they would be the panel itself.
    """
    if len(panel.genes) <= SIZE:
        return {}
    return {"pcc_heg50": panel.top(SIZE, "mean"), "pcc_hvg50": panel.top(SIZE, "variance")}


def more_gene_sets(panel: GenePanel, train: Sequence[Section]) -> dict[str, Columns]:
    """Return the 50 genes of highest training coefficient of variation, and of highest Moran's I in the training sections.

    The marker lists stand beside them. Tiles without places have no Moran's I.
    """
    sets = marker_sets(panel)
    if len(panel.genes) <= SIZE:
        return sets
    sets["pcc_cv50"] = panel.top(SIZE, "cv")
    placed = [section for section in train if section.has_positions]
    if placed:
        structured = [morans_i(panel.values(section), neighbour_graph(section.xy)) for section in placed]
        sets["pcc_moran50"] = best(np.nan_to_num(np.array(structured), nan=-1.0).mean(axis=0))
    return sets


def marker_sets(panel: GenePanel) -> dict[str, Columns]:
    """Return the marker lists of which the panel holds half or more."""
    found = {name: listed(panel, genes) for name, genes in MARKERS.items()}
    return {f"{LIST}{name}": columns for name, columns in found.items() if 2 * len(columns) >= len(MARKERS[name])}


def sets_of_test(measured: Float[ndarray, "tiles genes"]) -> dict[str, Columns]:
    """Return the 50 genes of highest sum and of highest variance in the test section itself, as some papers take them."""
    if measured.shape[1] <= SIZE:
        return {}
    total, spread = np.nansum(measured, axis=0), np.nanvar(measured, axis=0)
    return {f"pcc_heg50{OF_TEST}": best(total), f"pcc_hvg50{OF_TEST}": best(spread)}


def read_list(path: Path, panel: GenePanel) -> dict[str, Columns]:
    """Return the columns of a user's list, one gene a line; genes that the panel lacks are counted aloud and left out.

    Raises:
        DataError: there is no such file, or the panel has none of its genes.

    """
    try:
        genes = tuple(dict.fromkeys(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({type(error).__name__}); expected one gene a line") from None
    columns = listed(panel, genes)
    if len(columns) == 0:
        raise DataError(
            f"{path}: none of its {len(genes)} genes is in the run's panel of {len(panel.genes)}, which begins with "
            f"{', '.join(panel.genes[:3])}; name them as the panel does, or train with panel.choice list"
        )
    if len(columns) < len(genes):
        log.warning("%s: %d of its %d genes are in the panel and scored", path, len(columns), len(genes))
    return {f"{LIST}{path.stem}": columns}


def listed(panel: GenePanel, genes: Sequence[str]) -> Columns:
    """Return the columns of named genes, by either of their names; those the panel lacks are left out."""
    places = {name: place for names in (panel.others, panel.genes) for place, name in enumerate(names) if name}
    return np.array([places[gene] for gene in genes if gene in places], dtype=np.int64)


def best(scores: Float[ndarray, " genes"]) -> Columns:
    """Return the columns of the 50 highest values, best first."""
    return np.argsort(-scores, kind="stable")[:SIZE]
