"""AnnData files laid out by scanpy and squidpy: counts, `obsm["spatial"]` and the pictures in `uns["spatial"]`.

A section is a file, called by its name without ending; or, where `uns["spatial"]` holds several libraries, one of these.
"""

import logging
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData

from bleep.config import Config, DataConfig
from bleep.data.readers import check_values, chosen_names
from bleep.data.readers.annotated import (
    check_one_sample,
    clearly,
    measured,
    patient_of,
    positions,
    read_h5ad,
    under_tissue,
    with_label,
    without_predictions,
)
from bleep.data.readers.lattice import check_stated, lattice, mpp_by_array, note_honeycomb, steps_of
from bleep.data.readers.place import Known, check_own_pictures, check_picture
from bleep.data.readers.tables import joined, note_mpp
from bleep.data.section import Section, without_spots
from bleep.data.slides import ArraySlide, Pixels, Slide, as_rgb, open_slide
from bleep.errors import DataError
from bleep.files import check_file
from bleep.find import find

PICTURES = ("fullres", "hires", "lowres")
"""Pictures of `uns` taken when none is named, best first."""
LIBRARIES = ("library_id", "library", "sample", "batch")
"""Columns of `obs` that may say which library a spot is of."""
FLAT = {"images", "scalefactors"}
"""What a library holds: where it stands in `uns["spatial"]` itself, there is one library without a name."""
MICRONS = ("microns_per_pixel", "mpp")
"""Where the scale factors or the metadata of a library may state the scale of the full-resolution picture."""

log = logging.getLogger(__name__)


class _Picture(NamedTuple):
    name: str
    scale: float
    """Its pixels per full-resolution pixel."""
    slide: Slide


def read(data: DataConfig) -> tuple[Section, ...]:
    """Read the sections; which counts, which picture and which scale are used is said aloud."""
    paths = without_predictions(find(data.root, "*.h5ad")) if data.root.is_dir() else [data.root]
    found = [(name, library, path) for path in paths for name, library in _names(path)]
    by_name = {name: (library, path) for name, library, path in found}
    if len(by_name) < len(found):
        names = [name for name, *_ in found]
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{data.root}: section {twice!r} is found more than once; each name must stand for one section")
    chosen = {name: by_name[name] for name in chosen_names(list(by_name), data)}
    _check_pictures({name: path for name, (_, path) in chosen.items()}, data)
    sections = {}
    for path in dict.fromkeys(path for _, path in chosen.values()):
        held = read_h5ad(path)
        mine = {name: library for name, (library, its_path) in chosen.items() if its_path == path}
        inhabited = _inhabited(libraries_in(held.uns), held.obs)
        for name, library in mine.items():
            if len(mine) > 1 and library not in inhabited and name not in data.sections:
                log.warning("%s: left out section %s: its picture is there, and none of its spots", path, name)
            else:
                sections[name] = _read_one(name, library, path, held, data)
        _check_arrays(path, [sections[name] for name in mine if name in sections])
    return tuple(sections[name] for name in chosen if name in sections)


def from_anndata(
    data: AnnData,
    name: str = "section",
    *,
    patient: str | None = None,
    species: str = "unknown",
    mpp: float | None = None,
    image: Path | None = None,
    **settings: Any,
) -> tuple[Section, ...]:
    """Return the sections of an AnnData in memory, as they would be read from its file; the AnnData is not changed.

    The sections can be predicted: `experiment.predict(experiment.tiles(bleep.from_anndata(adata)))`; values that are no
    expression, such as z-scores, are left out, aloud. To train on them, write the file and name it in the configuration, since
    a run reads its tissue again.

    Args:
        data: spots x genes, positions in `obsm["spatial"]`, a picture in `uns["spatial"]`; see docs/how-to/own-data.
        name: of the section; where `uns["spatial"]` holds several libraries, their names are taken.
        patient: whom the tissue is from; none: what a column of `obs` says, else the section's name.
        species: of the genes, such as `human`.
        mpp: microns per full-resolution pixel; none: what the scale factors state, else by the pitch of the spots.
        image: file of the picture that the positions are pixels of; none: the best one in `uns["spatial"]`.
        settings: further ones of `data`, such as `layer`.

    Raises:
        DataError: it is no AnnData in memory, has no spots, positions or picture, or its parts contradict each other.
        ConfigError: a setting is wrong.

    """
    if not isinstance(data, AnnData):
        raise DataError(f"{name}: is a {type(data).__name__}, no AnnData; read a file by anndata.read_h5ad first")
    if data.isbacked:
        raise DataError(f"{name}: is an AnnData backed by a file; give what its to_memory() returns")
    if data.n_obs == 0:
        raise DataError(f"{name}: holds no spots; expected a row for each")
    held = data.copy()
    libraries = libraries_in(held.uns)
    inhabited = _inhabited(libraries, held.obs)
    found = [(each, each) for each in inhabited] if len(libraries) > 1 else [(name, libraries[0] if libraries else "")]
    plain: dict[str, Any] = {"source": "h5ad", "species": species, "mpp": mpp, "image": image, **settings}
    if patient is not None:
        plain["patients"] = {each: patient for each, _ in found}
    config = Config.load({"data": plain}).data
    place = Path(name)
    _check_pictures(dict.fromkeys([each for each, _ in found], place), config)
    sections = tuple(_read_one(each, library, place, held, config) for each, library in found)
    _check_arrays(place, sections)
    for section in sections:
        check_values(section, to_query=True)
    return without_spots(sections, config)


