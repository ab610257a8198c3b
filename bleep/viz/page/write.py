"""A page as one file."""

import base64
import gzip
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float, Float32, Int64, Shaped, UInt8

from bleep.data.slides import jpeg_bytes
from bleep.errors import MismatchError
from bleep.evaluation.metrics import pearson
from bleep.files import write_text
from bleep.viz.page.viewer import palettes, script, tissue_map


@final
@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    heading: str
    meaning: str = ""
    """In a sentence; shown when the heading is pointed at."""


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: as it is read, and what it is sorted by."""

    text: str
    value: float | str
    """Not a number is sorted below all numbers."""


@final
@dataclass(frozen=True, slots=True)
class Grid:
    """A table that the reader can sort.

    Raises:
        MismatchError: a row is not as long as the headings.

    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise MismatchError(f"a table row has {len(row)} cells under {len(self.columns)} headings")


@final
@dataclass(frozen=True, slots=True)
class Nearest:
    """The measured spots that a prediction was made from."""

    names: tuple[str, ...]
    """`section/spot` of every reference spot that is anybody's neighbour."""
    rows: Int64[np.ndarray, "spots k"]
    """Which of them each tile used, best first."""
    similarity: Float32[np.ndarray, "spots k"]
    weight: Float32[np.ndarray, "spots k"]


@final
@dataclass(frozen=True, slots=True)
class TissueView:
    """One section: its picture, its spots, and a table of values for each thing that can be shown.

    Raises:
        MismatchError: a layer is not of as many spots as there are places.

    """

    section: str
    picture: UInt8[np.ndarray, "height width 3"]
    size: tuple[float, float]
    """Width and height that the picture stands for, in level-0 pixels."""
    xy: Float[np.ndarray, "spots 2"]
    """Where the spots are, in level-0 pixels, x first."""
    radius: float
    """Of a spot as it is drawn, in level-0 pixels."""
    ids: tuple[str, ...]
    predicted: Float32[np.ndarray, "predicted_spots genes"]
    measured: Float32[np.ndarray, "measured_spots genes"] | None = None
    uncertainty: Float32[np.ndarray, "uncertain_spots genes"] | None = None
    nearest: Nearest | None = None
    mpp: float = 0.0
    """Microns per level-0 pixel; 0 where places are not those in the tissue, so that nothing can be measured on the map."""

    familiarity: Float32[np.ndarray, " familiar_spots"] | None = None
    """For each spot, the share of left-out training tiles that lie at least as far, of a calibrated run."""

    def __post_init__(self) -> None:
        if self.familiarity is not None and len(self.familiarity) != len(self.xy):
            raise MismatchError(f"section {self.section}: {len(self.familiarity)} familiarities came with {len(self.xy)} spots")
        for name, values in self.layers().items():
            if len(values) != len(self.xy):
                raise MismatchError(
                    f"section {self.section}: {len(values)} rows of {name} values came with {len(self.xy)} spots"
                )

    def layers(self) -> dict[str, np.ndarray]:
        """Return what can be shown, by name."""
        found = {"measured": self.measured, "predicted": self.predicted, "uncertainty": self.uncertainty}
        return {name: values for name, values in found.items() if values is not None}


@final
@dataclass(frozen=True, slots=True)
class Page:
    """All of one page."""

    title: str
    lead: str
    """What is shown, in a sentence or two."""
    genes: tuple[str, ...]
    """In the order of the layers' columns."""
    order: tuple[int, ...]
    """Columns, the most wanted gene first: where not all fit into the page, the last are left out."""
    scale: str
    """What the values are, in words."""
    uncertainty: str
    """What the uncertainty is, in words."""
    views: tuple[TissueView, ...]
    table: Grid | None = None
    leak: tuple[str, ...] = ()
    """The leak report, a line each; the first is the verdict."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What the numbers need beside them, by name."""
    settings: str = ""
    """The whole configuration as YAML."""
    trust: Mapping[str, str] = field(default_factory=dict)
    """How far each gene can be trusted, in words, where a calibration says."""


LEVELS = 254
"""The highest level; one more stands for what is not a number."""
MISSING = 255


def quantised(values: Float32[np.ndarray, "spots genes"]) -> dict[str, object]:
    """Return values as one byte each, a gene after another, with each gene's least and greatest value.

    So a value is known to 1/508 of its gene's range, finer than a colour can be told.
    """
    finite = np.isfinite(values)
    low = np.where(finite, values, np.inf).min(axis=0, initial=np.inf)
    high = np.where(finite, values, -np.inf).max(axis=0, initial=-np.inf)
    empty = ~np.isfinite(low)
    low, high = np.where(empty, 0.0, low), np.where(empty, 0.0, high)
    width = np.where(high > low, high - low, 1.0)
    levels = np.rint((np.where(finite, values, low) - low) / width * LEVELS).astype(np.uint8)
    levels = np.where(finite, levels, np.uint8(MISSING))
    return {"low": rounded(low), "high": rounded(high), "packed": packed(np.ascontiguousarray(levels.T))}


def packed(array: Shaped[np.ndarray, "..."]) -> str:
    """Return the bytes of an array, compressed, as text."""
    # No time of writing in the header: the same page has the same bytes.
    return base64.b64encode(gzip.compress(array.tobytes(), compresslevel=6, mtime=0)).decode("ascii")


def rounded(values: Shaped[np.ndarray, " some"], digits: int = 5) -> list[float]:
    """Return numbers with no more digits than a reader needs."""
    return [float(f"{value:.{digits}g}") for value in values.tolist()]


