"""Heat maps of the genes that vary most: over the spots, and against each other."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import squareform

from bleep.evaluation.exploration import STRONG, Pooled
from bleep.evaluation.exploration_style import COLOURS, Drawing, blank, titled, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GENES = 50
"""Genes of highest variance that are drawn."""
TOGETHER = 0.5
"""Genes are a group while 1 - r is below this on average."""


def heatmap(
    pooled: Pooled,
    genes: pd.DataFrame,
    scores: Float64[np.ndarray, "spots axes"],
    rows: Int64[np.ndarray, " drawn"],
) -> Drawing:
    """Draw the values of the genes that vary most: spots by section, alike ones together, and so the genes."""
    columns = most_variable(genes, GENES)
    dense = pooled.values[:, columns].toarray()
    order = np.concatenate([_alike(scores, rows[pooled.codes[rows] == code]) for code in np.unique(pooled.codes[rows])])
    down = _leaves(_correlation(dense))
    shown = dense[order][:, down].T
    figure, axes = blank(9.5, 2.0 + 0.125 * len(columns))
    low, high = np.quantile(shown, [0.01, 0.99])
    picture = axes.imshow(shown, aspect="auto", cmap="viridis", vmin=low, vmax=max(high, low + 1e-9), interpolation="nearest")
    _gene_names(axes, pooled, columns[down])
    _section_band(axes, pooled, order)
    figure.colorbar(picture, ax=axes, label=f"{pooled.scale}\n(colours end at the 1st and 99th percentile)", fraction=0.03)
    finding = _grouped(pooled, columns, _correlation(dense))
    if len(pooled.sections) > 1:
        finding += f"; {100 * _between(dense, pooled.codes):.0f} % of the variance lies between sections, the rest within"
    what = f"values of the {len(columns)} genes of highest variance; spots by section, within it ordered by likeness (Ward)"
    return titled(Drawing("heatmap", figure, finding, what), 110)


def gene_correlation(pooled: Pooled, genes: pd.DataFrame) -> Drawing:
    """Draw how the genes that vary most go together."""
    columns = most_variable(genes, GENES)
    r = _correlation(pooled.values[:, columns].toarray())
    order = _leaves(r)
    figure, axes = blank(8.4, 7.3)
    picture = axes.imshow(r[order][:, order], cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    _gene_names(axes, pooled, columns[order])
    names = [words(gene) for gene in pooled.labels[columns[order]]]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    axes.set_xlabel("gene")
    figure.colorbar(picture, ax=axes, label="Pearson r over all spots (no unit)", fraction=0.04)
    above = np.triu(r, 1)
    a, b = np.unravel_index(np.abs(above).argmax(), r.shape)
    pair = f"{pooled.labels[columns[a]]} and {pooled.labels[columns[b]]}"
    strong = int((np.abs(above) >= STRONG).sum())
    finding = (
        f"{strong} of {len(names) * (len(names) - 1) // 2:,} pairs reach |r| = {STRONG:g}; strongest: {pair} ({r[a, b]:.2f})"
    )
    what = f"Pearson correlation of the {len(names)} genes of highest variance, on values that are {pooled.scale}"
    return titled(Drawing("gene_correlation", figure, finding, what))


def most_variable(genes: pd.DataFrame, count: int) -> Int64[np.ndarray, " chosen"]:
    """Return the columns of the genes of highest variance, best first."""
    return genes["rank_variance"].to_numpy(np.int64).argsort(kind="stable")[:count].astype(np.int64)


def _alike(scores: Float64[np.ndarray, "spots axes"], rows: Int64[np.ndarray, " some"]) -> Int64[np.ndarray, " some"]:
    """Order the spots of a section so that alike ones stand together."""
    return rows[leaves_list(linkage(scores[rows], "ward"))] if len(rows) > 2 else rows


def _leaves(r: Float64[np.ndarray, "genes genes"]) -> Int64[np.ndarray, " genes"]:
    """Order genes so that those that go together stand together."""
    if len(r) < 3:
        return np.arange(len(r), dtype=np.int64)
    return leaves_list(_tree(r)).astype(np.int64)


def _tree(r: Float64[np.ndarray, "genes genes"]) -> np.ndarray:
    return linkage(squareform(1 - (r + r.T) / 2, checks=False), "average", optimal_ordering=True)


def _grouped(pooled: Pooled, columns: Int64[np.ndarray, " genes"], r: Float64[np.ndarray, "genes genes"]) -> str:
    """Say how large the largest group of genes is that correlate by more than a half on average."""
    among = f"of the {len(columns)} genes that vary most"
    groups = fcluster(_tree(r), TOGETHER, "distance") if len(r) > 2 else np.arange(len(r))
    sizes = np.bincount(groups)
    if sizes.max() < 3:
        return f"No three {among} rise and fall together (r above {1 - TOGETHER:g} on average)"
    names = ", ".join(pooled.labels[columns[groups == sizes.argmax()]][:3])
    return f"{sizes.max()} {among} rise and fall together (r above {1 - TOGETHER:g} on average), such as {names}"


def _correlation(dense: Float64[np.ndarray, "spots genes"]) -> Float64[np.ndarray, "genes genes"]:
    """Return the correlation of columns; one that does not vary correlates with nothing."""
    centred = dense - dense.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    unit = centred / np.where(length > 0, length, np.inf)
    return np.clip(unit.T @ unit, -1, 1)


def _between(dense: Float64[np.ndarray, "spots genes"], codes: Int64[np.ndarray, " spots"]) -> float:
    """Return which share of the genes' variance lies between the means of sections."""
    means = np.stack([dense[codes == code].mean(axis=0) for code in range(codes.max() + 1)])
    total = float(dense.var(axis=0).sum())
    return float(means[codes].var(axis=0).sum()) / total if total > 0 else 0.0


def _gene_names(axes: "Axes", pooled: Pooled, columns: Int64[np.ndarray, " genes"]) -> None:
    axes.set_yticks(range(len(columns)), [words(gene) for gene in pooled.labels[columns]], fontsize=6)
    axes.tick_params(length=0)
    axes.set_ylabel("gene")
    axes.spines[:].set_visible(False)


def _section_band(axes: "Axes", pooled: Pooled, order: Int64[np.ndarray, " drawn"]) -> None:
    """Mark below the picture where sections begin and end."""
    codes = pooled.codes[order]
    present, starts, counts = np.unique(codes, return_index=True, return_counts=True)
    for code, start, count in zip(present, starts, counts, strict=True):
        axes.axvspan(
            start - 0.5, start + count - 0.5, ymin=-0.026, ymax=-0.008, clip_on=False, color=COLOURS[code % len(COLOURS)], lw=0
        )
        if start:
            axes.axvline(start - 0.5, color="white", linewidth=0.8)
    middles = starts + (counts - 1) / 2
    crowded = len(present) > 10
    axes.set_xticks(middles, [words(pooled.sections[code]) for code in present], rotation=90 if crowded else 0, fontsize=8)
    axes.tick_params(axis="x", pad=14)
    axes.set_xlabel("spots, by section")
