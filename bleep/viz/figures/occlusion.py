"""A tile and what each square of it adds to the prediction of a gene."""

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from jaxtyping import Float32, UInt8

from bleep.viz.figures.style import Drawing, titled, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = "PuOr_r"
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
    drawn = heat.imshow(view.change, extent=(0, side, side, 0), cmap=COLOURS, vmin=-most, vmax=most, alpha=0.75, zorder=1)
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
    where = f"{words(view.gene)} on tile {words(view.id)}: {view.value:.2f} predicted by {words(view.predictor)}"
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
