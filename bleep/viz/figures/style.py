"""What the figures of tissue share: colours safe for colour-blind readers, legends, titles that say what is found."""

import math
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from jaxtyping import Float, Int64

from bleep.marks import KEY, MARK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#F0E442")
"""Okabe and Ito's, the yellow last since it is weak on white."""
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
"""With more sections than colours, the colours come again with another marker."""
DOTS = 150
"""Dots an inch of the PNG, and of clouds of points in the SVG."""
PAPER_DOTS = 300
"""The same for a paper."""
NOTES: dict[str, dict[str, str | None]] = {
    "png": {KEY: MARK},
    "svg": {"Keywords": f"{KEY} {MARK}", "Date": None},
    "pdf": {"Keywords": f"{KEY} {MARK}", "CreationDate": None},
}
"""The mark, by which a later call knows its own file; without a date the same figure gives the same file."""


@final
@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure and what it says."""

    name: str
    """Name of its files, without suffix."""
    figure: "Figure"
    """Drawn, not yet written."""
    finding: str
    """What is seen there, in a sentence."""
    what: str
    """What is drawn."""


def save(drawing: Drawing, folder: Path, *, paper: bool = False) -> None:
    """Write a drawing as PNG and SVG, for a paper as PDF too and without its title; the same drawing gives the same files.

    Words stay words in SVG and PDF, so that journals and drawing programs can set and change them.
    """
    import matplotlib

    if paper:
        drawing.figure.suptitle("")
    dots = PAPER_DOTS if paper else DOTS
    # Places are worked out once, instead of once for each file.
    drawing.figure.draw_without_rendering()
    drawing.figure.set_layout_engine("none")
    with matplotlib.rc_context({"svg.hashsalt": "bleep", "svg.fonttype": "none", "pdf.fonttype": 42}):
        # Pressed less hard, pictures are a tenth larger and written in half the time.
        drawing.figure.savefig(
            folder / f"{drawing.name}.png", dpi=dots, metadata=NOTES["png"], pil_kwargs={"compress_level": 3}
        )
        drawing.figure.savefig(folder / f"{drawing.name}.svg", dpi=dots, metadata=NOTES["svg"])
        if paper:
            drawing.figure.savefig(folder / f"{drawing.name}.pdf", dpi=dots, metadata=NOTES["pdf"])


def blank(width: float, height: float) -> "tuple[Figure, Axes]":
    """Return an empty figure, its sides in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def scatter_sections(
    axes: "Axes", points: Float[np.ndarray, "spots 2"], codes: Int64[np.ndarray, " spots"], names: tuple[str, ...]
) -> None:
    """Draw points coloured by section, in an order that hides none."""
    for code, name in enumerate(names):
        here = points[codes == code]
        colour, marker = COLOURS[code % len(COLOURS)], MARKERS[code // len(COLOURS) % len(MARKERS)]
        # The legend's entry has no points of its own; the points follow below, shuffled over all sections.
        axes.scatter([], [], s=22, color=colour, marker=marker, label=f"{label_text(name)} ({len(here)})")
    order = np.random.default_rng(0).permutation(len(points))
    for number, marker in enumerate(MARKERS):
        rows = order[codes[order] // len(COLOURS) % len(MARKERS) == number]
        if len(rows):
            shade = np.array(COLOURS)[codes[rows] % len(COLOURS)]
            axes.scatter(
                points[rows, 0], points[rows, 1], s=11, c=shade, marker=marker, linewidths=0, alpha=0.8, rasterized=True
            )


def legend(axes: "Axes") -> None:
    """Put the legend beside the axes."""
    count = len(axes.get_legend_handles_labels()[0])
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1), title="section (spots)", frameon=False, fontsize=8, ncols=1 + count // 26
    )


def label_text(text: object) -> str:
    """Return a name as matplotlib shall print it: not as a formula, and not too long."""
    plain = str(text)
    return (plain if len(plain) <= 28 else plain[:27] + "…").replace("$", r"\$")


def amount(value: float) -> str:
    """Return a number as people read it."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def titled(drawing: Drawing, width: int = 84) -> Drawing:
    """Write the finding above the figure, in even lines of at most about `width` letters."""
    text = drawing.finding.replace("$", r"\$")
    even = len(text) // math.ceil(len(text) / width) + 8
    drawing.figure.suptitle(textwrap.fill(text, min(width, even)), fontsize=11, x=0.01, horizontalalignment="left")
    return drawing


def log_axis(axes: "Axes", which: str, values: np.ndarray) -> None:
    """Take a logarithmic axis, linear next to 0 where there are zeros."""
    kind: dict[str, Any] = {"value": "log"} if values.min() > 0 else {"value": "symlog", "linthresh": 1}
    (axes.set_xscale if which == "x" else axes.set_yscale)(**kind)
