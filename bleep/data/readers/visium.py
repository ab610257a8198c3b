"""10x Visium and Visium HD, as Space Ranger writes it, versions 1 to 4, or as GEO hands it out, packed and flat.

A section is a folder with `spatial/` (scalefactors_json.json, and tissue_positions.parquet, tissue_positions.csv or the
older tissue_positions_list.csv without a header) and the counts: `*filtered_feature_bc_matrix.h5` or the folder
`filtered_feature_bc_matrix/`. Of HD, `data.bin` says which of the folders `binned_outputs/square_NNNum` is read. On GEO
the same files lie side by side, a prefix such as `GSM1_name_` before each name.
"""

import glob
import logging
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd
from anndata import AnnData

from bleep.config import DataConfig
from bleep.data.array_scale import note_array
from bleep.data.readers import chosen_names
from bleep.data.readers.lattice import NEIGHBOURS, PITCH, Lattice, Places, check_stated, honeycomb_pitch
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
from bleep.data.readers.spaceranger import STATED, array_of, full_mpp, mpp_of, read_h5, read_positions, under_tissue
from bleep.data.readers.tables import Measured, joined, note_mpp, nothing
from bleep.data.section import Section
from bleep.data.slides import open_slide
from bleep.errors import DataError
from bleep.find import find, visible

FIDUCIALS = "fiducial_diameter_fullres"
POSITIONS = (
    "tissue_positions.parquet",
    "tissue_positions.csv",
    "tissue_positions_list.csv",
    "tissue_positions_list.txt",
)
FOLDERS = ("filtered_feature_bc_matrix", "filtered_gene_bc_matrices")
"""Ends of the names of folders with matrix.mtx; the older holds one folder for the genome."""
SQUARE = re.compile(r"square_(\d+)um")
"""Folder of one bin size of HD."""
ENDED = re.compile(r"(.+)[_.-]spatial")
"""Folder of the positions of the section it names."""

log = logging.getLogger(__name__)


def read(data: DataConfig) -> tuple[Section, ...]:
    """Read the sections; which bins and which picture are used, and the microns per pixel, are said aloud."""
    places = _places(data.root.resolve())
    chosen = {name: _chosen(name, places[name], data) for name in chosen_names(list(places), data)}
    pictures = {name: picture_of(name, place, data) for name, place in chosen.items()}
    check_own_pictures([(name, path) for name, (_, path) in pictures.items()], data.image)
    return tuple(_read_one(name, place, *pictures[name], data) for name, place in chosen.items())


def _places(root: Path) -> dict[str, list[Place]]:
    """Return by section name what was found below root: one place, or of HD one for each size of bins."""
    paths = [path for path in find(root, f"*{FACTORS}", f"*{FACTORS}.gz") if path.is_file()]
    heads = sorted({(path.parent, path.name.removesuffix(".gz").removesuffix(FACTORS)) for path in paths})
    found: dict[str, list[Place]] = defaultdict(list)
    for folder, prefix in heads:
        above = folder.parent
        match = SQUARE.fullmatch(above.name)
        if prefix:
            longer = tuple(other for at, other in heads if at == folder and other != prefix and other.startswith(prefix))
            counts = above if folder.name == "spatial" and not visible(folder, f"{glob.escape(prefix)}*matri*") else folder
            found[prefix.strip("_.- ") or prefix].append(Place(counts, (folder,), (counts,), prefix, prefix, longer))
        elif folder.name != "spatial":
            found[_unpacked(folder)].append(_loose(folder, heads))
        elif match:
            outs = above.parents[1] if above.parent.name == "binned_outputs" else above.parent
            seen_from = (above, outs, *([outs.parent] if outs.name == "outs" else []))
            found[_name(above)].append(Place(above, (folder, outs / "spatial"), seen_from, bin=int(match[1])))
        # Beside the bins lie outlines of cells, and pictures that the bins share: neither is a section.
        elif above.name != "segmented_outputs" and not (above / "binned_outputs").is_dir():
            seen_from = (above, *([above.parent] if above.name == "outs" else []))
            found[_name(above)].append(Place(above, (folder,), seen_from))
    return found


def _unpacked(folder: Path) -> str:
    """Return the name of a section whose positions lie in a folder that is not called spatial: NAME_spatial, or NAME."""
    ended = ENDED.fullmatch(folder.name)
    return ended[1] if ended else folder.name


def _loose(folder: Path, heads: list[tuple[Path, str]]) -> Place:
    """Return the place of such a folder: the counts of NAME_spatial lie beside it, all other counts in it."""
    ended = ENDED.fullmatch(folder.name)
    if ended is None:
        return Place(folder, (folder,), (folder,))
    above = folder.parent
    siblings = [name[1] for at, _ in heads if at.parent == above and at != folder and (name := ENDED.fullmatch(at.name))]
    longer = tuple(name for name in siblings if name.startswith(ended[1]))
    # A lone section may have counts without its name before them.
    start = ended[1] if siblings or visible(above, f"{glob.escape(ended[1])}*matri*") else ""
    return Place(above, (folder,), (above, folder), start=start, longer=longer)


def _name(folder: Path) -> str:
    """Return the name of the sample: that of the lowest folder whose name Space Ranger did not give."""
    return [part for part in folder.parts if part not in ("outs", "binned_outputs") and not SQUARE.fullmatch(part)][-1]


