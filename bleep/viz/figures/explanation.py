"""Figures of one tile's explanation: its neighbours, and what changes where it is covered."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from jaxtyping import Float32, UInt8

from bleep.viz.figures import COLOURS, Drawing, label_text, save, titled
from bleep.viz.neighbors import LISTED, Explanation, GeneView, NeighborView, Windows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure


PICTURED = 8
"""Neighbours whose tiles are shown."""
_COLUMNS = 4
_WIDTH = 11.5
_NEIGHBOR, _OTHER, _PREDICTED = COLOURS[0], COLOURS[4], COLOURS[5]
_LEGEND = ("neighbours shown above", "other neighbours", "neighbours' mean", "predicted", "training mean ± 1 sd")


def draw(explanation: Explanation, path: Path) -> None:
    """Write the picture as `path` with .png and .svg put after it; the same explanation gives the same picture."""
    save(drawing(explanation, path.name), path.parent)


def drawing(explanation: Explanation, name: str) -> Drawing:
    """Draw an explanation, not yet written."""
    from matplotlib.figure import Figure

    rows = -(-min(PICTURED, len(explanation.neighbors)) // _COLUMNS)
    heights = [1.8 * rows + 0.3, 1.3 + 0.27 * LISTED]
    figure = Figure(figsize=(_WIDTH, sum(heights) + 0.7), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=heights)
    top, bottom = halves
    left, right = top.subfigures(1, 2, width_ratios=[1, 3.1])
    _query(left, explanation)
    _neighbors(right, explanation)
    _genes(bottom, explanation)
    what = f"the tile, its {PICTURED} best neighbours, and up to {LISTED} genes they agree and disagree on"
    return titled(Drawing(name, figure, explanation.describe(), what), width=110)


def _query(part: "SubFigure", explanation: Explanation) -> None:
    """Draw the tile: its smallest window large, the wider ones small below it, what is seen above marked in them."""
    order = np.argsort(explanation.microns)
    wider = len(order) - 1
    grid = part.add_gridspec(2 if wider else 1, max(wider, 1), height_ratios=[2.2, 1] if wider else None)
    sizes = [explanation.microns[at] for at in order]
    draw_query(part.add_subplot(grid[0, :]), explanation)
    for column, at in enumerate(order[1:]):
        axes = part.add_subplot(grid[1, column])
        _picture(axes, explanation.tile[at], inner=sizes[0] / sizes[column + 1])
        axes.set_xlabel(f"{sizes[column + 1]:.3g} µm", fontsize=8)


def draw_query(axes: "Axes", explanation: Explanation) -> None:
    """Draw the smallest window of the tile that is explained."""
    smallest = int(np.argmin(explanation.microns))
    _picture(axes, explanation.tile[smallest])
    axes.set_title(f"{label_text(explanation.id)}\nto predict, {explanation.microns[smallest]:.3g} µm wide", fontsize=9)


def draw_neighbor(axes: "Axes", explanation: Explanation, rank: int) -> None:
    """Draw the smallest window of the neighbour of a rank, from 1, or say that its picture is not at hand."""
    view = explanation.neighbors[rank - 1]
    _picture(axes, _window(view.tile, int(np.argmin(explanation.microns))))
    axes.set_title(_label(rank, view), fontsize=8, loc="left")


def _neighbors(part: "SubFigure", explanation: Explanation) -> None:
    """Draw the best neighbours' tiles: the smallest window and, small beside it, the widest."""
    order = np.argsort(explanation.microns)
    shown = explanation.neighbors[:PICTURED]
    rows = -(-len(shown) // _COLUMNS)
    context = len(order) > 1
    ratios = [1.0, 0.48] if context else [1.0]
    grid = part.add_gridspec(rows, _COLUMNS * len(ratios), width_ratios=ratios * _COLUMNS)
    inner = explanation.microns[order[0]] / explanation.microns[order[-1]]
    for number, view in enumerate(shown):
        row, column = number // _COLUMNS, number % _COLUMNS * len(ratios)
        draw_neighbor(part.add_subplot(grid[row, column], anchor="SW"), explanation, number + 1)
        if context:
            beside = part.add_subplot(grid[row, column + 1], anchor="SW")
            _picture(beside, _window(view.tile, int(order[-1])), inner=inner)


def _label(rank: int, view: NeighborView) -> str:
    return f"{rank}. {label_text(view.id)}\nsimilarity {view.similarity:.2f}, weight {100 * view.weight:.2g} %"


def _window(tile: Windows | None, at: int) -> np.ndarray | None:
    return None if tile is None else tile[at]


def _picture(axes: "Axes", picture: np.ndarray | None, inner: float = 0.0) -> None:
    """Show one window, or say that it is not at hand; `inner` is the share of its side to mark in its middle."""
    from matplotlib.patches import Rectangle

    axes.set_xticks([])
    axes.set_yticks([])
    if picture is None:
        axes.set_facecolor("0.93")
        axes.set_aspect("equal")
        axes.text(0.5, 0.5, "no\npicture", transform=axes.transAxes, ha="center", va="center", fontsize=7, color="0.35")
        return
    axes.imshow(np.moveaxis(picture, 0, -1), interpolation="bilinear")
    if inner:
        side = picture.shape[-1]
        corner = side * (1 - inner) / 2 - 0.5
        for colour, width in (("white", 2.2), ("black", 1.0)):
            axes.add_patch(
                Rectangle((corner, corner), side * inner, side * inner, fill=False, edgecolor=colour, linewidth=width)
            )


def _genes(part: "SubFigure", explanation: Explanation) -> None:
    """Draw what was measured in the neighbours, gene by gene, against what is usual in training."""
    left, right = part.subplots(1, 2, sharex=True)
    weights = np.array([view.weight for view in explanation.neighbors])
    both = (
        (left, explanation.agreed, "genes they agree on: clear of the training mean", "none is clear of it"),
        (right, explanation.disputed, "genes they disagree on: scattered about it", "none is scattered"),
    )
    for axes, views, title, nothing in both:
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(title, fontsize=9.5, loc="left")
        axes.set_yticks(np.arange(len(views)), [label_text(view.gene) for view in views], fontsize=8.5)
        axes.set_ylim(LISTED - 0.4, -0.6)
        axes.tick_params(axis="x", labelsize=8)
        axes.set_xlabel(textwrap.fill(_axis_words(explanation.scale), 62), fontsize=8.5)
        _strips(axes, views, weights)
        if not views:
            axes.text(0.5, 0.5, nothing, transform=axes.transAxes, ha="center", va="center", fontsize=9, color="0.35")
    handles = {label: handle for axes in (left, right) for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    labels = [label for label in _LEGEND if label in handles]
    part.legend([handles[label] for label in labels], labels, loc="outside lower center", ncols=5, frameon=False, fontsize=8.5)


def _axis_words(scale: str) -> str:
    return f"expression ({scale})".replace("$", r"\$")


def _strips(axes: "Axes", views: Sequence[GeneView], weights: np.ndarray) -> None:
    """Draw a row a gene; dots are shaken up and down, always alike, so that equal values stay visible."""
    shown, others, mean, predicted, training = _LEGEND
    shaken = np.random.default_rng(0)
    pictured = np.arange(len(weights)) < PICTURED
    sizes = 20 * np.clip(weights / weights.max(), 0.25, 1)
    # The legend takes one handle of each label, and none of labels that nothing was drawn for.
    for row, view in enumerate(views):
        low, wide = view.training_mean - view.training_spread, 2 * view.training_spread
        axes.barh(row, wide, left=low, height=0.72, color="0.9", zorder=0, label=training)
        axes.plot([view.training_mean] * 2, [row - 0.36, row + 0.36], color="0.35", linewidth=1.4, zorder=1)
        heights = row + shaken.uniform(-0.24, 0.24, len(weights))
        for which, colour, label in ((~pictured, _OTHER, others), (pictured, _NEIGHBOR, shown)):
            if which.any():
                axes.scatter(
                    view.values[which], heights[which], s=sizes[which], color=colour, linewidths=0, alpha=0.85, zorder=2,
                    label=label,
                )  # fmt: skip
        if not np.isclose(view.mean, view.predicted, atol=1e-3):
            axes.plot(view.mean, row, "|", color="black", markersize=13, markeredgewidth=2, zorder=3, label=mean)
        axes.scatter(
            view.predicted, row, s=46, marker="D", color=_PREDICTED, edgecolors="white", linewidths=0.8, zorder=4,
            label=predicted,
        )  # fmt: skip


_DIVERGING = "PuOr_r"
"""Orange for squares that raise the value, purple for those that lower it; safe for the colour-blind."""
CAUTION = (
    "Sensitivity of this model to squares painted over in the tile's mean colour. It shows where the model looks, also "
    "where it is wrong or takes fright at the paint; it shows no cause of expression."
)


@final
@dataclass(frozen=True, slots=True)
class HeatView:
    """What drawing the heat map of one gene on one tile needs."""

    id: str
    """`section/spot` of the tile."""
    gene: str
    tile: UInt8[np.ndarray, "windows 3 pixels pixels"]
    microns: tuple[float, ...]
    """Side of each window."""
    value: float
    """Predicted of the tile as it is."""
    change: Float32[np.ndarray, "grid grid"]
    """What each square of the widest window adds to it."""
    scale: str
    """What the values are, in words."""
    predictor: str


def occlusion_map(view: HeatView, name: str) -> Drawing:
    """Draw the widest window, the smaller windows outlined in it, and beside it the same under the heat map."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 4.9), layout="constrained")
    plain, heat = figure.subplots(1, 2)
    widest = int(np.argmax(view.microns))
    side = view.microns[widest]
    for axes, alpha in ((plain, 1.0), (heat, 0.45)):
        axes.imshow(np.moveaxis(view.tile[widest], 0, -1), extent=(0, side, side, 0), alpha=alpha, interpolation="antialiased")
        axes.set(xlim=(0, side), ylim=(side, 0), xticks=[], yticks=[])
        _outlines(axes, view.microns)
    seen = f"{side:.3g} µm wide, all that the model sees" + ("\ninner windows outlined" if len(view.microns) > 1 else "")
    plain.set_xlabel(seen, fontsize=9)
    most = max(float(np.abs(view.change).max()), 1e-9)
    drawn = heat.imshow(view.change, extent=(0, side, side, 0), cmap=_DIVERGING, vmin=-most, vmax=most, alpha=0.75, zorder=1)
    heat.set_xlabel(f"{view.gene}: what each square adds".replace("$", r"\$"), fontsize=9)
    bar = figure.colorbar(drawn, ax=heat, shrink=0.85)
    bar.set_label(textwrap.fill(f"prediction − prediction with the square hidden ({view.scale})", 44), fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.supxlabel(textwrap.fill(CAUTION, 125), fontsize=8, color="0.3")
    what = f"{view.gene} on tile {view.id}: what each square of the tile adds to the value predicted by {view.predictor}"
    return titled(Drawing(name, figure, _finding(view), what), 100)


def _outlines(axes: "Axes", microns: tuple[float, ...]) -> None:
    from matplotlib.patches import Rectangle

    side = max(microns)
    for inner in sorted(set(microns))[:-1]:
        corner = (side - inner) / 2
        for colour, width in (("white", 2.2), ("black", 1.0)):
            axes.add_patch(Rectangle((corner, corner), inner, inner, fill=False, edgecolor=colour, linewidth=width, zorder=2))


def _finding(view: HeatView) -> str:
    where = f"{label_text(view.gene)} on tile {label_text(view.id)}: {view.value:.2f} predicted by {label_text(view.predictor)}"
    grid = len(view.change)
    row, column = divmod(int(np.abs(view.change).argmax()), grid)
    most = float(view.change[row, column])
    if abs(most) < 1e-6:
        return f"{where}; hiding any one square changes nothing"
    return (
        f"{where}; of {grid} x {grid} squares the one in row {row + 1}, column {column + 1} matters most and "
        f"{'raises' if most > 0 else 'lowers'} it by {abs(most):.2f}; the median one moves it by "
        f"{float(np.median(np.abs(view.change))):.2f}"
    )