def _names(path: Path) -> list[tuple[str, str]]:
    """Return name and library of each section of a file, whose tables are not read for it."""
    if path.suffix != ".h5ad":
        raise DataError(f"{path}: is no .h5ad file; set data.root to one, or to a folder of them")
    check_file(path)
    with clearly(path, "an AnnData"), h5py.File(path) as file:
        spatial = file.get("uns/spatial")
        held = spatial if isinstance(spatial, h5py.Group) else {}
        libraries = [key for key in held if isinstance(held[key], h5py.Group)]
    if FLAT & set(libraries):
        return [(path.stem, "")]
    if len(libraries) > 1:
        return [(library, library) for library in libraries]
    return [(path.stem, libraries[0] if libraries else "")]


def _named_picture(name: str, path: Path, data: DataConfig) -> Path | None:
    return path.parent / str(data.image).replace("{name}", name) if data.image is not None else None


def _check_pictures(paths: Mapping[str, Path], data: DataConfig) -> None:
    named = ((name, _named_picture(name, path, data)) for name, path in paths.items())
    check_own_pictures([(name, picture) for name, picture in named if picture is not None], data.image)


def _check_arrays(path: Path, sections: Sequence[Section]) -> None:
    """Refuse libraries of one file that hold the same picture."""
    for one, other in combinations([section for section in sections if isinstance(section.slide, ArraySlide)], 2):
        if one.slide.digest() == other.slide.digest():
            raise DataError(f"{path}: holds the same picture for sections {one.name!r} and {other.name!r}; give each its own")


def _read_one(name: str, library: str, path: Path, held: AnnData, data: DataConfig) -> Section:
    part = held[_rows(name, library, held, path)]
    stored = stored_in(held.uns, library)
    places, kept = positions(part, path), under_tissue(part.obs, path)
    check_one_sample(name, part.obs[kept], path)
    picture = _picture(name, stored, path, data)
    fiducial = _number(stored.get("scalefactors", {}).get("fiducial_diameter_fullres"))
    stated = data.mpp or _stated_mpp(stored)
    if data.mpp is None and stated is not None and (steps := steps_of(part.obs[kept])) is not None:
        check_stated(name, stated, lattice(steps, places[kept]), fiducial)
    mpp = data.mpp or (stated or mpp_by_array(name, places[kept], part.obs[kept], fiducial)) / picture.scale
    log.info("section %s: tiles from %s, %.3f microns per pixel", name, picture.name, mpp)
    table = pd.DataFrame(places * picture.scale, columns=["x", "y"], index=part.obs_names.astype(str))
    counts, xy = joined(name, measured(part[kept], name, path, data), table[kept], picture.slide.size)
    note_mpp(counts, None if data.mpp is None else _stated_mpp(stored), picture.scale)
    note_honeycomb(counts, part.obs[kept], places[kept] * picture.scale)
    return Section(
        name=name,
        patient=patient_of(name, part.obs[kept], data.patients),
        species=data.species,
        slide=picture.slide,
        counts=with_label(counts, part.obs, data.label),
        xy=xy,
        mpp=mpp,
    )


def libraries_in(uns: Mapping[str, Any]) -> list[str]:
    """Return the libraries of `uns["spatial"]`; an empty name where what one holds stands there itself."""
    spatial = uns.get("spatial")
    pairs = spatial.items() if isinstance(spatial, Mapping) else ()
    found = [str(key) for key, value in pairs if isinstance(value, Mapping)]
    return [""] if FLAT & set(found) else found


def _inhabited(libraries: list[str], obs: pd.DataFrame) -> list[str]:
    """Return the libraries that spots are of, where a column says so of every spot: a subset keeps the pictures of all."""
    columns = (obs[column].astype(str) for column in LIBRARIES if column in obs)
    named = next((set(column) for column in columns if column.isin(libraries).all()), set(libraries))
    return [library for library in libraries if library in named]