def _chosen(name: str, places: list[Place], data: DataConfig) -> Place:
    """Return the place that `data.bin` asks for; a root that is itself the folder of one bin size decides."""
    here = data.root.resolve()
    fitting = [place for place in places if place.bin in (0, data.bin) or place.counts == here]
    if not fitting:
        sizes = ", ".join(str(size) for size in sorted(place.bin for place in places))
        raise DataError(f"section {name}: has no bins of {data.bin} um; found {sizes} um: set data.bin to one of them")
    if len(fitting) > 1:
        one, two = fitting[0].counts, fitting[1].counts
        raise DataError(f"{data.root}: section {name!r} is found in {one} and in {two}; rename one, or point data.root at one")
    return fitting[0]


def _read_one(name: str, place: Place, scale_name: str, picture: Path, data: DataConfig) -> Section:
    path, where = place.find((FACTORS,)), place.find(POSITIONS)
    if path is None or where is None:
        names = " or ".join(f"{place.prefix}{name}" for name in POSITIONS)
        raise DataError(f"{place.spatial[0]}: has no positions; expected {names}")
    factors = read_factors(path)
    said = factors.get("bin_size_um", place.bin)
    if place.bin and said != place.bin:
        raise DataError(f"{path}: says its bins are {said!r} um wide, but its folder is called {place.counts.name}")
    table, slide = read_positions(where), open_slide(picture, data.pixel_limit)
    scale = scale_of(scale_name, factors, path)
    check_known_pictures(name, place, picture, scale, slide, factors, path, data.pixel_limit)
    mpp, source = _mpp(name, place, table, factors, path, data)
    log.info(
        "section %s: %s, tiles from %s (%s), %.4g microns per pixel (from %s)",
        name, f"bins of {place.bin} um" if place.bin else "spots", picture.name, scale_name,
        mpp if data.mpp is not None else mpp / scale, source,
    )  # fmt: skip
    places = under_tissue(table, where) * scale
    measured = _counts(place, places.index)
    if measured is None:
        why = f"{place.counts}: has no counts; expected *filtered_feature_bc_matrix.h5 or that folder"
        log.warning("section %s: can only be queried (%s)", name, why)
        measured = nothing(places.index, why)
    counts, xy = joined(name, measured, places, slide.size)
    _note_array(counts, place, array_of(table), xy, scale)
    if data.mpp is not None and STATED in factors:
        note_mpp(counts, factor_of(factors, STATED, path), scale)
    return Section(
        name=name,
        patient=data.patients.get(name, name),
        species=data.species,
        slide=slide,
        counts=counts,
        xy=xy,
        mpp=mpp if data.mpp is not None else mpp / scale,
    )


def _note_array(counts: AnnData, place: Place, found: Lattice | None, xy: Places, scale: float) -> None:
    """Note down the array's pitch: of bins what they are called, of spots in a honeycomb 100 um."""
    found = None if found is None else Lattice(found.pitch * scale, found.neighbours)
    if place.bin:
        note_array(counts, None if found is None else found.pitch, float(place.bin))
    elif found is not None and found.neighbours != NEIGHBOURS:
        # A square array that is not of bins is another maker's, of any pitch: 0 says so.
        note_array(counts, 0.0, 0.0)
    else:
        pitch = honeycomb_pitch(found, xy)
        note_array(counts, pitch, PITCH if pitch is not None else None)


def _mpp(
    name: str, place: Place, table: pd.DataFrame, factors: dict[str, Any], path: Path, data: DataConfig
) -> tuple[float, str]:
    """Return `data.mpp`, else the microns per pixel of the full-resolution picture; and who says so."""
    if data.mpp is not None:
        return data.mpp, "data.mpp"
    fiducial = factor_of(factors, FIDUCIALS, path) if FIDUCIALS in factors else None
    if STATED in factors:
        stated = factor_of(factors, STATED, path)
        if not place.bin:
            check_stated(name, stated, array_of(table), fiducial)
        return stated, path.name
    if place.bin:
        return mpp_of(name, table, float(place.bin)), f"the pitch of {place.bin} um"
    told = "the fiducials" if fiducial is not None and array_of(table) is None else f"the pitch of {PITCH:g} um"
    return full_mpp(name, table, fiducial), told


def _counts(place: Place, spots: pd.Index) -> Measured | None:
    """Read the counts; none: there are none, and the section can only be queried. A query needs none of the whole array's."""
    folder = place.counts
    packed = place.counted("filtered_feature_bc_matrix.h5")
    if len(packed) > 1:
        raise DataError(f"{folder}: has several count files, {packed[0].name} and {packed[1].name}; keep one")
    if packed:
        return read_h5(packed[0])
    plain = [path for path in place.counted(*FOLDERS) if path.is_dir()]
    if len(plain) > 1:
        raise DataError(f"{folder}: has several folders of counts, {plain[0].name} and {plain[1].name}; keep one")
    if plain:
        # The older folder holds another one for the genome.
        holding = {path.parent for path in find(plain[0], "*matrix.mtx", "*matrix.mtx.gz")}
        return read_folder_of_mtx(Place(holding.pop() if len(holding) == 1 else plain[0], (), ()))
    if place.counted("matrix.mtx", "matrix.mtx.gz"):
        return read_folder_of_mtx(place)
    if other := place.counted("filtered_feature_bc_matrix.h5.gz"):
        return nothing(spots, f"{other[0]}: is packed, and h5 files are read unpacked: run gunzip on it", refused=True)
    if other := place.counted("filtered_gene_bc_matrices*.h5"):
        return read_h5(other[0])
    if raw := place.counted("raw_feature_bc_matrix*"):
        wanted = raw[0].name.replace("raw_", "filtered_")
        why = f"{raw[0]}: holds the whole array, tissue or not; expected {wanted}, which lies beside it in outs"
        return nothing(spots, why, refused=True)
    return None
