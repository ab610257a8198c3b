"""Statistics of scores and of maps: bootstrap intervals, Moran's I and scores of gene sets."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int
from numpy import ndarray
from scipy import sparse
from scipy.spatial import cKDTree

from bleep.data.panel import GenePanel
from bleep.data.section import Section
from bleep.errors import DataError
from bleep.evaluation.metrics import Column, flat_share
from bleep.records import Contrast, Scorecard

RESAMPLES, SEED = 10_000, 0
"""Resamples, and where their random numbers start, so that the same scores give the same interval."""


def section_interval(scores: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return the interval of the mean when sections are drawn with replacement (Efron, Ann Stat 1979).

    Spots of one section are alike, so they are never drawn singly. With one section nothing is known of others, and both
    ends are not a number. With few sections the interval is too narrow: four allow no more than 35 different means.

    >>> low, high = section_interval([0.30, 0.34, 0.36, 0.40])
    >>> print(f"{low:.2f} to {high:.2f}")
    0.32 to 0.39

    """
    known = np.array([score for score in scores if np.isfinite(score)])
    if len(known) < 2:
        return float("nan"), float("nan")
    rows = np.random.default_rng(SEED).integers(len(known), size=(RESAMPLES, len(known)))
    low, high = np.quantile(known[rows].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


EXACT, SIGN_FLIPS = 14, 20_000
"""Up to this many sections all flips of sign are tried; beyond, this many at random."""


def contrast(cards: Sequence[Scorecard], first: str, second: str, score: str = "pcc", once: Collection[str] = ()) -> Contrast:
    """Compare two predictors section by section, each section's score the mean over its genes and seeds: those that both have.

    A predictor of `once` was fitted once for all seeds, and is compared with each of the other's.

    The p-value is of the sign-flip permutation test over sections: if the two were alike, each section's difference could as
    well have the other sign. Spots and genes of one section are not independent, so they are not counted as evidence. With n
    sections no p-value is below 2 / 2^n; with one there is none.
    """
    flat = pd.DataFrame(
        [
            {
                "predictor": c.predictor,
                "section": c.section,
                "part": c.part,
                "seed": 0 if {first, second} & set(once) else c.seed,
                score: c.summary.get(score, np.nan),
            }
            for c in cards
            if c.predictor in (first, second)
        ],
        columns=["predictor", "section", "part", "seed", score],
    )
    # Blocks of one section are paired one by one: a predictor that lacks some is compared on those that both have.
    wide = flat.pivot_table(index=["section", "part", "seed"], columns="predictor", values=score, sort=False, dropna=False)
    both = wide.reindex(columns=[first, second]).dropna()
    by_part = (both[first] - both[second]).groupby(["section", "part"], sort=False).mean()
    gaps = by_part.groupby("section", sort=False).mean().to_numpy(np.float64)
    low, high = section_interval(gaps.tolist())
    return Contrast(
        first=first,
        second=second,
        score=score,
        difference=float(gaps.mean()) if len(gaps) else float("nan"),
        low=low,
        high=high,
        sections=len(gaps),
        better=int((gaps > 0).sum()),
        ties=int((gaps == 0).sum()),
        p_value=sign_flip(gaps) if len(gaps) > 1 else None,
    )


def turned(found: Contrast) -> Contrast:
    """Return the same comparison, told from the second predictor's side."""
    return replace(
        found,
        first=found.second,
        second=found.first,
        difference=-found.difference,
        low=-found.high,
        high=-found.low,
        better=found.sections - found.better - found.ties,
    )


def sign_flip(gaps: np.ndarray) -> float:
    """Return the two-sided p-value of a mean difference under random flips of sign (Fisher, 1935).

    With four sections no difference has a smaller one than an eighth:

    >>> sign_flip(np.array([0.02, 0.03, 0.01, 0.04]))
    0.125

    """
    many = len(gaps)
    if many <= EXACT:
        signs = np.array(list(product((1.0, -1.0), repeat=many)))
        extra = 0
    else:
        signs = np.random.default_rng(SEED).choice((1.0, -1.0), size=(SIGN_FLIPS, many))
        extra = 1
    # Rounding must not make a flip that equals the finding look smaller than it.
    as_far = np.abs(signs @ gaps) >= abs(gaps.sum()) - 1e-12 * np.abs(gaps).sum()
    return float((as_far.sum() + extra) / (len(signs) + extra))


def sentence(found: Contrast) -> str:
    """Say a comparison in a sentence."""
    if found.sections == 0:
        return f"{found.first} - {found.second}: no section in which both have a {found.score}, so they cannot be compared"
    start = f"{found.first} - {found.second}: {found.difference:+.3f} {found.score}"
    if found.p_value is None:
        return f"{start}; one section, so no p-value can be given"
    least = 2 / 2**found.sections
    note = f", the least possible with {found.sections} sections" if found.p_value <= least * 1.001 else ""
    return (
        f"{start} [{found.low:+.3f}, {found.high:+.3f}], better on {found.better} of {found.sections} sections, "
        f"p = {found.p_value:.2g}{note}"
    )


Places = Float64[np.ndarray, "spots 2"]
Values = Float[np.ndarray, "spots genes"]

REACH = 1.6
"""Neighbours lie within this many spot pitches: the 6 around a spot of a hexagonal grid (the next ring is at 1.73), the 8
around one of a square grid (diagonals at 1.41, the next at 2)."""
SIGMA, WINDOW = 1.0, 3.0
"""Width of the Gaussian window of structural similarity, and where it ends, in spot pitches."""


def neighbour_graph(xy: Places) -> sparse.csr_array:
    """Return each spot's neighbours, as rows that sum to 1; a spot without any has an empty row."""
    near = _within(xy, REACH)
    near.setdiag(0)
    near.eliminate_zeros()
    near.data[:] = 1.0
    return _rows_to_1(near)


def smoothing(xy: Places) -> sparse.csr_array:
    """Return the mean over a spot and its neighbours, as a matrix."""
    near = _within(xy, REACH)
    near.data[:] = 1.0
    return _rows_to_1(near)


def morans_i(values: Values, graph: sparse.csr_array) -> Column:
    """Return each gene's Moran's I (Biometrika 1950): n / S0 x sum of w_ij z_i z_j / sum of z_i squared.

    Rows of the graph sum to 1, so S0 is the number of spots with neighbours. A gene that does not vary has none.
    """
    z = values - values.mean(axis=0, dtype=np.float64)
    square = np.einsum("sg,sg->g", z, z)
    linked = float(graph.sum())
    if linked == 0:
        return np.full(values.shape[1], np.nan)
    cross = np.einsum("sg,sg->g", z, graph @ z)
    varies = square > flat_share(values) * np.einsum("sg,sg->g", values, values, dtype=np.float64)
    return np.where(varies, len(values) / linked * cross / np.where(varies, square, 1.0), np.nan)


@final
@dataclass(frozen=True, slots=True)
class Windows:
    """Gaussian windows around the spots, and what the measured maps look like through them."""

    weights: sparse.csr_array
    """Rows sum to 1."""
    mean: Values
    variance: Values

    @classmethod
    def of(cls, measured: Values, xy: Places) -> "Windows":
        """Look at measured maps."""
        weights = gaussian_windows(xy)
        return cls(weights, *local_moments(weights, measured.astype(np.float64)))


def gaussian_windows(xy: Places) -> sparse.csr_array:
    """Return the Gaussian window around each spot, over the spots that are there."""
    near = _within(xy, WINDOW)
    near.data = np.exp(-(near.data**2) / (2 * SIGMA**2))
    return _rows_to_1(near)


def local_moments(weights: sparse.csr_array, values: Values) -> tuple[Values, Values]:
    """Return mean and variance of each gene within each window."""
    mean = weights @ values
    return mean, np.maximum(weights @ values**2 - mean**2, 0.0)


def structural_similarity(predicted: Values, measured: Values, windows: Windows) -> Column:
    """Return each gene's SSIM (Wang et al., IEEE TIP 2004), mean over spots.

    Spots are no pixels: instead of a grid filled in between them, each window is over the spots that are there. L is the
    gene's measured range, k1 = .01, k2 = .03, and the prediction is not rescaled. A gene that does not vary has none.
    """
    span = np.ptp(measured, axis=0).astype(np.float64)
    varies = span > 1e-6 * np.abs(measured).max(axis=0)
    p, m = predicted.astype(np.float64), measured.astype(np.float64)
    mean, variance = local_moments(windows.weights, p)
    cross = windows.weights @ (p * m) - mean * windows.mean
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    bottom = (mean**2 + windows.mean**2 + c1) * (variance + windows.variance + c2)
    top = (2 * mean * windows.mean + c1) * (2 * cross + c2)
    whole: Column = (top / np.where(bottom > 0, bottom, 1.0)).mean(axis=0)
    return np.where(varies, whole, np.nan)


def _within(xy: Places, reach: float) -> sparse.csr_array:
    """Return distances in spot pitches between spots no farther than `reach`; a spot to itself is there, with a stored 0."""
    tree = cKDTree(xy)
    if len(xy) < 2:
        return sparse.csr_array(np.ones((len(xy), len(xy))))
    pitch = float(np.median(tree.query(xy, k=2)[0][:, 1])) or 1.0
    # Spots of a grid just as far as that are in, whatever unit places are in and however that rounds.
    pairs = tree.query_pairs(reach * pitch * (1 + 1e-6), output_type="ndarray")
    rows = np.concatenate([pairs[:, 0], pairs[:, 1], np.arange(len(xy))])
    columns = np.concatenate([pairs[:, 1], pairs[:, 0], np.arange(len(xy))])
    distance = np.linalg.norm(xy[rows] - xy[columns], axis=1) / pitch
    return sparse.csr_array((distance, (rows, columns)), shape=(len(xy), len(xy)))


def _rows_to_1(graph: sparse.csr_array) -> sparse.csr_array:
    total = np.asarray(graph.sum(axis=1)).ravel()
    return sparse.csr_array(sparse.diags_array(1.0 / np.where(total > 0, total, 1.0)) @ graph)


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
    known = np.isfinite(measured).any(axis=0)
    total, spread = np.full((2, measured.shape[1]), -np.inf)
    total[known], spread[known] = np.nansum(measured[:, known], axis=0), np.nanvar(measured[:, known], axis=0)
    return {f"pcc_heg50{OF_TEST}": best(total), f"pcc_hvg50{OF_TEST}": best(spread)}


def read_list(path: Path, panel: GenePanel) -> dict[str, Columns]:
    """Return the columns of a user's list, one gene a line; genes that the panel lacks are counted aloud and left out.

    Raises:
        DataError: there is no such file, or the panel has none of its genes.

    """
    try:
        genes = tuple(dict.fromkeys(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()))
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
    """Return the columns of named genes, by either of their names, each once; those the panel lacks are left out."""
    places = {name: place for names in (panel.others, panel.genes) for place, name in enumerate(names) if name}
    return np.array([*dict.fromkeys(places[gene] for gene in genes if gene in places)], dtype=np.int64)


def best(scores: Float[ndarray, " genes"]) -> Columns:
    """Return the columns of the 50 highest values, best first."""
    return np.argsort(-scores, kind="stable")[:SIZE]
