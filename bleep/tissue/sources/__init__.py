"""The forms tissue comes in: each reader returns checked sections."""

import importlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from bleep.errors import DataError
from bleep.settings import DataConfig, SourceName
from bleep.tissue.section import Section

SOURCES: Mapping[SourceName, str] = {
    "folder": "bleep.tissue.sources.folder",
    "her2st": "bleep.tissue.sources.her2st",
    "st2k": "bleep.tissue.sources.st2k",
    "visium": "bleep.tissue.sources.visium",
    "toy": "bleep.tissue.sources.toy",
}
"""Module of each form; it has `read(data: DataConfig) -> tuple[Section, ...]`."""

MARKS: Mapping[str, str] = {"her2st": "*_selection.tsv", "st2k": "alignment_table_*.tsv", "visium": "scalefactors_json.json"}
"""Files by which a folder of whole sections is told from a folder of tiles."""


def has_form(root: Path, source: SourceName) -> bool:
    """Return whether a folder holds whole sections of this form."""
    return source in MARKS and root.is_dir() and any(True for _ in root.rglob(MARKS[source]))


def read_sections(data: DataConfig) -> tuple[Section, ...]:
    """Read the sections a configuration asks for, in the order it names them.

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
    return tuple(sections)


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
