"""HER2ST, legacy spatial transcriptomics of breast cancer (Andersson et al., Nat Commun 2021), and what is laid out like it.

A section NAME is `NAME.tsv.gz` (counts, rows "XxY"), `NAME_selection.tsv` (x, y, pixel_x, pixel_y, selected) and the only
jpg in a folder called NAME, anywhere below the root: the authors' deposit and one folder a section both fit. Of the skin
cancer of GSE144240 (Ji et al., Cell 2020), as GEO hands it out, it is `*_NAME_stdata.tsv.gz`,
`*_spot_data-selection-NAME.tsv.gz` and `*_NAME.jpg`.
"""

import logging
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bleep.config import DataConfig
from bleep.data.readers import chosen_names
from bleep.data.readers.lattice import AGREE, pitch_of
from bleep.data.readers.tables import joined, only, read_counts, read_positions, under_tissue
from bleep.data.section import Section
from bleep.data.slides import open_slide
from bleep.errors import DataError
from bleep.find import find

MPP, PITCH = 0.69, 200.0
"""Microns per pixel of HER2ST's published images, and from a spot to the next: they lie about 290 px apart."""
PUBLISHED = re.compile(r"[A-Z]\d+")
"""Name of a section of HER2ST: its patient's letter and a number."""
GEO = re.compile(r".*spot_data-selection-(.+)\.tsv(\.gz)?")
"""Name of the positions of a section of GSE144240."""

log = logging.getLogger(__name__)


class _Files(NamedTuple):
    positions: Path
    counts: Path
    picture: Path
    patient: str
    mpp: float | None
    """Of the published images; none: they do not say it."""


def read(data: DataConfig) -> tuple[Section, ...]:
    """Read the sections; the patient follows from a section's name unless `data.patients` says otherwise.

    It is the first letter in HER2ST, and what stands before the first `_` in GSE144240. Other sections in HER2ST's form,
    whose names are not such as `C2`, count each as a patient of its own; where there is one, the species of all is unknown.
    """
    own = {path.name.removesuffix("_selection.tsv"): path for path in find(data.root, "*_selection.tsv")}
    geo = find(data.root, "*spot_data-selection-*.tsv", "*spot_data-selection-*.tsv.gz")
    skin = {match[1]: path for path in geo if (match := GEO.fullmatch(path.name))}
    names = chosen_names([*own, *(name for name in skin if name not in own)], data)
    human = all(name not in own or PUBLISHED.fullmatch(name) for name in names)
    species = "human" if human and data.species == "unknown" else data.species
    return tuple(
        _read_one(name, _her2st(name, data) if name in own else _skin(name, skin[name], data), species, data) for name in names
    )


def _her2st(name: str, data: DataConfig) -> _Files:
    above = data.root.parent if data.root.resolve().name == name else data.root
    return _Files(
        only(data.root, (f"{name}_selection.tsv",), f"positions of section {name}"),
        only(data.root, (f"{name}.tsv.gz",), f"counts of section {name}"),
        only(above, (f"{name}/*.jpg", f"{name}/*.jpeg", f"{name}.jpg"), f"picture of section {name}"),
        name[0] if PUBLISHED.fullmatch(name) else name,
        MPP,
    )


def _skin(name: str, positions: Path, data: DataConfig) -> _Files:
    counts = only(data.root, (f"*{name}_stdata.tsv.gz", f"*{name}_stdata.tsv"), f"counts of section {name}")
    for path in find(data.root, f"*{name}.jpg.gz"):
        if not path.with_suffix("").exists():
            raise DataError(f"{path}: is packed, and pictures are read unpacked: run gunzip on it")
    picture = only(data.root, (f"*{name}.jpg", f"*{name}.jpeg"), f"picture of section {name}")
    return _Files(positions, counts, picture, name.partition("_")[0], None)


def _read_one(name: str, files: _Files, species: str, data: DataConfig) -> Section:
    table = read_positions(files.positions)
    slide = open_slide(files.picture, data.pixel_limit)
    counts, xy = joined(name, read_counts(files.counts), under_tissue(table, files.positions), slide.size)
    steps, pixels = (table[pair].to_numpy(np.float64) for pair in (["x", "y"], ["pixel_x", "pixel_y"]))
    pitch = pitch_of(steps, pixels)
    counts.uns["bleep"]["pitch"] = pitch
    return Section(
        name=name,
        patient=data.patients.get(name, files.patient),
        species=species,
        slide=slide,
        counts=counts,
        xy=xy,
        mpp=data.mpp or _mpp(name, files, pitch),
    )


def _mpp(name: str, files: _Files, pitch: float | None) -> float:
    apart = "" if pitch is None else f", and its spots stand {pitch:.4g} pixels apart"
    if files.mpp is None:
        raise DataError(f"section {name}: nothing says its scale{apart}; set data.mpp, the microns per pixel of the picture")
    if pitch is not None and max(files.mpp * pitch / PITCH, PITCH / (files.mpp * pitch)) > AGREE:
        log.warning(
            "section %s: %s is not of the size of HER2ST's images, where spots stand %.0f pixels apart%s; data.mpp says how "
            "many microns a pixel is", name, files.picture.name, PITCH / files.mpp, apart,
        )  # fmt: skip
    return files.mpp
