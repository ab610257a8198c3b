"""Figures of tissue as points and bars; each title says what is found, each axis its unit."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64
from scipy.spatial import cKDTree

from bleep.evaluation.exploration import Pooled
from bleep.evaluation.exploration_style import (
    COLOURS,
    Drawing,
    amount,
    blank,
    legend,
    log_axis,
    scatter_sections,
    titled,
    words,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 40
"""Genes whose ranges are drawn."""


def library_size(pooled: Pooled, sections: pd.DataFrame) -> Drawing:
    """Draw the totals of each section's spots."""
    order = sections.sort_values("total_median", kind="stable").reset_index(drop=True)
    figure, axes = blank(7.5, 1.6 + 0.34 * len(order))
    parts = [pooled.spots.loc[pooled.spots["section"] == name, "total"].to_numpy() for name in order["section"]]
    colour = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(pooled.sections)}
    boxes = axes.boxplot(
        parts, orientation="horizontal", widths=0.55, patch_artist=True, whis=(5, 95), showfliers=False,
        medianprops={"color": "black"}, tick_labels=[f"{words(row.section)} ({row.spots})" for row in order.itertuples()],
    )  # fmt: skip
    shaken = np.random.default_rng(0)
    for row, (box, name) in enumerate(zip(boxes["boxes"], order["section"], strict=True)):
        box.set(facecolor=colour[name], alpha=0.55)
        heights = row + 1 + shaken.uniform(-0.25, 0.25, len(parts[row]))
        axes.scatter(parts[row], heights, s=3, color="0.25", alpha=0.5, linewidths=0, rasterized=True, zorder=0)
    log_axis(axes, "x", pooled.spots["total"].to_numpy())
    axes.set_xlabel(f"{pooled.total} of a spot")
    axes.set_ylabel("section (spots)")
    low, high = order.iloc[0], order.iloc[-1]
    if len(order) == 1:
        finding = f"A spot of {low['section']} has a median of {amount(low['total_median'])} {_kind(pooled)}"
    else:
        fold = f", {high['total_median'] / low['total_median']:.1f}-fold" if low["total_median"] > 0 else ""
        finding = (
            f"Median {pooled.total} of a spot: from {amount(low['total_median'])} in {low['section']} "
            f"to {amount(high['total_median'])} in {high['section']}{fold}"
        )
    return titled(
        Drawing(
            "library_size",
            figure,
            finding,
            f"{pooled.total} of each spot (dots), by section; boxes: quartiles, whiskers: 5th and 95th percentile",
        )
    )


def gene_ranges(pooled: Pooled, genes: pd.DataFrame) -> Drawing:
    """Draw range, quartiles and median of the genes that vary most."""
    top = genes.sort_values("rank_variance").head(SHOWN).iloc[::-1].reset_index(drop=True)
    figure, axes = blank(7.5, 1.6 + 0.19 * len(top))
    rows = np.arange(len(top))
    axes.hlines(rows, top["min"], top["max"], color="0.6", linewidth=1, label="lowest to highest")
    axes.barh(rows, top["q3"] - top["q1"], left=top["q1"], height=0.7, color=COLOURS[4], label="middle half of the spots")
    axes.plot(top["median"], rows, "|", color="black", markersize=8, markeredgewidth=1.6, linestyle="none", label="median")
    axes.set_yticks(rows, [words(gene) for gene in top["label"]], fontsize=7)
    axes.set_ylim(-0.8, len(top) - 0.2)
    axes.set_xlabel(f"value of a spot ({pooled.scale})")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    best = top.iloc[-1]
    low, q1, q3, high = (f"{best[key]:,.{1 if best['max'] < 100 else 0}f}" for key in ("min", "q1", "q3", "max"))
    finding = f"{best['label']} varies most: half of its values lie between {q1} and {q3}, all between {low} and {high}"
    what = f"lowest, quartiles, median and highest value of the {len(top)} genes of highest variance"
    return titled(Drawing("gene_ranges", figure, finding, what))


def mean_variance(pooled: Pooled, genes: pd.DataFrame) -> Drawing:
    """Draw every gene's variance against its mean."""
    figure, axes = blank(7.5, 5.2)
    points = axes.scatter(
        genes["mean"], genes["variance"], c=100 * genes["zeros"], s=7, cmap="viridis", vmin=0, vmax=100, linewidths=0,
        rasterized=True,
    )  # fmt: skip
    top = genes.sort_values("rank_variance").head(8)
    axes.scatter(top["mean"], top["variance"], s=26, facecolors="none", edgecolors="black", linewidths=0.8)
    beside = pd.concat([top["mean"], top["variance"]], axis=1)
    _labels(axes, [words(gene) for gene in top["label"]], beside.to_numpy())
    axes.set_xlabel(f"mean over all spots ({pooled.scale})")
    axes.set_ylabel("variance over all spots (the same, squared)")
    figure.colorbar(points, ax=axes, label="spots where the gene is 0 (%)")
    rare = int((genes["zeros"] > 0.5).sum())
    finding = f"{rare:,} of {len(genes):,} genes are 0 in more than half of the spots"
    return titled(Drawing("mean_variance", figure, finding, "mean, variance and share of zeros of every gene"))


