"""Cells of Visium HD, as Space Ranger 4 writes them: the folder `segmented_outputs`, each cell a spot at its centroid.

A section is the folder of a `cell_segmentations.geojson` (outlines in pixels of the full-resolution picture, each with a
cell_id), with `filtered_feature_cell_matrix.h5` or that folder, and `spatial/` with the scale factors and pictures.
Files may lie flat behind a prefix.
"""

import glob
import gzip
import json
import logging
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bleep.config import DataConfig
from bleep.data.readers import chosen_names
from bleep.data.readers.place import (
    FACTORS,
    Place,
    check_known_pictures,
    check_own_pictures,
    factor_of,
    picture_of,
    read_factors,
    read_folder_of_mtx,
    scale_of,
)
from bleep.data.readers.spaceranger import STATED, read_h5
from bleep.data.readers.tables import Measured, joined, note_mpp, nothing
from bleep.data.section import Section
from bleep.data.slides import open_slide
from bleep.errors import DataError
from bleep.files import check_file
from bleep.find import find, visible
from bleep.outputs import check_gzip

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


OUTLINES = re.compile(r"(?P<prefix>.*?)(?P<annotated>graphclust_annotated_)?cell_segmentations\.geojson(\.gz)?")
"""Outlines as Space Ranger names them; annotated ones hold clusters too, and are read where the plain ones are not there."""
COUNTS = "filtered_feature_cell_matrix"
FOLDERS = ("segmented_outputs", "outs")
"""Folders that do not name a sample."""

log = logging.getLogger(__name__)


def read(data: DataConfig) -> tuple[Section, ...]:
    """Read the sections; how many cells there are, which picture is used and the microns per pixel are said aloud."""
    places = _places(data.root.resolve())
    chosen = {name: places[name] for name in chosen_names(list(places), data)}
    pictures = {name: picture_of(name, place, data) for name, (place, _) in chosen.items()}
    check_own_pictures([(name, path) for name, (_, path) in pictures.items()], data.image)
    return tuple(_read_one(name, *chosen[name], *pictures[name], data) for name in chosen)


def _places(root: Path) -> dict[str, tuple[Place, Path]]:
    """Return by section name where its files lie, and its outlines."""
    found: dict[tuple[Path, str], tuple[bool, Path]] = {}
    for path in find(root, "*cell_segmentations.geojson", "*cell_segmentations.geojson.gz"):
        match = OUTLINES.fullmatch(path.name)
        if match is not None and path.is_file():
            key, own = (path.parent, match["prefix"]), (match["annotated"] is not None, path)
            found[key] = min(found.get(key, own), own)
    places: dict[str, tuple[Place, Path]] = {}
    for (folder, prefix), (_, path) in found.items():
        name = prefix.strip("_.- ") or _name(folder)
        if name in places:
            raise DataError(f"{root}: section {name!r} is found in {places[name][1]} and in {path}; rename one")
        places[name] = (_place(folder, prefix, [other for at, other in found if at == folder and other != prefix]), path)
    return places


def _place(folder: Path, prefix: str, others: list[str]) -> Place:
    # The bins and the cells share the pictures of outs/spatial; the cells have a copy of their own.
    outs = folder.parent if folder.name == "segmented_outputs" else folder
    seen_from = tuple(dict.fromkeys([folder, outs, *([outs.parent] if outs.name == "outs" else [])]))
    spatial = (folder / f"{prefix}spatial", folder / "spatial", folder, *([outs / "spatial"] if outs != folder else []))
    flat = bool(prefix) and bool(visible(folder, f"{glob.escape(prefix)}{FACTORS}*"))
    longer = tuple(other for other in others if other.startswith(prefix))
    return Place(folder, (folder,) if flat else spatial, seen_from, prefix if flat else "", prefix, longer)


def _name(folder: Path) -> str:
    return [part for part in folder.parts if part not in FOLDERS][-1]


def _read_one(name: str, place: Place, outlines: Path, scale_name: str, picture: Path, data: DataConfig) -> Section:
    path = place.find((FACTORS,))
    if path is None:
        raise DataError(f"{place.spatial[0]}: has no {place.prefix}{FACTORS}; expected Space Ranger's scale factors there")
    factors, slide = read_factors(path), open_slide(picture, data.pixel_limit)
    scale = scale_of(scale_name, factors, path)
    check_known_pictures(name, place, picture, scale, slide, factors, path, data.pixel_limit)
    if data.mpp is None and STATED not in factors:
        raise DataError(f"{path}: does not state microns_per_pixel, and cells give no scale; set data.mpp")
    mpp = data.mpp or factor_of(factors, STATED, path) / scale
    told = "data.mpp" if data.mpp is not None else path.name
    centres = read_outlines(outlines) * scale
    log.info(
        "section %s: %d outlines of cells, tiles from %s (%s), %.4g microns per pixel (from %s)",
        name, len(centres), picture.name, scale_name, mpp, told,
    )  # fmt: skip
    measured = _counts(place)
    if measured is None:
        why = f"{place.counts}: has no counts; expected {COUNTS}.h5 or that folder"
        log.warning("section %s: can only be queried (%s)", name, why)
        measured = nothing(pd.Index([_barcode(number) for number in centres.index]), why)
    counts, xy = joined(name, measured, _by_barcode(centres, measured.spots), slide.size)
    if data.mpp is not None and STATED in factors:
        note_mpp(counts, factor_of(factors, STATED, path), scale)
    return Section(
        name=name,
        patient=data.patients.get(name, name),
        species=data.species,
        slide=slide,
        counts=counts,
        xy=xy,
        mpp=mpp,
    )


def _barcode(number: str) -> str:
    return f"cellid_{int(number):09d}-1" if number.isdecimal() else number


def _by_barcode(centres: pd.DataFrame, barcodes: pd.Index) -> pd.DataFrame:
    """Return centroids by the names that cells have among the counts; cells without counts go by the name they would have.

    A number that stands twice, or for two barcodes, is kept as often: the join says so.
    """
    numbers = pd.Index([cell_number(name) for name in barcodes])
    if not centres.index.is_unique:
        return centres.set_axis([_barcode(number) for number in centres.index])
    known = numbers.isin(centres.index)
    without = centres[~centres.index.isin(numbers)]
    with_counts = centres.loc[numbers[known]].set_axis(barcodes[known])
    return pd.concat([with_counts, without.set_axis([_barcode(number) for number in without.index])])


def _counts(place: Place) -> Measured | None:
    """Read the counts of cells; none: there are none, and the section can only be queried."""
    packed, folders = place.counted(f"{COUNTS}.h5"), [path for path in place.counted(COUNTS) if path.is_dir()]
    for found, what in ((packed, "count files"), (folders, "folders of counts")):
        if len(found) > 1:
            raise DataError(f"{place.counts}: has several {what}, {found[0].name} and {found[1].name}; keep one")
    if packed:
        return read_h5(packed[0])
    if folders:
        return read_folder_of_mtx(Place(folders[0], (), ()))
    if raw := place.counted("raw_feature_cell_matrix*"):
        wanted = raw[0].name.replace("raw_", "filtered_")
        raise DataError(f"{raw[0]}: holds all cells, tissue or not; expected {wanted}, which lies beside it")
    return None
