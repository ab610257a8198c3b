"""How well each gene is predicted: every predictor's genes from best to worst, and the spread of what is predicted."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from bleep.viz.figures.style import COLOURS, Drawing, blank, titled, words

NAMED = 5
"""Genes named at either end."""


def ranked(scores: pd.DataFrame, main: str) -> Drawing:
    """Draw each predictor's correlations, a row a gene and a column a predictor, from its best gene to its worst."""
    figure, axes = blank(9.6, 5.0)
    order = scores.mean().sort_values(ascending=False).index
    for number, name in enumerate(order):
        values = np.sort(scores[name].dropna().to_numpy())[::-1]
        style = (
            {"linewidth": 2.6, "zorder": 3} if name == main else {"linewidth": 1.3, "linestyle": _DASHES[number % len(_DASHES)]}
        )
        axes.plot(
            np.arange(1, len(values) + 1), values, color=COLOURS[number % len(COLOURS)],
            label=f"{words(name)} (mean {values.mean():.3f})", **style,
        )  # fmt: skip
    axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    best = scores[main].dropna().sort_values(ascending=False)
    _named(axes, best)
    axes.set_xlabel("gene, each predictor's own from its best to its worst")
    axes.set_ylabel("Pearson r over a test section's spots\n(mean over test sections)")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
    return titled(Drawing("genes_ranked", figure, _finding(scores, main), "Pearson r of every gene, by predictor"))


def variances(measured: Float[np.ndarray, "spots genes"], predicted: Float[np.ndarray, "spots genes"]) -> Drawing:
    """Draw each gene's predicted variance against its measured one, spots of all test sections centred by section."""
    figure, axes = blank(5.6, 5.2)
    real, made = measured.var(axis=0), predicted.var(axis=0)
    here = (real > 0) & (made > 0)
    axes.scatter(real[here], made[here], s=10, color=COLOURS[0], linewidths=0, alpha=0.7, rasterized=True)
    ends = (
        [float(min(real[here].min(), made[here].min())), float(max(real[here].max(), made[here].max()))]
        if here.any()
        else [1, 2]
    )
    axes.plot(ends, ends, color="0.5", linewidth=1, label="as wide as measured")
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel("measured variance of a gene within sections")
    axes.set_ylabel("predicted variance within sections")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    ratio = float(np.median(made[here] / real[here])) if here.any() else float("nan")
    finding = f"Predicted values vary {ratio:.2f} times as much as measured (median gene); noise cannot be predicted"
    return titled(Drawing("variances", figure, finding, "variance of every gene, measured and predicted"), 70)


_DASHES = ("-", "--", "-.", ":")


def _finding(scores: pd.DataFrame, main: str) -> str:
    found = f"{words(main)}: r above 0.3 for {int((scores[main] > 0.3).sum())} of {len(scores)} genes"
    floors: Mapping[str, str] = {"ridge": "ridge", "image-kNN": "image neighbours"}
    beaten = [f"{int((scores[main] > scores[name]).sum())} against {told}" for name, told in floors.items() if name in scores]
    return found + (f"; the better of the two for {', '.join(beaten)}" if beaten and main not in floors else "")


def _named(axes: object, best: pd.Series) -> None:
    """Write the best genes and the worst at the ends of the main line, one below another."""
    text = axes.text  # type: ignore[attr-defined]
    few = min(NAMED, len(best) // 2)
    top = ", ".join(words(gene) for gene in best.index[:few])
    low = ", ".join(words(gene) for gene in best.index[len(best) - few :])
    if few:
        text(0.99, 0.985, f"best: {top}", transform=axes.transAxes, ha="right", va="top", fontsize=8)  # type: ignore[attr-defined]
        text(0.99, 0.94, f"worst: {low}", transform=axes.transAxes, ha="right", va="top", fontsize=8)  # type: ignore[attr-defined]


GENES = 50
"""Genes drawn at most."""


def gene_relations(
    measured: Float[np.ndarray, "spots genes"],
    predicted: Float[np.ndarray, "spots genes"],
    genes: tuple[str, ...],
    columns: Int[np.ndarray, " chosen"],
) -> Drawing:
    """Draw both correlation matrices of some columns, ordered by the measured one; values centred by section before.

    A gene that does not vary correlates with none.
    """
    from matplotlib.figure import Figure

    columns = columns[:GENES]
    real, made = correlation(measured[:, columns]), correlation(predicted[:, columns])
    order = _leaves(real)
    names = [words(genes[column]) for column in columns[order]]
    figure = Figure(figsize=(12.5, 6.4), layout="compressed")
    axes = figure.subplots(1, 2)
    for place, matrix, title in zip(axes, (real, made), ("measured", "predicted"), strict=True):
        picture = place.imshow(matrix[order][:, order], cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        place.set_title(title, fontsize=10)
        place.set_xticks(range(len(names)), names, rotation=90, fontsize=5.5)
        place.set_yticks(range(len(names)), names, fontsize=5.5)
        place.tick_params(length=0)
        place.spines[:].set_visible(False)
    figure.colorbar(picture, ax=axes, label="Pearson r over the test spots, centred by section (no unit)", fraction=0.03)
    what = f"Pearson correlation among the {len(columns)} genes of highest training variance; both in the order of the measured"
    return titled(Drawing("gene_relations", figure, _relations_finding(real, made), what), 120)


def correlation(values: Float[np.ndarray, "spots chosen"]) -> Float64[np.ndarray, "chosen chosen"]:
    """Return the correlation of columns; one that does not vary correlates with nothing."""
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    length = np.sqrt((centred**2).sum(axis=0))
    unit = centred / np.where(length > 1e-9, length, np.inf)
    return np.clip(unit.T @ unit, -1, 1)


def _relations_finding(real: Float64[np.ndarray, "chosen chosen"], made: Float64[np.ndarray, "chosen chosen"]) -> str:
    if len(real) < 3:
        return "Too few genes to compare how they go together"
    above = np.triu_indices(len(real), 1)
    one, two = real[above], made[above]
    agree = float(np.corrcoef(one, two)[0, 1]) if one.std() > 0 and two.std() > 0 else 0.0
    return (
        f"The two patterns agree by r = {agree:.2f}; the mean |r| of a pair is {np.abs(one).mean():.2f} as measured and "
        f"{np.abs(two).mean():.2f} as predicted"
    )


def _leaves(r: Float64[np.ndarray, "chosen chosen"]) -> Int[np.ndarray, " chosen"]:
    if len(r) < 3:
        return np.arange(len(r))
    return leaves_list(linkage(squareform(1 - (r + r.T) / 2, checks=False), "average", optimal_ordering=True))
