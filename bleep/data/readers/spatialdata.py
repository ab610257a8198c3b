"""SpatialData stores: an image, shapes for the spots, and the table that annotates them (extra `spatialdata`).

A section is a region that the table annotates. It is called by its store's name; where the table has several regions, by
the store's and the region's, `STORE-REGION`. Spots and image meet in one coordinate system.
"""

import logging
import os
import re
import warnings
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from jaxtyping import Float64
from scipy.spatial import cKDTree

from bleep.config import DataConfig
from bleep.data.readers import chosen_names
from bleep.data.readers.annotated import (
    clearly,
    measured,
    patient_of,
    under_tissue,
    with_label,
    without_predictions,
)
from bleep.data.readers.lattice import mpp_by_array, note_honeycomb
from bleep.data.readers.tables import joined, note_mpp
from bleep.data.section import Section
from bleep.data.slides.zarr import ZarrSlide, multiscale
from bleep.errors import DataError
from bleep.find import visible
from bleep.outputs import check_zarr

LINK = "spatialdata_attrs"
"""Where a table keeps which regions it annotates, and by which columns."""
UNITS = {"nanometer": 1e-3, "micrometer": 1.0, "um": 1.0, "µm": 1.0, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6}
"""Microns in the units that a coordinate system may have."""
MICRONS = ("micron", "microns", "micrometer", "micrometers", "um", "µm")
"""Names of coordinate systems that are taken at their word, as many readers leave the unit open."""
COARSE = 2048
"""Blocks of more pixels than this along a side are worth a word: a tile needs each block it touches decoded whole."""
SQUEEZED = 1.01
"""A pixel may be longer than it is wide by this factor, and still counts as square."""

AMONG = 0.2
"""Share of a region's spots that lie within a step of another's, above which both cannot be tissue on one image."""
PICTURES = ("full", "hires", "lowres")
"""What spatialdata-io calls a sample's pictures, SAMPLE_full_image and so on, best first."""
BINS = re.compile(r"_square_\d+um$")
"""What it puts behind a sample's name for the bins of Visium HD."""

Affine = Float64[np.ndarray, "3 3"]

log = logging.getLogger(__name__)


class _Region(NamedTuple):
    store: Path
    held: Any
    """The library's SpatialData."""
    table: AnnData
    name: str
    """Of the element that the table annotates."""


def read(data: DataConfig) -> tuple[Section, ...]:
    """Read the sections; the pictures stay on disk. Which counts and which scale are used is said aloud."""
    regions = {name: region for path in _stores(data.root) for name, region in _regions(path, data).items()}
    sections = tuple(_read_one(name, regions[name], data) for name in chosen_names(list(regions), data))
    _check_apart(sections)
    return sections


def _check_apart(sections: tuple[Section, ...]) -> None:
    """Refuse regions that lie among each other in one image: pieces of tissue lie apart, so one of them has another image."""
    for one, other in combinations(sections, 2):
        if not isinstance(one.slide, ZarrSlide) or not isinstance(other.slide, ZarrSlide) or min(len(one), len(other)) < 2:
            continue
        if os.path.realpath(one.slide.path) == os.path.realpath(other.slide.path):
            near = cKDTree(other.xy).query(one.xy)[0] < max(one.pitch(), other.pitch())
            if near.mean() > AMONG:
                raise DataError(
                    f"{one.slide.path}: is the same picture for sections {one.name!r} and {other.name!r}, whose spots lie "
                    "among each other; name the image of each by data.element, with {region} for the region"
                )


def _stores(root: Path) -> list[Path]:
    if root.suffix == ".zarr" or (root / "zarr.json").exists() or (root / ".zgroup").exists():
        return [root]
    return without_predictions(visible(root, "*.zarr"))


def _regions(path: Path, data: DataConfig) -> dict[str, _Region]:
    held = _open(path)
    table = held.tables[_named(data.table, list(held.tables), path, "table")]
    link = table.uns.get(LINK)
    if not isinstance(link, Mapping) or not {"region", "region_key", "instance_key"} <= set(link):
        raise DataError(f"{path}: the table does not say which shapes it annotates; expected uns[{LINK!r}]")
    names = [str(name) for name in np.atleast_1d(np.asarray(link["region"], dtype=object))]
    alone = len(names) == 1
    return {path.stem if alone else f"{path.stem}-{name}": _Region(path, held, table, name) for name in names}


