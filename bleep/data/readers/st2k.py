"""Spatial transcriptomics on 2k arrays, with an alignment table.

A section NAME is `NAME.tsv` or `NAME.tsv.gz` (counts, rows "XxY"), `alignment_table_NAME.tsv` (x, y, pixel_x, pixel_y,
selected: 1 under tissue) and `NAME.jpg`, anywhere below the root. Optional: `sections.csv` (section, and patient, mouse
or donor) and a table of gene ids and names.
"""

import logging
import math

import numpy as np
import pandas as pd

from bleep.config import DataConfig
from bleep.data.readers import chosen_names
from bleep.data.readers.lattice import lattice, nearest, pitch_of, settled
from bleep.data.readers.tables import POSITIONS, joined, only, read_counts, read_positions, read_table, under_tissue
from bleep.data.section import Section
from bleep.data.slides import open_slide
from bleep.errors import DataError
from bleep.find import find

PITCH = 100.0 * math.sqrt(2)
"""Microns from a spot of the 2k array to its nearest neighbour: rows 100 um apart, staggered."""

log = logging.getLogger(__name__)


def read(data: DataConfig) -> tuple[Section, ...]:
    """Read the sections; without `data.mpp` the scale follows from the array's pitch, and is said aloud."""
    prefix = "alignment_table_"
    found = [path.stem.removeprefix(prefix) for path in find(data.root, f"{prefix}*.tsv")]
    patients = _patients(data) | data.patients
    symbols = _symbols(data)
    return tuple(_read_one(name, data, patients, symbols) for name in chosen_names(found, data))


def _read_one(name: str, data: DataConfig, patients: dict[str, str], symbols: pd.Series | None) -> Section:
    path = only(data.root, (f"alignment_table_{name}.tsv",), f"positions of section {name}")
    table = read_positions(path, (*POSITIONS, "selected"))
    positions = under_tissue(table, path)
    measured = read_counts(only(data.root, (f"{name}.tsv", f"{name}.tsv.gz"), f"counts of section {name}"), symbols)
    picture = only(data.root, (f"{name}.jpg", f"{name}.jpeg"), f"picture of section {name}")
    slide = open_slide(picture, data.pixel_limit)
    counts, xy = joined(name, measured, positions, slide.size)
    steps, pixels = (table[pair].to_numpy(np.float64) for pair in (["x", "y"], ["pixel_x", "pixel_y"]))
    counts.uns["bleep"]["pitch"] = pitch_of(steps, pixels)
    return Section(
        name=name,
        patient=patients.get(name, name),
        species=data.species,
        slide=slide,
        counts=counts,
        xy=xy,
        mpp=data.mpp or _mpp(name, table),
    )


def _mpp(name: str, table: pd.DataFrame) -> float:
    xy = table[["pixel_x", "pixel_y"]].to_numpy(np.float64)
    found = lattice(table[["x", "y"]].to_numpy(np.float64), xy)
    pitch = settled(found.pitch, xy) if found is not None else nearest(xy)
    if not pitch:
        raise DataError(f"section {name}: its positions do not give the scale; set data.mpp, the microns per pixel")
    mpp = PITCH / pitch
    log.info("section %s: %.3f microns per pixel, from the %.0f um pitch of the array", name, mpp, PITCH)
    return mpp


def _patients(data: DataConfig) -> dict[str, str]:
    path = data.root / "sections.csv"
    if not path.exists():
        return {}
    table = read_table(path, ",", ("section",), dtype=str)
    column = next((name for name in ("patient", "donor", "mouse") if name in table), None)
    if column is None:
        raise DataError(f"{path}: has no column patient, donor or mouse; found {', '.join(table.columns)}")
    named = table[["section", column]].fillna("").apply(lambda words: words.str.strip())
    if (named == "").any(axis=None):
        raise DataError(f"{path}: a line has no section or no {column}; expected both on every line")
    named = named.drop_duplicates()
    twice = named["section"][named["section"].duplicated()]
    if len(twice):
        raise DataError(f"{path}: section {twice.iloc[0]!r} stands under several; name one {column} for each section")
    return dict(zip(named["section"], named[column], strict=True))


def _symbols(data: DataConfig) -> pd.Series | None:
    found = find(data.root, "*_genes.tsv.gz")
    if not found:
        return None
    # R writes NA for a gene without a symbol.
    table = read_table(found[0], "\t", ("gene_id", "gene_name"), dtype=str, keep_default_na=True).drop_duplicates("gene_id")
    return pd.Series(table["gene_name"].to_numpy(), index=table["gene_id"])
