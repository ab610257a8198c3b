"""Figures on tissue and of single genes."""

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Float64, Int, UInt8
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from bleep.evaluation.metrics import FLAT, pearson
from bleep.viz.figures import COLOURS, Drawing, blank, label_text, titled
from bleep.viz.page import TissueView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable


VALUES, ERRORS = "cividis", "PuOr_r"
"""Colours for values and for differences, both safe for the colour-blind."""
INCHES = 3.1
"""Width of a panel."""
PIXELS = 500
"""Pixels of the picture across a panel, at least."""
FAINT = 0.35
"""How strong the picture is under spots."""
MAPS = ("measured", "predicted", "error", "uncertainty")


def gene_map(view: TissueView, column: int, gene: str, scale: str, uncertainty: str) -> Drawing:
    """Draw a gene of a section; measured and predicted share their colours, the error has its own around 0.

    What the view lacks, such as measured values, is left out.
    """
    from matplotlib.figure import Figure

    shown = _shown(view, column)
    left, right, top, bottom = _frame(view)
    tall = INCHES * min(max((bottom - top) / (right - left), 0.4), 1.8)
    figure = Figure(figsize=(INCHES * (len(shown) + 1), tall + 1.45), layout="constrained")
    axes = figure.subplots(2, len(shown) + 1, height_ratios=[tall, 0.1])
    tissue = backdrop(view)
    draw_tissue(axes[0, 0], view, tissue)
    axes[0, 0].set_title("H&E", fontsize=10)
    axes[1, 0].set_visible(False)
    faint = tissue.faint()
    low, high = ends_of(np.concatenate([values for name, values in shown.items() if name in ("measured", "predicted")]))
    most = max(ends_of(np.abs(shown["error"]))[1], 1e-9) if "error" in shown else 1.0
    limits = {"measured": (low, high), "predicted": (low, high), "error": (-most, most)}
    labels = {
        "measured": scale,
        "predicted": scale,
        "error": "predicted − measured, in the same unit",
        "uncertainty": uncertainty,
    }
    for place, bar, (name, values) in zip(axes[0, 1:], axes[1, 1:], shown.items(), strict=True):
        drawn = draw_values(place, view, faint, values, ERRORS if name == "error" else VALUES, limits.get(name))
        place.set_title(name, fontsize=10)
        figure.colorbar(drawn, cax=bar, orientation="horizontal")
        bar.set_xlabel(textwrap.fill(labels[name], 40), fontsize=8)
        bar.tick_params(labelsize=7)
    what = f"{gene} in section {view.section}: measured and predicted on one colour scale"
    safe = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in f"{view.section}_{gene}")
    return titled(Drawing(f"map_{safe}", figure, _finding(view, column, gene), what), 28 * (len(shown) + 1))


def _shown(view: TissueView, column: int) -> dict[str, Float32[np.ndarray, " spots"]]:
    found = {name: values[:, column] for name, values in view.layers().items()}
    if "measured" in found:
        found["error"] = found["predicted"] - found["measured"]
    return {name: found[name] for name in MAPS if name in found}


def _finding(view: TissueView, column: int, gene: str) -> str:
    where = f"{label_text(gene)} in {label_text(view.section)}"
    predicted = view.predicted[:, column : column + 1]
    if view.measured is None:
        low, high = ends_of(predicted[:, 0])
        return f"{where}: predicted from {low:.2f} to {high:.2f}"
    measured = view.measured[:, column : column + 1]
    if not np.isfinite(measured).any():
        return f"{where}: was not measured there, so there is nothing to correlate"
    r = float(pearson(predicted, measured)[0])
    if np.isnan(r):
        return f"{where}: does not vary as measured, so there is nothing to correlate"
    spread = float(predicted.std() / max(float(measured.std()), 1e-9))
    return f"{where}: r = {r:.2f} between predicted and measured; the predicted values spread {spread:.2f} times as wide"


def ends_of(values: Float32[np.ndarray, " some"]) -> tuple[float, float]:
    """Return the 1st and 99th percentile, so that one odd spot does not take all the colours."""
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return 0.0, 1.0
    low, high = np.quantile(finite, [0.01, 0.99]).tolist()
    return (low, high) if high > low else (low, low + 1.0)


def _frame(view: TissueView) -> tuple[float, float, float, float]:
    """Return left, right, top and bottom of what is shown: the spots and a margin, within the picture."""
    margin = 6 * view.radius
    (width, height), low, high = view.size, view.xy.min(axis=0) - margin, view.xy.max(axis=0) + margin
    return max(float(low[0]), 0.0), min(float(high[0]), width), max(float(low[1]), 0.0), min(float(high[1]), height)


