"""Labels of spots that lie in a table of their own, as a pathologist's program writes them, put beside what was measured."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from bleep.data.readers.tables import read_table
from bleep.data.section import Section
from bleep.errors import DataError

SECTION, SPOT = ("section", "sample"), ("spot", "barcode")
"""Headings, in small letters, of the columns that say which spot a row is of; Loupe Browser writes `Barcode`."""

log = logging.getLogger(__name__)


def with_annotations(sections: tuple[Section, ...], path: Path) -> tuple[Section, ...]:
    """Return the sections with the further columns of a table of spots in their `obs`, as text, empty where it has no row.

    The table is a .csv, or a .tsv, of one row a spot: the spot's name, the section's where several are read, and labels.

    Raises:
        DataError: the file is no such table, names no spot of a section that it names, names one twice, or has a column that
            the section's own files have already.

    """
    table = read_table(path, "\t" if path.suffix.lower() in (".tsv", ".txt") else ",", dtype=str)
    spot, section = (_column(table, names) for names in (SPOT, SECTION))
    labels = [name for name in table.columns.astype(str) if name not in (spot, section)]
    if spot is None or not labels:
        raise DataError(
            f"{path}: has the columns {', '.join(map(str, table.columns))}; expected spot or Barcode, section where there are "
            "several, and a column of labels beside them"
        )
    if section is None and len(sections) > 1:
        raise DataError(f"{path}: does not say of which section a spot is, and {len(sections)} are read; add a column section")
    names = pd.Series(sections[0].name, table.index) if section is None else table[section].str.strip()
    table = table.assign(**{spot: table[spot].str.strip()})
    return tuple(_annotated(one, table[names == one.name].set_index(spot)[labels], path) for one in sections)


def _column(table: pd.DataFrame, names: tuple[str, ...]) -> str | None:
    return next((column for column in table.columns.astype(str) if column.strip().lower() in names), None)


def _annotated(section: Section, rows: pd.DataFrame, path: Path) -> Section:
    """Return a section with the labels of its spots."""
    clash = [name for name in rows if name in section.counts.obs]
    if clash:
        raise DataError(f"{path}: has a column {clash[0]!r}, which section {section.name} has already; call it otherwise")
    if rows.index.has_duplicates:
        twice = rows.index[rows.index.duplicated()][0]
        raise DataError(f"{path}: names spot {twice!r} of section {section.name} twice; expected one row a spot")
    spots = section.counts.obs_names.astype(str)
    found = int(spots.isin(rows.index).sum())
    if len(rows) and not found:
        raise DataError(
            f"{path}: names no spot of section {section.name}: it has such as {str(rows.index[0])[:40]!r}, the section such as "
            f"{spots[0]!r}; write the spots as the section's files do"
        )
    level = logging.INFO if found == len(spots) else logging.WARNING
    log.log(level, "section %s: %s has a row for %d of its %d spots", section.name, path.name, found, len(spots))
    counts = section.counts.copy()
    for name in rows:
        counts.obs[str(name)] = rows[name].reindex(spots).fillna("").to_numpy(np.str_)
    return replace(section, counts=counts)
