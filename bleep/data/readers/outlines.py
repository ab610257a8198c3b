"""Outlines of cells as GeoJSON: the centroid of each, by the number that Space Ranger gives the cell."""

import gzip
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bleep.errors import DataError
from bleep.files import check_file
from bleep.guards import check_gzip

CELL = re.compile(r"(?:cellid_)?0*(\d+)(?:-\d+)?")
"""A cell's number, alone or as in its barcode: 1, or cellid_000000001-1."""
SHAPES = ("Polygon", "MultiPolygon")


def cell_number(name: object) -> str:
    """Return the number of a cell without its padding, as outlines and counts write it differently; else the name itself."""
    plain = int(name) if isinstance(name, float) and name.is_integer() else name
    match = CELL.fullmatch(str(plain))
    return match[1] if match else str(name)


def read_outlines(path: Path) -> pd.DataFrame:
    """Read the centroids of cells, as x and y in the outlines' own units, indexed by `cell_number`.

    Each outline is reduced to its centroid as soon as it is parsed, so that memory stays far below that of all corners.
    A centroid is the mean place of the area, holes left out, and of several polygons together; without area, the mean of
    the corners.

    Raises:
        DataError: the file is missing or damaged, holds no cells, or an outline has no cell_id.

    """
    what = "outlines of cells, a GeoJSON of polygons with a cell_id each"
    try:
        (check_gzip if path.suffix == ".gz" else check_file)(path)
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        tree = json.loads(text, object_hook=_reduced)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected {what}") from None
    except (OSError, EOFError, zlib.error, ValueError, RecursionError, TypeError, LookupError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DataError(f"{path}: is damaged ({reason}); expected {what}") from None
    features = tree.get("features") if isinstance(tree, dict) else None
    if not isinstance(features, list) or not features:
        raise DataError(f"{path}: holds no features; expected {what}")
    odd = next((number for number, feature in enumerate(features) if not isinstance(feature, tuple)), None)
    if odd is not None:
        raise DataError(f"{path}: feature {odd + 1} has no cell_id; expected {what}")
    # A cell without a polygon has no place.
    placed = [(name, centre) for name, centre in features if isinstance(centre, tuple)]
    table = pd.DataFrame([centre for _, centre in placed], columns=["x", "y"], dtype=np.float64)
    table.index = pd.Index([name for name, _ in placed], dtype=object)
    if table.empty or not np.isfinite(table.to_numpy()).all():
        raise DataError(f"{path}: holds no polygon, or one whose corners are no numbers; expected {what}")
    return table


def _reduced(tree: dict[str, Any]) -> Any:
    """Return a polygon as its centroid and a feature as its cell and that; what else there is stays."""
    if tree.get("type") in SHAPES and "coordinates" in tree:
        return _centroid([tree["coordinates"]] if tree["type"] == "Polygon" else tree["coordinates"])
    if tree.get("type") == "Feature":
        known = tree.get("properties")
        name = known.get("cell_id") if isinstance(known, dict) else None
        return tree if name is None or isinstance(name, bool) else (cell_number(name), tree.get("geometry"))
    return tree


def _centroid(polygons: list[Any]) -> tuple[float, float]:
    """Return the mean place of the area within polygons, each an outer ring and holes, whichever way they run."""
    x0, y0 = polygons[0][0][0][:2]
    area = sum_x = sum_y = 0.0
    for rings in polygons:
        for number, ring in enumerate(rings):
            part, x, y = _moments(ring, x0, y0)
            sign = 1.0 if (part > 0) == (number == 0) else -1.0
            area, sum_x, sum_y = area + sign * part, sum_x + sign * x, sum_y + sign * y
    corners = [(corner[0], corner[1]) for rings in polygons for corner in rings[0]]
    width = max(max(axis) - min(axis) for axis in zip(*corners, strict=True))
    if abs(area) <= 1e-9 * width**2:
        distinct = set(corners)
        return float(sum(x for x, _ in distinct)) / len(distinct), float(sum(y for _, y in distinct)) / len(distinct)
    return x0 + sum_x / (3 * area), y0 + sum_y / (3 * area)


def _moments(ring: list[Any], x0: float, y0: float) -> tuple[float, float, float]:
    """Return twice the area of a ring, and six times its first moments, seen from (x0, y0).

    Plain numbers are many times faster here than an array for each of a million small rings.
    """
    area = sum_x = sum_y = 0.0
    x, y = ring[-1][0] - x0, ring[-1][1] - y0
    for corner in ring:
        next_x, next_y = corner[0] - x0, corner[1] - y0
        cross = x * next_y - next_x * y
        area, sum_x, sum_y = area + cross, sum_x + (x + next_x) * cross, sum_y + (y + next_y) * cross
        x, y = next_x, next_y
    return area, sum_x, sum_y