@final
@dataclass(frozen=True, slots=True)
class Backdrop:
    """The shown part of a section's picture, about as fine as a panel, made small once for all panels."""

    tissue: UInt8[np.ndarray, "height width 3"]
    extent: tuple[float, float, float, float]
    """Its left, right, bottom and top on the slide, in level-0 pixels."""

    def faint(self, strength: float = FAINT) -> "Backdrop":
        """Return it as it lies under spots: 0 is white, 1 as strong as the picture."""
        return replace(self, tissue=(255 - strength * (255 - self.tissue.astype(np.float32))).astype(np.uint8))


def backdrop(view: TissueView) -> Backdrop:
    """Return the part of a view's picture that has spots, with a margin."""
    left, right, top, bottom = _frame(view)
    tall, wide = view.picture.shape[:2]
    across, down = wide / view.size[0], tall / view.size[1]
    step = max(1, int(min((right - left) * across, (bottom - top) * down) / PIXELS))
    rows = slice(int(top * down), min(tall, int(bottom * down) + 1))
    columns = slice(int(left * across), min(wide, int(right * across) + 1))
    part = view.picture[rows, columns]
    part = part[: len(part) // step * step, : part.shape[1] // step * step]
    small = part.reshape(len(part) // step, step, part.shape[1] // step, step, 3).mean(axis=(1, 3))
    ends = columns.start + part.shape[1], rows.start + len(part)
    extent = (columns.start / across, ends[0] / across, ends[1] / down, rows.start / down)
    return Backdrop(small.astype(np.uint8), extent)


def draw_tissue(axes: "Axes", view: TissueView, tissue: Backdrop) -> None:
    """Draw the picture alone, with a bar of a round length where the scale is known."""
    _picture(axes, view, tissue)
    _scale_bar(axes, view)


def draw_values(
    axes: "Axes",
    view: TissueView,
    tissue: Backdrop,
    values: Float32[np.ndarray, " spots"],
    colours: str = VALUES,
    limits: tuple[float, float] | None = None,
) -> "ScalarMappable":
    """Draw a value of each spot over the picture, and return what a colour bar needs.

    `limits`: values of the first and the last colour; none: the 1st and the 99th percentile.
    """
    _picture(axes, view, tissue)
    return _spots(axes, view, values, colours, limits or ends_of(values))


def _picture(axes: "Axes", view: TissueView, tissue: Backdrop) -> None:
    left, right, top, bottom = _frame(view)
    axes.imshow(tissue.tissue, extent=tissue.extent, interpolation="antialiased")
    axes.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _scale_bar(axes: "Axes", view: TissueView) -> None:
    """Draw a bar of a round length below the picture, where the scale is known."""
    if not view.mpp:
        return
    left, right, _, _ = _frame(view)
    microns = bar_length((right - left) * view.mpp / 4)
    share = microns / view.mpp / (right - left)
    words = f"{microns / 1000:g} mm" if microns >= 1000 else f"{microns:g} µm"
    bar = axes.plot([0, share], [-0.03, -0.03], color="black", linewidth=2.5, solid_capstyle="butt", clip_on=False)
    bar[0].set_transform(axes.transAxes)
    axes.text(share / 2, -0.05, words, ha="center", va="top", fontsize=8, transform=axes.transAxes)


def bar_length(most: float) -> float:
    """Return the longest of 1, 2 and 5 times a power of ten that is no longer than this."""
    power = 10.0 ** math.floor(math.log10(most))
    return max(power * step for step in (1, 2, 5) if power * step <= most * (1 + 1e-9))


def _spots(
    axes: "Axes", view: TissueView, values: Float32[np.ndarray, " spots"], colours: str, ends: tuple[float, float]
) -> "ScalarMappable":
    from matplotlib.collections import EllipseCollection

    size = np.full(len(values), 2 * view.radius)
    dots = EllipseCollection(
        size, size, np.zeros(len(values)), units="xy", offsets=view.xy, offset_transform=axes.transData, cmap=colours,
        linewidths=0,
    )  # fmt: skip
    dots.set_array(np.ma.masked_invalid(values))
    dots.set_clim(*ends)
    dots.set_rasterized(True)
    axes.add_collection(dots)
    return dots


NAMED, LETTERS = 5, 80
"""Genes named at either end at most, and letters that their names may take."""


def ranked(scores: pd.DataFrame, main: str) -> Drawing:
    """Draw each predictor's correlations, a row a gene and a column a predictor, from its best gene to its worst."""
    figure, axes = blank(9.6, 5.0)
    draw_ranked(axes, scores, main)
    return titled(Drawing("genes_ranked", figure, _scatter_finding(scores, main), "Pearson r of every gene, by predictor"))


def draw_ranked(axes: "Axes", scores: pd.DataFrame, main: str) -> None:
    """Draw the lines of `ranked`; `main` is the thick one, whose best and worst genes are named."""
    order = scores.mean().sort_values(ascending=False).index
    for number, name in enumerate(order):
        values = np.sort(scores[name].dropna().to_numpy())[::-1]
        style = (
            {"linewidth": 2.6, "zorder": 3} if name == main else {"linewidth": 1.3, "linestyle": _DASHES[number % len(_DASHES)]}
        )
        axes.plot(
            np.arange(1, len(values) + 1), values, color=COLOURS[number % len(COLOURS)],
            label=f"{label_text(name)} ({f'mean {values.mean():.3f}' if len(values) else 'no value'})", **style,
        )  # fmt: skip
    axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    best = scores[main].dropna().sort_values(ascending=False)
    _named(axes, best)
    axes.set_xlabel("gene, each predictor's own from its best to its worst")
    axes.set_ylabel("Pearson r over a test section's spots\n(mean over test sections)")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))