def _open(path: Path) -> Any:
    with warnings.catch_warnings():
        # The library, and those it is built on, warn of their own future while they are loaded, and of older stores.
        warnings.simplefilter("ignore")
        try:
            import spatialdata
        except ImportError:
            raise DataError(
                f"{path}: SpatialData stores need the extra spatialdata: pip install -e '.[spatialdata]' in bleep's clone"
            ) from None
        check_zarr(path)
        with clearly(path, "a SpatialData store"):
            return spatialdata.read_zarr(path, selection=("images", "labels", "shapes", "tables"))


def _named(asked: str, found: list[str], path: Path, what: str) -> str:
    """Return the element asked for, or the only one."""
    setting = "data.table" if what == "table" else "data.element"
    if not found:
        raise DataError(f"{path}: holds no {what}; expected one that goes with the spots")
    if asked and asked not in found:
        raise DataError(f"{path}: has no {what} {asked!r}; found {', '.join(sorted(found))}: set {setting} to one of them")
    if not asked and len(found) > 1:
        raise DataError(f"{path}: has {len(found)} {what}s ({', '.join(sorted(found))}); set {setting} to one of them")
    return asked or found[0]


def _read_one(name: str, region: _Region, data: DataConfig) -> Section:
    image = _image(region, data)
    folder = region.store / "images" / image
    system = _system(region, image, data)
    to_system = _affine(region.held.images[image], f"image {image}", region.store, system)
    slide = ZarrSlide.open(folder)
    part = _part(region)
    part = part[under_tissue(part.obs, region.store)]
    positions = _centres(region, part, np.linalg.inv(to_system), system)
    stated = _stated_mpp(folder, to_system, system)
    places, obs = positions.to_numpy(np.float64), part.obs[part.obs_names.astype(str).isin(positions.index)]
    mpp = data.mpp or stated or mpp_by_array(name, places, obs)
    log.info("section %s: tiles from image %s, %d x %d pixels of %.3f microns", name, image, *slide.size, mpp)
    if max(slide.block) > COARSE:
        log.warning(
            "section %s: image %s is stored in blocks of %d x %d pixels, each decoded whole for a tile; it is read many "
            "times faster once written with smaller chunks, such as 512",
            name, image, slide.block[1], slide.block[0],
        )  # fmt: skip
    counts, xy = joined(name, measured(part, name, region.store, data), positions, slide.size)
    note_mpp(counts, stated)
    note_honeycomb(counts, obs, places)
    return Section(
        name=name,
        patient=patient_of(name, part.obs, data.patients),
        species=data.species,
        slide=slide,
        counts=with_label(counts, part.obs, data.label),
        xy=xy,
        mpp=mpp,
    )


def _image(region: _Region, data: DataConfig) -> str:
    """Return the image of a region: the one named, with `{region}` for the region; else by the names of spatialdata-io."""
    found = list(region.held.images)
    if data.element:
        return _named(data.element.replace("{region}", region.name), found, region.store, "image")
    own = BINS.sub("", region.name)
    by_name = next((f"{own}_{kind}_image" for kind in PICTURES if f"{own}_{kind}_image" in found), "")
    return by_name if by_name and len(found) > 1 else _named("", found, region.store, "image")


def _system(region: _Region, image: str, data: DataConfig) -> str:
    """Return the coordinate system in which image and spots meet: the one named, else the only one they share."""
    from spatialdata.transformations import get_transformation

    named = data.system.replace("{region}", region.name)
    if region.name not in region.held.shapes:
        return named
    both = [get_transformation(one, get_all=True) for one in (region.held.images[image], region.held.shapes[region.name])]
    shared = sorted(set(both[0]) & set(both[1]))
    if named in shared or data.system != DataConfig().system or len(shared) != 1:
        return named
    log.info("region %s: meets its image %s in the coordinate system %s", region.name, image, shared[0])
    return shared[0]


