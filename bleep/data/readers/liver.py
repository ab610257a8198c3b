"""The human liver of BLEEP (GSE240429; Xie et al., NeurIPS 2023), laid out as its authors did: four Visium sections of C73.

Anywhere below the root: `tissue_positions_list_N.csv` (without a header), the folder `filtered_expression_matrices/N/` with
matrix.mtx, features.tsv and barcodes.tsv, and `GEX_C73_A1_Merged.tif`, to D1 for N = 4; GEO calls the pictures
`GSM7697868_GEX_C73_A1_Merged.tiff`.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

from bleep.config import DataConfig
from bleep.data.readers import chosen_names
from bleep.data.readers.lattice import PITCH
from bleep.data.readers.spaceranger import array_of, mpp_of, read_mtx, read_positions, under_tissue
from bleep.data.readers.tables import joined, only
from bleep.data.section import Section
from bleep.data.slides import open_slide
from bleep.errors import DataError
from bleep.find import find

PATIENT = "C73"
"""The donor of all four sections."""
NUMBERS: Mapping[str, int] = {"A1": 1, "B1": 2, "C1": 3, "D1": 4}
"""Number in the tables' names of each capture area in the pictures' names."""

log = logging.getLogger(__name__)


def read(data: DataConfig) -> tuple[Section, ...]:
    """Read the sections A1 to D1; without `data.mpp` the scale follows from the pitch of the spots, and is said aloud."""
    found = [name for name, number in NUMBERS.items() if find(data.root, f"tissue_positions_list_{number}.csv*")]
    return tuple(_read_one(name, data) for name in chosen_names(found, data))


def _read_one(name: str, data: DataConfig) -> Section:
    root, number = data.root, NUMBERS[name]
    path = only(root, _packed(f"tissue_positions_list_{number}.csv"), f"positions of section {name}")
    table = read_positions(path)
    folder = f"filtered_expression_matrices/{number}/"
    files = [
        only(root, _packed(f"{folder}{file}"), f"counts of section {name}")
        for file in ("matrix.mtx", "features.tsv", "barcodes.tsv")
    ]
    picture = _picture(name, root)
    mpp = data.mpp
    if mpp is None:
        mpp = mpp_of(name, table, PITCH)
        log.info("section %s: %.4f microns per pixel of %s (from the pitch of %g um)", name, mpp, picture.name, PITCH)
    slide = open_slide(picture, data.pixel_limit)
    counts, xy = joined(name, read_mtx(*files), under_tissue(table, path), slide.size)
    found = array_of(table)
    counts.uns["bleep"]["pitch"] = found.pitch if found is not None else None
    return Section(
        name=name,
        patient=data.patients.get(name, PATIENT),
        species="human" if data.species == "unknown" else data.species,
        slide=slide,
        counts=counts,
        xy=xy,
        mpp=mpp,
    )


def _packed(name: str) -> tuple[str, str]:
    return name, f"{name}.gz"


def _picture(name: str, root: Path) -> Path:
    names = tuple(f"*GEX_C73_{name}_Merged.{end}" for end in ("tif", "tiff"))
    if not find(root, *names):
        for path in find(root, f"*GEX_C73_{name}_Merged.tif*.gz"):
            raise DataError(f"{path}: is packed, and pictures are read unpacked: run gunzip on it")
    return only(root, names, f"picture of section {name}")
