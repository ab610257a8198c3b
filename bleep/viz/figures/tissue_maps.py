"""One gene on the tissue: the picture, what was measured, what was predicted, the error and the uncertainty, side by side."""

import math
import textwrap
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8

from bleep.evaluation.metrics import pearson
from bleep.viz.figures.style import Drawing, titled, words
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
    tissue, extent = _cropped(view)
    _picture(axes[0, 0], view, tissue, extent)
    _scale_bar(axes[0, 0], view)
    axes[0, 0].set_title("H&E", fontsize=10)
    axes[1, 0].set_visible(False)
    faint = (255 - FAINT * (255 - tissue.astype(np.float32))).astype(np.uint8)
    low, high = _ends(np.concatenate([values for name, values in shown.items() if name in ("measured", "predicted")]))
    most = max(_ends(np.abs(shown["error"]))[1], 1e-9) if "error" in shown else 1.0
    limits = {"measured": (low, high), "predicted": (low, high), "error": (-most, most)}
    labels = {
        "measured": scale,
        "predicted": scale,
        "error": "predicted − measured, in the same unit",
        "uncertainty": uncertainty,
    }
    for place, bar, (name, values) in zip(axes[0, 1:], axes[1, 1:], shown.items(), strict=True):
        _picture(place, view, faint, extent)
        drawn = _spots(place, view, values, ERRORS if name == "error" else VALUES, limits.get(name) or _ends(values))
        place.set_title(name, fontsize=10)
        figure.colorbar(drawn, cax=bar, orientation="horizontal")
        bar.set_xlabel(_broken(labels[name]), fontsize=8)
        bar.tick_params(labelsize=7)
    what = f"{gene} in section {view.section}: measured and predicted on one colour scale"
    safe = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in f"{view.section}_{gene}")
    return titled(Drawing(f"map_{safe}", figure, _finding(view, column, gene), what), 28 * (len(shown) + 1))


def _broken(text: str) -> str:
    """Break a long unit over several lines."""
    return textwrap.fill(text, 40)


def _shown(view: TissueView, column: int) -> dict[str, Float32[np.ndarray, " spots"]]:
    found = {name: values[:, column] for name, values in view.layers().items()}
    if "measured" in found:
        found["error"] = found["predicted"] - found["measured"]
    return {name: found[name] for name in MAPS if name in found}


def _finding(view: TissueView, column: int, gene: str) -> str:
    where = f"{words(gene)} in {words(view.section)}"
    predicted = view.predicted[:, column : column + 1]
    if view.measured is None:
        low, high = _ends(predicted[:, 0])
        return f"{where}: predicted from {low:.2f} to {high:.2f}"
    measured = view.measured[:, column : column + 1]
    r = float(pearson(predicted, measured)[0])
    if np.isnan(r):
        return f"{where}: does not vary as measured, so there is nothing to correlate"
    spread = float(predicted.std() / max(float(measured.std()), 1e-9))
    return f"{where}: r = {r:.2f} between predicted and measured; the predicted values spread {spread:.2f} times as wide"


def _ends(values: Float32[np.ndarray, " some"]) -> tuple[float, float]:
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


def _cropped(view: TissueView) -> tuple[UInt8[np.ndarray, "height width 3"], tuple[float, float, float, float]]:
    """Return the shown part of the picture, about as fine as a panel, and its left, right, bottom and top on the slide.

    So the picture is not made small again for every panel.
    """
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
    return small.astype(np.uint8), (columns.start / across, ends[0] / across, ends[1] / down, rows.start / down)


def _picture(
    axes: "Axes", view: TissueView, tissue: UInt8[np.ndarray, "height width 3"], extent: tuple[float, float, float, float]
) -> None:
    left, right, top, bottom = _frame(view)
    axes.imshow(tissue, extent=extent, interpolation="antialiased")
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