def variances(measured: Float[np.ndarray, "spots genes"], predicted: Float[np.ndarray, "spots genes"]) -> Drawing:
    """Draw each gene's predicted variance against its measured one, spots of all test sections centred by section."""
    figure, axes = blank(5.6, 5.2)
    real, made = measured.var(axis=0, dtype=np.float64), predicted.var(axis=0, dtype=np.float64)
    # Beside the widest gene, as values may be in any unit.
    varies, here = (side > FLAT * np.maximum(real.max(initial=0.0), np.finfo(float).tiny) for side in (real, made))
    here &= varies
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
    finding = "No gene varies as measured within a test section, so there is no variance to compare"
    if varies.any():
        # Genes predicted alike everywhere have no place on these axes, but they count.
        ratio = float(np.median(made[varies] / real[varies]))
        finding = f"Predicted values vary {ratio:.2f} times as much as measured (median gene); noise cannot be predicted"
    return titled(Drawing("variances", figure, finding, "variance of every gene, measured and predicted"), 70)


_DASHES = ("-", "--", "-.", ":")


def _scatter_finding(scores: pd.DataFrame, main: str) -> str:
    if not scores[main].notna().any():
        return f"{label_text(main)}: no gene varies as measured within a test section, so there is nothing to correlate"
    found = f"{label_text(main)}: r above 0.3 for {int((scores[main] > 0.3).sum())} of {len(scores)} genes"
    floors: Mapping[str, str] = {"ridge": "ridge", "image-kNN": "image neighbours"}
    beaten = [f"{int((scores[main] > scores[name]).sum())} against {told}" for name, told in floors.items() if name in scores]
    return found + (f"; the better of the two for {', '.join(beaten)}" if beaten and main not in floors else "")


def _named(axes: "Axes", best: pd.Series) -> None:
    """Write the best genes and the worst at the ends of the main line, one below another."""
    most = min(NAMED, len(best) // 2)
    ends = [[label_text(gene) for gene in best.index[where]] for where in (slice(0, most), slice(len(best) - most, None))]
    # Long names, such as Ensembl's, would run out of the figure.
    few = max((count for count in range(1, most + 1) if all(_fits(names, count) for names in ends)), default=min(most, 1))
    top, low = ", ".join(ends[0][:few]), ", ".join(ends[1][most - few :])
    if few:
        axes.text(0.99, 0.985, f"best: {top}", transform=axes.transAxes, ha="right", va="top", fontsize=8)
        axes.text(0.99, 0.94, f"worst: {low}", transform=axes.transAxes, ha="right", va="top", fontsize=8)


def _fits(names: list[str], count: int) -> bool:
    return max(len(", ".join(names[:count])), len(", ".join(names[-count:]))) <= LETTERS


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
    names = [label_text(genes[column]) for column in columns[order]]
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
    # A gene that does not vary does not even correlate with itself.
    if np.count_nonzero(np.diag(real)) < 3:
        return "Too few genes vary to compare how they go together"
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