def jpeg(picture: UInt8[np.ndarray, "height width 3"]) -> str:
    """Return a picture as the address of itself."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg_bytes(picture)).decode("ascii")


BUDGET = 14_000_000
"""Bytes of a page; genes that would go beyond are left out, and the page says so."""
SAMPLE = 32
"""Genes whose size tells that of the others."""


def write_page(page: Page, path: Path, budget: int = BUDGET) -> int:
    """Write a page that opens from disk without a network, and return how many of its genes it shows.

    Raises:
        ConfigError: Bokeh is not installed.
        DataError: the place cannot be written to.

    """
    bokeh, drawn = script(), json.dumps(tissue_map())
    pictures = {view.section: jpeg(view.picture) for view in page.views}
    nearest = {view.section: _nearest(view.nearest) for view in page.views if view.nearest is not None}
    fixed = len(bokeh) + sum(map(len, pictures.values())) + len(json.dumps(nearest)) + 100_000
    genes = _fitting(page, budget - fixed)
    data = {
        "genes": [page.genes[column] for column in genes],
        "trust": [page.trust.get(page.genes[column]) for column in genes],
        "scale": page.scale,
        "uncertainty": page.uncertainty,
        "sections": [_section(view, genes, pictures[view.section], nearest.get(view.section)) for view in page.views],
        "table": None if page.table is None else _table(page.table),
    }
    html = _filled(
        _part("page.html"),
        {
            "TITLE": _escaped(page.title),
            "LEAD": _escaped(page.lead),
            "STYLE": _part("page.css"),
            "LEAK": _leak(page.leak),
            "FACTS": "".join(f"<dt>{_escaped(key)}</dt><dd>{_escaped(value)}</dd>" for key, value in page.facts.items()),
            "SETTINGS": _escaped(page.settings),
            "SHOWN": _escaped(_shown(len(genes), len(page.genes))),
            "PALETTES": palettes(),
            "MAP": _inside(drawn),
            "DATA": _inside(json.dumps(data, separators=(",", ":"))),
            "BOKEH": bokeh,
            "SCRIPT": _part("page.js"),
        },
    )
    write_text(path, html)
    return len(genes)


def _fitting(page: Page, budget: int) -> list[int]:
    """Return as many columns, the most wanted first, as the bytes allow; one at least."""
    sample = list(page.order[:: max(len(page.order) // SAMPLE, 1)])[:SAMPLE]
    each = sum(
        len(str(quantised(values[:, sample])["packed"])) / len(sample) + 24
        for view in page.views
        for values in view.layers().values()
    )
    return list(page.order[: max(int(budget / max(each, 1)), 1)])


def _section(view: TissueView, genes: list[int], picture: str, nearest: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "name": view.section,
        "picture": picture,
        "size": [float(side) for side in view.size],
        "x": rounded(view.xy[:, 0], 7),
        "y": rounded(view.xy[:, 1], 7),
        "radius": float(view.radius),
        "ids": list(view.ids),
        "layers": {name: quantised(values[:, genes]) for name, values in view.layers().items()},
        "tiles": {} if view.familiarity is None else {"familiarity": rounded(view.familiarity, 3)},
        "r": None if view.measured is None else _agreement(view, genes),
        "nearest": nearest,
    }


def _agreement(view: TissueView, genes: list[int]) -> list[float | None]:
    """Return Pearson's correlation of each gene over the spots; none where the measured values do not vary."""
    assert view.measured is not None
    r = pearson(view.predicted[:, genes], view.measured[:, genes])
    return [round(value, 3) if math.isfinite(value) else None for value in r.tolist()]


def _nearest(nearest: Nearest) -> dict[str, Any]:
    used, rows = np.unique(nearest.rows, return_inverse=True)
    return {
        "names": [nearest.names[row] for row in used.tolist()],
        "k": int(nearest.rows.shape[1]),
        "rows": packed(rows.reshape(nearest.rows.shape).astype("<i4")),
        "similarity": packed(nearest.similarity.astype("<f4")),
        "weight": packed(nearest.weight.astype("<f4")),
    }


def _table(grid: Grid) -> dict[str, Any]:
    return {
        "columns": [{"heading": column.heading, "meaning": column.meaning} for column in grid.columns],
        "rows": [[{"text": cell.text, "value": _sortable(cell.value)} for cell in row] for row in grid.rows],
    }


def _sortable(value: float | str) -> float | str | None:
    """Return what JSON has a word for."""
    return value if isinstance(value, str) or math.isfinite(value) else None


def _leak(lines: tuple[str, ...]) -> str:
    if not lines:
        return ""
    rest = "".join(f"<li>{_escaped(line)}</li>" for line in lines[1:])
    return f"<p><strong>{_escaped(lines[0])}</strong></p>" + (f"<ul>{rest}</ul>" if rest else "")


def _shown(genes: int, all_genes: int) -> str:
    if genes == all_genes:
        return f"All {genes} genes of the panel can be shown."
    return (
        f"{genes} of the panel's {all_genes} genes can be shown, since more would make this page too large; "
        "the others are in the file of the prediction."
    )


def _part(name: str) -> str:
    return files("bleep.viz.page").joinpath(name).read_text(encoding="utf-8")


def _filled(text: str, parts: dict[str, str]) -> str:
    """Put each part where the page names it; what stands in a part is never looked at for further names."""
    pieces = text.split("%%")
    return "".join(parts[piece] if number % 2 else piece for number, piece in enumerate(pieces))


def _escaped(text: str) -> str:
    from html import escape

    return escape(text)


def _inside(text: str) -> str:
    """Return JSON that can stand in a script element, whatever words it holds."""
    return text.replace("<", "\\u003c")