def _part(region: _Region) -> AnnData:
    """Return the rows of the table that annotate a region."""
    key = str(region.table.uns[LINK]["region_key"])
    if key not in region.table.obs:
        raise DataError(f"{region.store}: the table has no column {key!r}, which should say what region a spot is of")
    rows = (region.table.obs[key].astype(str) == region.name).to_numpy(dtype=bool)
    if not rows.any():
        raise DataError(f"{region.store}: the table has no row of region {region.name!r}, which it says it annotates")
    return region.table[rows]


def _centres(region: _Region, part: AnnData, to_image: Affine, system: str) -> pd.DataFrame:
    """Return where the spots of the table lie in the image, x first; what has no shape is left out."""
    shapes = region.held.shapes.get(region.name) if region.name in region.held.shapes else None
    if shapes is None:
        kind = "labels; expected circles, squares or polygons" if region.name in region.held.labels else "not in the store"
        found = ", ".join(region.held.shapes) or "no shapes"
        raise DataError(f"{region.store}: the table annotates {region.name!r}, which is {kind}; found {found}")
    key = str(region.table.uns[LINK]["instance_key"])
    if key not in part.obs:
        raise DataError(f"{region.store}: the table has no column {key!r}, which should say what shape a spot has")
    ids = pd.Index(shapes.index.astype(str))
    if not ids.is_unique:
        raise DataError(f"{region.store}: shape {ids[ids.duplicated()][0]!r} of {region.name!r} stands more than once")
    at = ids.get_indexer(pd.Index(part.obs[key].astype(str)))
    if (at < 0).all():
        raise DataError(
            f"{region.store}: no spot of the table has a shape; it names {part.obs[key].iloc[0]!r}, the shapes of "
            f"{region.name!r} are called like {shapes.index[0]!r}"
        )
    centre = shapes.geometry.centroid
    xy = np.stack([centre.x.to_numpy(np.float64), centre.y.to_numpy(np.float64)], axis=1)[at[at >= 0]]
    moved = to_image @ _affine(shapes, f"shapes {region.name}", region.store, system)
    return pd.DataFrame(xy @ moved[:2, :2].T + moved[:2, 2], columns=["x", "y"], index=part.obs_names[at >= 0].astype(str))


def _affine(element: Any, what: str, store: Path, system: str) -> Affine:
    """Return the map from an element's own coordinates into a system, x first."""
    from spatialdata.transformations import get_transformation

    known = get_transformation(element, get_all=True)
    if system not in known:
        raise DataError(
            f"{store}: {what} is not in the coordinate system {system!r}; found {', '.join(sorted(known))}: set data.system"
        )
    with clearly(store, f"a SpatialData store, at the transformation of {what}"):
        matrix = np.asarray(known[system].to_affine_matrix(("x", "y"), ("x", "y")), dtype=np.float64)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
        raise DataError(f"{store}: the transformation of {what} into {system!r} has no inverse; expected a scale above 0")
    return matrix


def _stated_mpp(folder: Path, to_system: Affine, system: str) -> float | None:
    """Return the microns per pixel where the system is in a unit of length.

    Raises:
        DataError: the pixels are not square there.

    """
    longer, shorter = np.linalg.svd(to_system[:2, :2], compute_uv=False)
    if longer > SQUEEZED * shorter:
        raise DataError(
            f"{folder}: its transformation into {system!r} makes pixels of {longer:.4g} x {shorter:.4g}; expected square ones: "
            "resample the image, or choose another data.system"
        )
    unit = _unit(folder, system)
    return float(np.sqrt(longer * shorter)) * unit if unit is not None else None


def _unit(folder: Path, system: str) -> float | None:
    """Return the microns in a unit of the system, by its axes, else by its name."""
    for step in multiscale(folder).get("coordinateTransformations", []):
        output = step.get("output", {})
        if isinstance(output, dict) and output.get("name") == system:
            units = {axis.get("unit") for axis in output.get("axes", []) if axis.get("type") == "space"}
            if len(units) == 1 and (unit := units.pop()) in UNITS:
                return UNITS[unit]
    return 1.0 if system.lower() in MICRONS else None
