"""One page that opens offline: the comparison, the leak report, the settings, and the tissue to look at."""

import base64
import gzip
import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from bleep.data.slides import jpeg_bytes
from bleep.evaluation.metrics import pearson
from bleep.files import write_text
from bleep.viz.page.content import SIDE, Cell, Column, DeepZoom, Grid, Nearest, Page, TissueView, tiles_folder, write_tiles

__all__ = ["Cell", "Column", "Grid", "Nearest", "Page", "TissueView", "tiles_folder", "write_page"]


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


def _packed_text(text: str) -> str:
    return packed(np.frombuffer(text.encode("utf-8"), np.uint8))


def rounded(values: Shaped[np.ndarray, " some"], digits: int = 5) -> list[float]:
    """Return numbers with no more digits than a reader needs."""
    return [float(f"{value:.{digits}g}") for value in values.tolist()]


def jpeg(picture: UInt8[np.ndarray, "height width 3"]) -> str:
    """Return a picture as the address of itself."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg_bytes(picture)).decode("ascii")


BUDGET = 14_000_000
"""Bytes of a page; genes that would go beyond are left out, and the page says so."""
BYTES_OF_NEIGHBOUR = 12
"""Of a page, for each neighbour of a spot: its row, its similarity and its weight, packed."""
SAMPLE = 32
"""Genes whose size tells that of the others."""


def write_page(page: Page, path: Path, budget: int = BUDGET) -> int:
    """Write a page that opens from disk without a network, and return how many of its genes it shows.

    Where views have a slide, its tiles go into the folder `tiles_folder(path)`; what is there is replaced.

    Raises:
        DataError: the place cannot be written to, or a slide is damaged.

    """
    slides = {number: view.slide for number, view in enumerate(page.views) if view.slide is not None}
    parts = [_fixed(view, budget // (4 * len(page.views))) for view in page.views]
    scripts = {name: _part(f"{name.lower()}.js") for name in ("TABLES", "MAPS", "PAGE")}
    fixed = sum(len(json.dumps(part)) for part in parts) + sum(map(len, scripts.values())) + 100_000
    genes = _fitting(page, budget - fixed)
    for number in slides:
        place = {"folder": tiles_folder(path).name, "number": number, "side": SIDE}
        parts[number]["tiles_at"] = place | {"levels": DeepZoom(slides[number].size).facts()}
    data = {
        "genes": [page.genes[column] for column in genes],
        "trust": [page.trust.get(page.genes[column]) for column in genes],
        "grades": [_grade(page.grades.get(page.genes[column])) for column in genes],
        "column": "class" if page.of_classes else "gene",
        "scale": page.scale,
        "uncertainty": page.uncertainty,
        "sections": [part | {"layers": _layers(view, genes)} for part, view in zip(parts, page.views, strict=True)],
        "table": None if page.table is None else _table(page.table),
    }
    html = _filled(
        _part("page.html"),
        {
            "TITLE": _escaped(page.title),
            "LEAD": _escaped(page.lead),
            "STYLE": _part("page.css"),
            "COLUMN": "Class" if page.of_classes else "Gene",
            "COLUMNS": "Classes" if page.of_classes else "Genes",
            "LEAK": _leak(page.leak),
            "FACTS": "".join(f"<dt>{_escaped(key)}</dt><dd>{_escaped(value)}</dd>" for key, value in page.facts.items()),
            "SETTINGS": _escaped(page.settings),
            "SHOWN": _escaped(_shown(page, len(genes), _fewer_neighbours(page, parts))),
            "DATA": _inside(json.dumps(data, separators=(",", ":"))),
            **scripts,
        },
    )
    if slides:
        write_tiles(slides, tiles_folder(path))
    write_text(path, html)
    return len(genes)


def _fitting(page: Page, budget: int) -> list[int]:
    """Return as many columns, the most wanted first, as the bytes allow; one at least."""
    sample = list(page.order[:: max(len(page.order) // SAMPLE, 1)])[:SAMPLE]
    each = sum(
        len(str(quantised(values[:, sample])["packed"])) / len(sample) + 24
        for view in page.views
        for values in (*view.layers().values(), *view.others.values())
    )
    return list(page.order[: max(int(budget / max(each, 1)), 1)])


def _fixed(view: TissueView, budget: int) -> dict[str, Any]:
    """Return what of a section is the same however many genes are shown; `budget` is for its table of neighbours."""
    familiarity = view.familiarity
    return {
        "name": view.section,
        "picture": jpeg(view.picture),
        "size": [float(side) for side in view.size],
        "mpp": float(view.mpp),
        "xy": packed(np.ascontiguousarray(view.xy.T.astype("<f4"))),
        "radius": float(view.radius),
        "ids": _packed_text(json.dumps(view.ids)),
        "tiles": {} if familiarity is None else {"familiarity": packed(familiarity.round(3).astype("<f4"))},
        "nearest": None if view.nearest is None else _nearest(view.nearest, budget),
        "tiles_at": None,
    }


def _layers(view: TissueView, genes: list[int]) -> dict[str, dict[str, Any]]:
    """Return the values of some genes by layer: `title` as it is read, values as `quantised`, r where both were measured."""
    own = f"predicted ({view.predictor})" if view.others and view.predictor else "predicted"
    named = {name: (own if name == "predicted" else name, values) for name, values in view.layers().items()}
    # Keys are ours, whatever the others are called.
    named |= {f"other{number}": found for number, found in enumerate(view.others.items())}
    predicted = [name for name in named if name not in ("measured", "uncertainty")] if view.measured is not None else []
    return {
        name: {"title": title, **quantised(values[:, genes])}
        | ({"r": _agreement(values, view.measured, genes)} if name in predicted else {})
        for name, (title, values) in named.items()
    }


def _agreement(
    predicted: Float32[np.ndarray, "spots genes"], measured: Float32[np.ndarray, "spots genes"] | None, genes: list[int]
) -> list[float | None]:
    """Return Pearson's correlation of each gene over the spots; none where it was not predicted or does not vary."""
    assert measured is not None
    chosen = predicted[:, genes]
    missing = np.isnan(chosen).all(axis=0)
    r = np.where(missing, np.nan, pearson(np.where(missing, np.float32(0), chosen), measured[:, genes]))
    return [round(value, 3) if math.isfinite(value) else None for value in r.tolist()]


