"""HER2ST, legacy spatial transcriptomics of breast cancer (Andersson et al., Nat Commun 2021).

A section NAME is `NAME.tsv.gz` (counts, rows "XxY"), `NAME_selection.tsv` (x, y, pixel_x, pixel_y, selected) and the only
jpg in a folder called NAME, anywhere below the root: the authors' deposit and one folder a section both fit.
"""

import logging

from bleep.config import DataConfig
from bleep.data.readers import chosen_names
from bleep.data.readers.tables import joined, only, read_counts, read_positions, under_tissue
from bleep.data.section import Section
from bleep.data.slides import open_slide

MPP = 0.69
"""Microns per pixel of the published images: spots 200 um apart lie about 290 px apart."""

log = logging.getLogger(__name__)


def read(data: DataConfig) -> tuple[Section, ...]:
    """Read the sections; the patient is the first letter of a section's name unless `data.patients` says otherwise."""
    found = [path.name.removesuffix("_selection.tsv") for path in data.root.rglob("*_selection.tsv")]
    return tuple(_read_one(name, data) for name in chosen_names(found, data))


def _read_one(name: str, data: DataConfig) -> Section:
    path = only(data.root, (f"{name}_selection.tsv",), f"positions of section {name}")
    positions = under_tissue(read_positions(path), path)
    counts, xy = joined(name, read_counts(only(data.root, (f"{name}.tsv.gz",), f"counts of section {name}")), positions)
    above = data.root.parent if data.root.resolve().name == name else data.root
    picture = only(above, (f"{name}/*.jpg", f"{name}/*.jpeg", f"{name}.jpg"), f"picture of section {name}")
    return Section(
        name=name,
        patient=data.patients.get(name, name[0]),
        species="human" if data.species == "unknown" else data.species,
        slide=open_slide(picture, data.pixel_limit),
        counts=counts,
        xy=xy,
        mpp=data.mpp or MPP,
    )
