"""The forms tissue comes in: each reader returns checked sections."""

import importlib
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bleep.config import DataConfig, SourceName
from bleep.data.section import Section
from bleep.data.slides import PictureSlide
from bleep.data.slides.tiled_copy import can_copy, tiled
from bleep.errors import DataError

DECODED = 400_000_000
"""Pixels of all pictures together that are held decoded, three bytes each."""
LARGE = 16_000_000
"""Where they are more, a picture of at least this many gets a tiled copy."""

log = logging.getLogger(__name__)

SOURCES: Mapping[SourceName, str] = {
    "folder": "bleep.data.readers.folder",
    "her2st": "bleep.data.readers.her2st",
    "st2k": "bleep.data.readers.st2k",
    "visium": "bleep.data.readers.visium",
    "h5ad": "bleep.data.readers.h5ad",
    "hest": "bleep.data.readers.hest",
    "spatialdata": "bleep.data.readers.spatialdata",
    "liver": "bleep.data.readers.liver",
    "wsi": "bleep.data.readers.wsi",
    "toy": "bleep.data.readers.toy",
}
"""Module of each form; it has `read(data: DataConfig) -> tuple[Section, ...]`."""

MARKS: Mapping[str, str] = {
    "her2st": "*_selection.tsv",
    "st2k": "alignment_table_*.tsv",
    "visium": "*scalefactors_json.json*",
    "h5ad": "*.h5ad",
    "hest": "st/*.h5ad",
    "spatialdata": "*.zarr",
    "liver": "tissue_positions_list_*.csv",
}
"""Files by which a folder of whole sections is told from a folder of tiles; some forms are such a file themselves."""


def has_form(root: Path, source: SourceName) -> bool:
    """Return whether a place holds whole sections of this form."""
    return source in MARKS and (root.match(MARKS[source]) or any(True for _ in root.rglob(MARKS[source])))


def read_sections(data: DataConfig, cache: Path | None = None) -> tuple[Section, ...]:
    """Read the sections a configuration asks for, in the order it names them.

    Pictures too large to be held decoded get a tiled copy below `cache`; none: they are decoded whole all the same.

    Raises:
        DataError: the root is missing, a section is not there, or a file is damaged or contradicts another.

    """
    if data.source != "toy" and not data.root.exists():
        raise DataError(f"{data.root}: no such file or folder; set data.root to where the {data.source} files are")
    sections = importlib.import_module(SOURCES[data.source]).read(data)
    twice = [name for name, count in Counter(section.name for section in sections).items() if count > 1]
    if twice:
        raise DataError(f"{data.root}: section {twice[0]!r} is found more than once; each name must stand for one section")
    species = {section.species for section in sections}
    if len(species) > 1:
        raise DataError(f"{data.root}: sections of several species ({', '.join(sorted(species))}); read one species at a time")
    return _by_region(tuple(sections), cache) if cache is not None else tuple(sections)


def _by_region(sections: tuple[Section, ...], cache: Path) -> tuple[Section, ...]:
    """Where all pictures together are too large to be held decoded, let each large one be read from a tiled copy."""
    pixels = {s.slide.path: s.slide.size[0] * s.slide.size[1] for s in sections if isinstance(s.slide, PictureSlide)}
    if sum(pixels.values()) <= DECODED:
        return sections
    if not can_copy():
        log.warning(
            "the pictures take %.1f GB of memory once decoded; with the extra wsi they are read by region: "
            "pip install -e '.[wsi]' in bleep's clone",
            3e-9 * sum(pixels.values()),
        )
        return sections
    copied = {path: count >= LARGE for path, count in pixels.items()}
    return tuple(
        replace(section, slide=tiled(section.slide, cache / "slides"))
        if isinstance(section.slide, PictureSlide) and copied[section.slide.path]
        else section
        for section in sections
    )


def chosen_names(found: list[str], data: DataConfig) -> list[str]:
    """Return the names asked for, checked against those found; all of them when none is asked for.

    Raises:
        DataError: nothing was found, or a name asked for was not.

    """
    if not found:
        raise DataError(f"{data.root}: holds no section in the {data.source} form; see docs/reference/files for that form")
    missing = [name for name in data.sections if name not in found]
    if missing:
        raise DataError(f"{data.root}: has no section {missing[0]!r}; found {', '.join(sorted(found))}")
    return list(data.sections) or sorted(found)