def _grade(found: tuple[str, float] | None) -> tuple[str, float | None] | None:
    """Return a grade and the expected correlation as JSON has them."""
    return None if found is None else (found[0], round(found[1], 3) if math.isfinite(found[1]) else None)


def _nearest(nearest: Nearest, budget: int) -> dict[str, Any] | None:
    """Return the best neighbours of each spot, as many as the bytes allow; none where not even one fits."""
    spots, k = nearest.rows.shape
    k = min(k, int(budget / (BYTES_OF_NEIGHBOUR * max(spots, 1))))
    if not k:
        return None
    used, rows = np.unique(nearest.rows[:, :k], return_inverse=True)
    return {
        "names": [nearest.names[row] for row in used.tolist()],
        "k": k,
        "rows": packed(rows.reshape(spots, k).astype("<i4")),
        "similarity": packed(nearest.similarity[:, :k].round(4).astype("<f4")),
        "weight": packed(nearest.weight[:, :k].round(4).astype("<f4")),
    }


def _fewer_neighbours(page: Page, parts: list[dict[str, Any]]) -> bool:
    """Return whether a spot has more neighbours than the page shows."""
    pairs = zip(page.views, parts, strict=True)
    return any(
        view.nearest is not None and view.nearest.rows.shape[1] > (part["nearest"] or {"k": 0})["k"] for view, part in pairs
    )


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


def _shown(page: Page, shown: int, fewer: bool) -> str:
    total, what = len(page.genes), "classes" if page.of_classes else f"genes {page.whose}"
    words = (
        f"All {total} {what} can be shown."
        if shown == total
        else f"{shown} of the {total} {what} can be shown, since more would make this page too large; "
        "the others are in the file of the prediction."
    )
    return words + (" For the same reason a spot's best neighbours alone are here, not all." if fewer else "")


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
