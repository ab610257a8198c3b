"""Figures of predicted labels: ROC, calibration, confusion, slides put back together, and what speaks for a class in a tile."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from bleep.evaluation.labels import BINS, by_class, calibration_error, roc_auc, roc_curve
from bleep.viz.figures import COLOURS, Drawing, blank, label_text, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Answers = Mapping[str, tuple[Float[np.ndarray, "tiles classes"], Float[np.ndarray, "tiles classes"]]]
"""By predictor: the probability of each class, and the true class one-hot."""
CAUTION = (
    "Grad-CAM: positions whose features raise the class. Occlusion: what the class loses when a square is painted over. "
    "Both show where this model looks, also where it is wrong."
)


def roc(answers: Answers, classes: Sequence[str]) -> Drawing:
    """Draw the ROC of each predictor for the last of two classes; of several classes, each against the rest, by the first.

    A class that all tiles have, or none, has no curve.
    """
    figure, axes = blank(6.0, 5.4)
    first = next(iter(answers))
    several = len(classes) > 2
    curves = (
        [(label_text(label), *answers[first], at) for at, label in enumerate(classes)]
        if several
        else [(label_text(name), said, truth, 1) for name, (said, truth) in answers.items()]
    )
    for number, (name, said, truth, column) in enumerate(curves):
        own = truth[:, column] > 0.5
        if own.all() or not own.any():
            continue
        curve = roc_curve(said[:, column], own)
        area = np.trapezoid(curve[:, 1], curve[:, 0])
        axes.plot(*curve.T, color=COLOURS[number % len(COLOURS)], label=f"{name}, area {area:.3f}")
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="chance")
    axes.set(xlim=(0, 1), ylim=(0, 1.005), aspect="equal")
    axes.set_xlabel("false positive rate: share of other tiles taken for it")
    axes.set_ylabel("true positive rate: share of its tiles found")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    told = "each class against the rest" if several else f"class {label_text(classes[1])}"
    area = roc_auc(*answers[first])
    finding = f"The area under the ROC curve of {label_text(first)} is {area:.3f} ({told})"
    finding = "There is no ROC curve, as all test tiles are of one class" if np.isnan(area) else finding
    return titled(Drawing("roc", figure, finding, "ROC over all test tiles of the first seed"), 62)


def reliability(answers: Answers) -> Drawing:
    """Draw how often predictors are right beside how sure they are, in bins of equal width of the likeliest class."""
    figure, axes = blank(6.0, 5.4)
    for number, (name, (said, truth)) in enumerate(answers.items()):
        sure, right = said.max(axis=1), np.argmax(said, axis=1) == np.argmax(truth, axis=1)
        bins = np.minimum((sure * BINS).astype(int), BINS - 1)
        points = [(sure[bins == one].mean(), right[bins == one].mean(), (bins == one).sum()) for one in np.unique(bins)]
        x, y, many = (np.array(each) for each in zip(*points, strict=True))
        colour = COLOURS[number % len(COLOURS)]
        error = calibration_error(said, truth)
        axes.plot(x, y, color=colour, linewidth=1, label=f"{label_text(name)}, error {error:.3f}")
        axes.scatter(x, y, s=10 + 120 * many / many.max(), color=colour, alpha=0.6, linewidths=0)
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="as right as sure")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal")
    axes.set_xlabel("probability of the likeliest class (mean of the bin)")
    axes.set_ylabel("share of tiles where it is the true one")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    first, (said, truth) = next(iter(answers.items()))
    finding = (
        f"{label_text(first)} is off by {calibration_error(said, truth):.3f} on average between how sure and how right it is"
    )
    return titled(
        Drawing("calibration", figure, finding, "calibration error over test tiles of the first seed; dots by number of tiles"),
        62,
    )


def confusions(tables: Mapping[str, Int[np.ndarray, "classes classes"]], classes: Sequence[str]) -> Drawing:
    """Draw the confusion of each predictor: tiles, and their share of the true class."""
    from matplotlib.figure import Figure

    side = 1.6 + 0.55 * len(classes)
    figure = Figure(figsize=((side + 0.6) * len(tables), side + 1.1), layout="constrained")
    places = np.atleast_1d(figure.subplots(1, len(tables)))
    for axes, (name, table) in zip(places, tables.items(), strict=True):
        share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (row, column), value in np.ndenumerate(share):
            ink = "white" if value > 0.6 else "black"
            axes.text(column, row, f"{table[row, column]}\n{value:.0%}", ha="center", va="center", color=ink, fontsize=8)
        axes.set_xticks(range(len(classes)), [label_text(label) for label in classes])
        axes.set_yticks(range(len(classes)), [label_text(label) for label in classes])
        axes.set(xlabel="predicted class", title=label_text(name))
    places[0].set_ylabel("true class")
    first, table = next(iter(tables.items()))
    recall = by_class(table)["recall"]
    worst = int(np.nanargmin(recall))
    found = f"{label_text(first)} finds {recall[worst]:.0%} of class {label_text(classes[worst])}"
    finding = f"{found}, the class found least often" if np.isfinite(recall).sum() > 1 else f"{found}, of which all tiles are"
    return titled(Drawing("confusion", figure, finding, "test tiles of the first seed by true and predicted class"), 60)


@final
@dataclass(frozen=True, slots=True)
class SlideView:
    """A slide whose tiles were told apart."""

    section: str
    picture: UInt8[np.ndarray, "height width 3"]
    size: tuple[float, float]
    """What the picture stands for, in the unit of `xy`."""
    xy: Float[np.ndarray, "tiles 2"]
    radius: float
    """Half a tile."""
    probability: Float32[np.ndarray, "tiles classes"]
    truth: Float32[np.ndarray, "tiles classes"]


def slide(view: SlideView, classes: Sequence[str], predictor: str) -> Drawing:
    """Draw a slide put back together: its picture, the true class of each tile, and the probability told."""
    from matplotlib.figure import Figure

    left, top = view.xy.min(axis=0) - 1.5 * view.radius
    right, bottom = view.xy.max(axis=0) + 1.5 * view.radius
    tall = 3.4 * min(max((bottom - top) / (right - left), 0.4), 1.8)
    figure = Figure(figsize=(11.2, tall + 1.3), layout="constrained")
    places = figure.subplots(1, 3)
    for axes in places:
        axes.imshow(view.picture, extent=(0, view.size[0], view.size[1], 0), alpha=1.0 if axes is places[0] else 0.3)
        axes.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
    places[0].set_title("H&E", fontsize=10)
    true, told = np.argmax(view.truth, axis=1), np.argmax(view.probability, axis=1)
    _squares(places[1], view, np.array([COLOURS[one % len(COLOURS)] for one in true]))
    places[1].set_title("true class", fontsize=10)
    for at, label in enumerate(classes):
        places[1].scatter([], [], color=COLOURS[at % len(COLOURS)], marker="s", label=label_text(label))
    places[1].legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=min(len(classes), 4))
    if len(classes) == 2:
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        shades = ScalarMappable(Normalize(0, 1), "cividis")
        _squares(places[2], view, shades.to_rgba(view.probability[:, 1]))
        figure.colorbar(shades, ax=places[2], shrink=0.7, label=f"probability of class {label_text(classes[1])}")
    else:
        _squares(places[2], view, np.array([COLOURS[one % len(COLOURS)] for one in told]))
    places[2].set_title(f"by {label_text(predictor)}", fontsize=10)
    right_share = float((true == told).mean())
    finding = f"{label_text(view.section)}: {right_share:.0%} of {len(true)} tiles have their true class as the likeliest"
    safe = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in view.section)
    return titled(Drawing(f"slide_{safe}", figure, finding, "a test slide: its tiles' true and predicted classes"), 90)


def _squares(axes: "Axes", view: SlideView, colours: np.ndarray) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    side = 2 * view.radius
    tiles = [Rectangle((x - view.radius, y - view.radius), side, side) for x, y in view.xy.tolist()]
    axes.add_collection(PatchCollection(tiles, facecolors=colours, edgecolors="none", alpha=0.85))


@final
@dataclass(frozen=True, slots=True)
class TileView:
    """A tile and what speaks for a class in it."""

    id: str
    tile: UInt8[np.ndarray, "3 pixels pixels"]
    """The window that is drawn."""
    truth: str
    probability: float
    activation: Float32[np.ndarray, "rows columns"]
    """Grad-CAM."""
    hidden: Float32[np.ndarray, "grid grid"]
    """What the probability loses when each square is hidden."""


def attention(views: Sequence[TileView], label: str, microns: float) -> Drawing:
    """Draw tiles, and over each its class activation map and its occlusion map for one class."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.4, 2.35 * len(views) + 1.2), layout="constrained")
    rows = figure.subplots(len(views), 3, squeeze=False)
    for row, view in zip(rows, views, strict=True):
        picture, whole = np.moveaxis(view.tile, 0, -1), (0, microns, microns, 0)
        for axes in row:
            axes.imshow(picture, extent=whole)
            axes.set(xlim=(0, microns), ylim=(microns, 0), xticks=[], yticks=[])
        row[0].set_ylabel(textwrap.fill(label_text(view.id), 22), fontsize=7)
        row[0].set_xlabel(
            f"true class {label_text(view.truth)}; {view.probability:.2f} for class {label_text(label)}", fontsize=7
        )
        strongest = max(float(view.activation.max()), 1e-9)
        shown = view.activation / strongest
        row[1].imshow(shown, extent=whole, cmap="inferno", alpha=0.55, vmin=0, vmax=1, interpolation="bilinear")
        most = max(float(np.abs(view.hidden).max()), 1e-9)
        row[2].imshow(view.hidden, extent=whole, cmap="PuOr_r", alpha=0.6, vmin=-most, vmax=most)
        row[2].set_xlabel(f"strongest square {most:.2f}", fontsize=7)
    for axes, title in zip(rows[0], (f"tile, {microns:.3g} µm wide", "Grad-CAM", "occlusion"), strict=True):
        axes.set_title(title, fontsize=9)
    figure.supxlabel(textwrap.fill(CAUTION, 110), fontsize=7, color="0.3")
    alike = float(np.mean([_alike(view) for view in views]))
    finding = f"What speaks for class {label_text(label)}: Grad-CAM and occlusion have a rank correlation of {alike:.2f}"
    return titled(Drawing("attention", figure, finding, "class activation and occlusion maps of test tiles"), 80)


def _alike(view: TileView) -> float:
    """Return the rank correlation of both maps over the squares of the occlusion grid; 0 where one of them is flat."""
    from scipy.stats import spearmanr

    grid = len(view.hidden)
    middle = (np.arange(grid) + 0.5) / grid
    down, across = ((middle * side).astype(int) for side in view.activation.shape)
    found = view.activation[np.ix_(down, across)]
    if found.std() == 0 or view.hidden.std() == 0:
        return 0.0
    return float(spearmanr(found.ravel(), view.hidden.ravel()).statistic)