def odd_spots(pooled: Pooled, distance: Float[np.ndarray, " spots"], odd: pd.DataFrame) -> Drawing:
    """Draw each spot's total against its distance from the middle of its section, with the odd ones ringed."""
    figure, axes = blank(7.5, 5.2)
    spots = pooled.spots
    points = np.column_stack([spots["total"].to_numpy(np.float64), distance])
    scatter_sections(axes, points, pooled.codes, pooled.sections)
    ringed = spots.index.isin(odd["section"] + "/" + odd["spot"])
    axes.scatter(points[ringed, 0], points[ringed, 1], s=46, facecolors="none", edgecolors="black", linewidths=1, label="odd")
    log_axis(axes, "x", points[:, 0])
    axes.set_xlabel(f"{pooled.total} of a spot")
    axes.set_ylabel("distance from the middle of its section\n(in the principal components)")
    legend(axes)
    counts = odd["measure"].value_counts()
    said = {"total": "by their total", "seen": "by the genes seen", "distance": "by their distance"}
    why = ", ".join(f"{counts[key]} {how}" for key, how in said.items() if key in counts)
    number = int(ringed.sum())
    finding = f"{number} of {len(spots):,} spots ({100 * number / len(spots):.1f} %) are odd" + (f": {why}" if why else "")
    return titled(Drawing("outliers", figure, finding, "total and distance of every spot; those of outliers.csv ringed"))


def layout(
    pooled: Pooled,
    method: str,
    places: Float[np.ndarray, "drawn 2"],
    rows: Int64[np.ndarray, " drawn"],
    mixed: str,
) -> Drawing:
    """Draw spots where t-SNE or UMAP laid them, by section, and say how these mix; of one section, by their total."""
    figure, axes = blank(7.5, 5.6)
    if len(pooled.sections) > 1:
        scatter_sections(axes, places, pooled.codes[rows], pooled.sections)
        legend(axes)
        finding = mixed
        by = "section"
    else:
        from matplotlib.colors import LogNorm

        total = pooled.spots["total"].to_numpy(np.float64)[rows]
        norm = LogNorm(total.min(), total.max()) if 0 < total.min() < total.max() else None
        points = axes.scatter(
            places[:, 0], places[:, 1], c=total, s=11, cmap="viridis", norm=norm, linewidths=0, rasterized=True
        )
        figure.colorbar(points, ax=axes, label=f"{pooled.total} of a spot")
        finding = f"{len(rows):,} spots of {pooled.sections[0]}; {_follows(places, np.log1p(total))}"
        by = "their total"
    axes.set(xlabel=f"{method} 1 (no unit)", ylabel=f"{method} 2 (no unit)", xticks=[], yticks=[])
    what = f"spots laid out by {method} from their principal components, coloured by {by}"
    return titled(Drawing(method.lower().replace("-", ""), figure, finding, what))


def _follows(places: Float[np.ndarray, "drawn 2"], total: Float[np.ndarray, " drawn"]) -> str:
    """Say whether spots that were laid near each other have alike totals."""
    near = cKDTree(places).query(places, k=min(len(places), 16))[1][:, 1:]
    around = total[near].mean(axis=1)
    if total.std() == 0 or around.std() == 0:
        return "all have the same total"
    r = float(np.corrcoef(total, around)[0, 1])
    return f"the map {'follows' if r > 0.5 else 'hardly follows'} their total (r = {r:.2f} between a spot and those around it)"


def _kind(pooled: Pooled) -> str:
    return "counts" if pooled.total == "total counts" else "in all"


def _labels(axes: "Axes", names: list[str], points: Float[np.ndarray, "labels 2"]) -> None:
    """Write names in a column on the right, each with a thin line to its point, so that none covers another."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    axes.set_xlim(left, right + 0.16 * (right - left))
    y = high
    for row in np.argsort(-points[:, 1]):
        y = min(points[row, 1], y - 0.04 * (high - low))
        axes.plot([points[row, 0], right], [points[row, 1], y], color="0.75", linewidth=0.5, zorder=0)
        axes.text(right + 0.008 * (right - left), y, names[row], fontsize=7, verticalalignment="center")
