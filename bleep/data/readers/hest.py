"""HEST-1k: `st/ID.h5ad`, `wsis/ID.tif` and `metadata/ID.json` for each section ID (Jaume et al., NeurIPS 2024).

`obsm["spatial"]` holds the centres of the spots in pixels of the slide. Of the pixel sizes in the metadata the one
estimated from the spots is right; the one embedded in the original file may be off by any factor.
"""

import logging
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import pandas as pd

from bleep.config import DataConfig
from bleep.data.readers import chosen_names
from bleep.data.readers.annotated import measured, positions, read_h5ad, with_label, without_predictions
from bleep.data.readers.tables import joined, note_mpp, only, read_table
from bleep.data.section import Section, word
from bleep.data.slides import PyramidSlide, Slide, open_slide
from bleep.data.slides.base import question
from bleep.errors import DataError
from bleep.files import read_json
from bleep.find import visible

SIZE = "pixel_size_um_estimated"
SPECIES = {"homo sapiens": "human", "mus musculus": "mouse"}
APART = 0.05
"""Difference between two statements of the scale that is worth a warning."""

log = logging.getLogger(__name__)


def read(data: DataConfig) -> tuple[Section, ...]:
    """Read the sections; scale, patients that are not known, and what is left out are said aloud."""
    found = [path.stem for path in without_predictions(visible(data.root / "st", "*.h5ad"))]
    return tuple(_read_one(name, data) for name in chosen_names(found, data))


def _read_one(name: str, data: DataConfig) -> Section:
    facts = _facts(name, data.root)
    path = data.root / "st" / f"{name}.h5ad"
    held = read_h5ad(path)
    slide = open_slide(only(data.root / "wsis", (f"{name}.tif", f"{name}.tiff"), f"slide of section {name}"), data.pixel_limit)
    # obs["in_tissue"] is not looked at: whoever made the collection says that it means nothing there.
    table = pd.DataFrame(positions(held, path), columns=["x", "y"], index=held.obs_names.astype(str))
    counts, xy = joined(name, measured(held, name, path, data), table, slide.size)
    if data.mpp is not None:
        stated, own = facts.get(SIZE), slide.mpp if isinstance(slide, PyramidSlide) else None
        note_mpp(counts, float(stated) if _is_scale(stated) else own)
    if organ := _text(facts, "organ"):
        counts.obs["organ"] = organ
    return Section(
        name=name,
        patient=_patient(name, facts, data),
        species=_species(name, facts, data),
        slide=slide,
        counts=with_label(counts, held.obs, data.label),
        xy=xy,
        mpp=_mpp(name, facts, slide, data),
    )


def _facts(name: str, root: Path) -> dict[str, Any]:
    """Return the metadata of a section: its own file, else its line in the table of the whole collection."""
    path = root / "metadata" / f"{name}.json"
    tables = visible(root, "HEST_v*.csv")
    if path.exists() or not tables:
        return read_json(path, f"the metadata of section {name}")
    table = read_table(tables[-1], ",", ("id",), dtype={"id": str})
    rows = table[table["id"] == name]
    if rows.empty:
        raise DataError(f"{path}: no such file, and {tables[-1].name} has no line for {name}; expected its metadata")
    return {str(key): value for key, value in rows.iloc[0].items() if not pd.isna(value)}


def _mpp(name: str, facts: dict[str, Any], slide: Slide, data: DataConfig) -> float:
    own = slide.mpp if isinstance(slide, PyramidSlide) else None
    if data.mpp is not None:
        return data.mpp
    stated = facts.get(SIZE)
    if _is_scale(stated):
        if own is not None and abs(own - stated) > APART * stated:
            log.warning(
                "section %s: the metadata say %.4f microns per pixel, the slide's file %.4f; the first is taken",
                name, stated, own,
            )  # fmt: skip
        return float(stated)
    if own is None:
        raise DataError(
            f"section {name}: {SIZE} in its metadata is {stated!r}, and the slide does not say its scale either; set data.mpp, "
            f"the microns per pixel{question(slide.proposed if isinstance(slide, PyramidSlide) else None)}"
        )
    log.warning("section %s: the metadata do not say the scale; the slide's file does, %.4f microns per pixel", name, own)
    return own


def _is_scale(stated: Any) -> TypeGuard[float]:
    return isinstance(stated, int | float | np.number) and bool(np.isfinite(stated) and stated > 0)


def _patient(name: str, facts: dict[str, Any], data: DataConfig) -> str:
    """Return who a section is from: the collection counts patients anew in each data set, so its title belongs to it."""
    if name in data.patients:
        return data.patients[name]
    patient, title = _text(facts, "patient"), _text(facts, "dataset_title")
    if not patient:
        log.warning("section %s: the metadata name no patient, so it counts as its own; name it in data.patients", name)
        return name
    return f"{title}: {patient}" if title else patient


def _species(name: str, facts: dict[str, Any], data: DataConfig) -> str:
    stated = _text(facts, "species")
    known = SPECIES.get(stated.lower(), stated)
    if known and data.species not in ("unknown", known):
        raise DataError(
            f"section {name}: its metadata say {stated}, but data.species is {data.species}; choose others by data.sections"
        )
    return known or data.species


def _text(facts: dict[str, Any], key: str) -> str:
    value = facts.get(key)
    known = isinstance(value, str) or (isinstance(value, int | float | np.number) and np.isfinite(value))
    return word(value) if known else ""