def stored_in(uns: Mapping[str, Any], library: str) -> Mapping[str, Any]:
    """Return what `uns["spatial"]` holds of a library; some files leave the level of libraries out."""
    spatial = uns.get("spatial", {})
    if library:
        return dict(spatial[library])
    return dict(spatial) if isinstance(spatial, Mapping) and FLAT & set(spatial) else {}


def _rows(name: str, library: str, held: AnnData, path: Path) -> np.ndarray:
    """Return which rows are of a library; all of them where the file knows of no other."""
    obs, libraries = held.obs, libraries_in(held.uns)
    for column in LIBRARIES:
        rows = (obs[column].astype(str) == library).to_numpy(dtype=bool) if column in obs else np.zeros(len(obs), dtype=bool)
        if rows.any():
            level = logging.WARNING if len(libraries) == 1 and not rows.all() else logging.INFO
            log.log(level, "section %s: %d of %d spots, those with obs[%r] = %s", name, rows.sum(), len(obs), column, library)
            return rows
    if len(libraries) > 1 and _inhabited(libraries, obs) != libraries:
        raise DataError(f"{path}: no spot is of library {library!r}; name another section, or none")
    if len(libraries) > 1:
        raise DataError(
            f"{path}: holds several libraries, but no column of obs ({', '.join(LIBRARIES)}) says which spots are of "
            f"{library!r}; add obs['library_id'] with the names in uns['spatial']"
        )
    if LIBRARIES[0] in obs and obs[LIBRARIES[0]].nunique() > 1:
        named = [str(each) for each in obs[LIBRARIES[0]].dropna().unique()]
        raise DataError(
            f"{path}: obs['library_id'] names {len(named)} samples ({', '.join(named[:3])}), but uns['spatial'] holds no "
            "picture of these names; keep each there, as anndata.concat does with uns_merge='unique', or give one sample"
        )
    return np.ones(len(obs), dtype=bool)


def _picture(name: str, stored: Mapping[str, Any], path: Path, data: DataConfig) -> _Picture:
    named, images = _named_picture(name, path, data), stored.get("images", {})
    if named is not None:
        scale, slide = scale_in(stored, data.image_scale, path), open_slide(named, data.pixel_limit)
        for key in [key for key in PICTURES if key in images and _stated_scale(stored, key)][:1]:
            known = Known(
                f"the {key} picture in uns", scale_in(stored, key, path), ArraySlide(pixels_in(images[key], key, path))
            )
            check_picture(name, named.name, slide, scale, known)
        return _Picture(f"{named.name} ({data.image_scale})", scale, slide)
    keys = [key for key in PICTURES if key in images] + [key for key in images if key not in PICTURES]
    if not keys:
        raise DataError(f"{path}: uns['spatial'] holds no picture of section {name}; name the picture's file with data.image")
    scale, shown = scale_in(stored, keys[0], path), ArraySlide(pixels_in(images[keys[0]], keys[0], path))
    for key in [key for key in keys[1:] if key in PICTURES and _stated_scale(stored, key)][:1]:
        known = Known(f"the {key} picture", scale_in(stored, key, path), ArraySlide(pixels_in(images[key], key, path)))
        check_picture(name, f"the {keys[0]} picture in uns", shown, scale, known)
    return _Picture(f"the {keys[0]} picture in uns", scale, shown)


def scale_in(stored: Mapping[str, Any], key: str, path: Path) -> float:
    """Return the pixels of a library's picture per full-resolution pixel.

    Raises:
        DataError: the scale factors have none.

    """
    return 1.0 if key in ("full", "fullres") else _factor(stored, key, path)


def _stated_scale(stored: Mapping[str, Any], key: str) -> bool:
    return key == "fullres" or f"tissue_{key}_scalef" in stored.get("scalefactors", {})


def _factor(stored: Mapping[str, Any], key: str, path: Path) -> float:
    named = f"tissue_{key}_scalef"
    value = _number(stored.get("scalefactors", {}).get(named))
    if value is None or value <= 0:
        found = stored.get("scalefactors", {}).get(named)
        raise DataError(f"{path}: {named} in uns['spatial'] is {found}; expected the scale of the picture, a positive number")
    return value


def _stated_mpp(stored: Mapping[str, Any]) -> float | None:
    for part in ("scalefactors", "metadata"):
        for key in MICRONS:
            value = _number(stored.get(part, {}).get(key))
            if value is not None and value > 0:
                return value
    return None


def _number(value: Any) -> float | None:
    if value is None or np.ndim(value) or not np.issubdtype(np.asarray(value).dtype, np.number):
        return None
    return float(value) if np.isfinite(value) else None


def pixels_in(stored: Any, key: str, path: Path) -> Pixels:
    """Return a library's picture as RGB.

    Raises:
        DataError: it is none.

    """
    return as_rgb(np.asarray(stored), f"{path}: the {key} picture in uns")
