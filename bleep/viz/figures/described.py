"""Figures of tissue as points and bars; each title says what is found, each axis its unit."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int64
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial import cKDTree
from scipy.spatial.distance import squareform

from bleep.viz.describe import STRONG, Pooled
from bleep.viz.figures import COLOURS, Drawing, amount, blank, label_text, legend, log_axis, scatter_sections, titled

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
        medianprops={"color": "black"}, tick_labels=[f"{label_text(row.section)} ({row.spots})" for row in order.itertuples()],
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
    axes.set_yticks(rows, [label_text(gene) for gene in top["label"]], fontsize=7)
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
    _labels(axes, [label_text(gene) for gene in top["label"]], beside.to_numpy())
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
        finding = (
            f"{len(rows):,} spots of {pooled.sections[0]}; {_follows(places, np.log1p(total) if total.min() >= 0 else total)}"
        )
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
    names = [label_text(gene) for gene in pooled.labels[columns[order]]]
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
    axes.set_yticks(range(len(columns)), [label_text(gene) for gene in pooled.labels[columns]], fontsize=6)
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
    axes.set_xticks(middles, [label_text(pooled.sections[code]) for code in present], rotation=90 if crowded else 0, fontsize=8)
    axes.tick_params(axis="x", pad=14)
    axes.set_xlabel("spots, by section")
