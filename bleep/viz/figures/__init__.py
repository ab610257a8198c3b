"""Figures, and what they share: safe colours, legends, titles that say what is found, and the Axes that are given or made."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, final

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Int64

from bleep.data.readers.annotated import positions
from bleep.data.readers.h5ad import LIBRARIES, libraries_in, pixels_in, scale_in, stored_in
from bleep.errors import ConfigError, DataError
from bleep.files import whole
from bleep.marks import KEY, MARK
from bleep.outputs import check_output
from bleep.viz.page import TissueView

if TYPE_CHECKING:
    from anndata import AnnData
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


Where = Union["Axes", Sequence["Axes"], None]
"""Axes to draw on: one, or several where several things are drawn; none: new ones."""
FORMS = (".png", ".svg", ".pdf")


def figure_axes(count: int, ax: Where, inches: tuple[float, float], columns: int = 4) -> "list[Axes]":
    """Return the Axes given, or new ones in rows of at most `columns`, each of so many inches.

    Raises:
        ConfigError: matplotlib is not installed, or another number of Axes is given.

    """
    if find_spec("matplotlib") is None:
        raise ConfigError("plotting needs matplotlib, which is not installed: pip install -e '.[plots]' in bleep's clone")
    from matplotlib.axes import Axes

    if ax is not None:
        given = [ax] if isinstance(ax, Axes) else [*ax]
        if len(given) != count:
            raise ConfigError(f"ax: found {len(given)} Axes for {count} things to draw; expected one for each")
        return given
    import matplotlib.pyplot as plt

    across = max(min(count, columns), 1)
    down = -(-count // across)
    figure = plt.figure(figsize=(inches[0] * across, inches[1] * down), layout="constrained")
    return [figure.add_subplot(down, across, number + 1) for number in range(count)]


def finished(axes: "list[Axes]", ax: Where, show: bool | None, save: str | Path | None) -> "Axes | list[Axes]":
    """Write and show the figure as is asked, and return its Axes: one alone, or the list.

    Raises:
        ConfigError: the file's suffix is none of `FORMS`.
        DataError: something is there that bleep did not write, or nothing can be written there.

    """
    if save is not None:
        _save(axes[0], Path(save))
    if _is_shown(ax, show, save):
        import matplotlib.pyplot as plt

        plt.show()
    if save is not None and ax is None and not show:
        import matplotlib.pyplot as plt

        plt.close(axes[0].figure)  # type: ignore[arg-type]
    return axes[0] if len(axes) == 1 else axes


def _is_shown(ax: Where, show: bool | None, save: str | Path | None) -> bool:
    """Say whether to show: as asked, else a new figure that is not saved, where the backend can."""
    if show is not None or ax is not None or save is not None:
        return bool(show)
    import matplotlib
    from matplotlib.backends.registry import BackendFilter, backend_registry

    writers: list[str] = backend_registry.list_builtin(BackendFilter.NON_INTERACTIVE)  # type: ignore[no-untyped-call]
    return matplotlib.get_backend().lower() not in {name.lower() for name in writers}


def _save(axes: "Axes", path: Path) -> None:
    import matplotlib

    if path.suffix.lower() not in FORMS:
        raise ConfigError(f"save={str(path)!r}: expected a name ending in {', '.join(FORMS[:-1])} or {FORMS[-1]}")
    check_output(path)
    figure = axes.get_figure(root=True)
    assert figure is not None
    form = path.suffix.lower().removeprefix(".")
    words: Any = {"svg.hashsalt": "bleep", "svg.fonttype": "none", "pdf.fonttype": 42}
    with whole(path) as temporary, matplotlib.rc_context(words):
        figure.savefig(temporary, format=form, dpi=DOTS, metadata=NOTES[form])


THERE = Path("AnnData")
"""How sentences call what is drawn."""


@final
@dataclass(frozen=True, slots=True)
class Placed:
    """The tiles of one section of an AnnData."""

    name: str
    rows: np.ndarray
    mpp: float

    def view(self, adata: "AnnData") -> TissueView:
        """Return the picture and places of its tiles; a white picture where there is none.

        Raises:
            DataError: its picture is none, or has no scale.

        """
        xy, libraries = positions(adata, THERE)[self.rows], libraries_in(adata.uns)
        held = stored_in(adata.uns, "" if libraries == [""] else self.name) if {"", self.name} & set(libraries) else {}
        images, scales = held.get("images", {}), held.get("scalefactors", {})
        side = np.ptp(xy, axis=0).max() / max(np.sqrt(len(xy)), 1.0) or 1.0
        radius = float(scales.get("spot_diameter_fullres", side)) / 2
        kind = next((kind for kind in ("hires", "lowres", "fullres") if kind in images), None)
        if kind is None:
            size = float(xy[:, 0].max()) + 6 * radius, float(xy[:, 1].max()) + 6 * radius
            picture = np.full((2, 2, 3), 255, np.uint8)
        else:
            picture, scale = pixels_in(images[kind], kind, THERE), scale_in(held, kind, THERE)
            size = picture.shape[1] / scale, picture.shape[0] / scale
        ids = tuple(map(str, adata.obs_names[self.rows]))
        return TissueView(self.name, picture, size, xy, radius, ids, np.zeros((len(xy), 1), np.float32), mpp=self.mpp)


def section_of(adata: "AnnData", asked: str | None) -> Placed:
    """Return the tiles of the section asked for, or of the only one.

    Raises:
        ConfigError: it is not there, or there are several and none is named.
        DataError: there are no tiles, or they have no places on a slide; or nothing says on which of several slides.

    """
    if "spatial" not in adata.obsm:
        raise DataError('there are no places to draw at: expected obsm["spatial"], x and y of each tile in pixels of its slide')
    placed = np.isfinite(positions(adata, THERE)).all(axis=1)
    if not placed.any():
        raise DataError(
            f"there is nothing to draw: found {adata.n_obs} tiles, none of them with a place; expected at least one"
        )
    facts, of = adata.uns.get("bleep", {}), _sections_of(adata)
    there = [*dict.fromkeys(of[placed].tolist())]
    if asked is not None and asked not in there:
        raise ConfigError(f"section {asked!r} is not among the {len(there)} of the prediction: {few(there)}")
    if asked is None and len(there) > 1:
        raise ConfigError(f"the prediction is of {len(there)} sections; name the one to draw, such as section={there[0]!r}")
    name = asked or there[0]
    known = [str(one) for one in facts.get("sections", ())]
    if name not in known:
        return Placed(name, placed & (of == name), 0.0)
    at = known.index(name)
    if bool(facts["ready_cut"][at]):
        raise DataError(f"section {name}: its tiles came ready-cut, so nobody knows where on a slide they lie")
    return Placed(name, placed & (of == name), float(facts["mpp"][at]))


def _sections_of(adata: "AnnData") -> np.ndarray:
    """Return the section of each tile: by the column of `obs` that names pictures, else `section`, else all of one.

    Raises:
        DataError: there are several pictures, and no column names them.

    """
    libraries = libraries_in(adata.uns)
    columns = {name: adata.obs[name].astype(str) for name in ("section", *LIBRARIES) if name in adata.obs}
    naming = next((name for name, column in columns.items() if column.isin(libraries).any()), None)
    if naming is None and "section" in columns:
        naming = "section"
    elif naming is None and len(libraries) > 1:
        raise DataError(
            f"uns['spatial'] holds pictures of {few(libraries)}, and no column of obs (section, {', '.join(LIBRARIES)}) says "
            "which tile lies on which: add obs['library_id'] with these names"
        )
    elif naming is None and LIBRARIES[0] in columns:
        naming = LIBRARIES[0]
    alone = (libraries or [""])[0] or "tissue"
    return np.full(adata.n_obs, alone) if naming is None else columns[naming].to_numpy(object)


def column_of(adata: "AnnData", name: str, layer: str | None) -> Float32[np.ndarray, " tiles"]:
    """Return the values of a gene, or of a column of `obs` that holds numbers.

    Raises:
        ConfigError: there is no such gene, column or layer, or the gene stands there more than once.

    """
    if name in adata.var_names:
        if (times := int((adata.var_names == name).sum())) > 1:
            raise ConfigError(f"gene {name!r} stands there {times} times; call var_names_make_unique() of the AnnData first")
        if layer is None and adata.X is None:
            raise ConfigError(f"the AnnData has no X, so gene {name!r} has no values there; name a layer that has")
        if layer is not None and layer not in adata.layers:
            there = [str(one) for one in adata.layers if one is not None]
            raise ConfigError(f"layer {layer!r} is not in the prediction, which has {few(there) if there else 'none'}")
        column = adata[:, name].X if layer is None else adata[:, name].layers[layer]
        return np.asarray(column.toarray() if hasattr(column, "toarray") else column, np.float32).ravel()
    if name not in adata.obs:
        numbers = [str(one) for one in adata.obs if pd.api.types.is_numeric_dtype(adata.obs[one])]
        raise ConfigError(
            f"{name!r} is neither one of the {adata.n_vars:,} genes, such as {few(list(adata.var_names))}, nor a column of "
            f"obs that holds numbers ({few(numbers) if numbers else 'there is none'})"
        )
    if not pd.api.types.is_numeric_dtype(adata.obs[name]):
        raise ConfigError(f"column {name!r} of obs holds words; expected numbers, or a gene")
    return adata.obs[name].to_numpy(np.float32)


def few(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4:,} more" if len(names) > 4 else "")
