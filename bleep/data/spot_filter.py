"""Spots that are left out as a section is read: those of few counts, and those named."""

import csv
import logging
from pathlib import Path

import numpy as np

from bleep.config import DataConfig
from bleep.data.section import Section
from bleep.errors import ConfigError, DataError

log = logging.getLogger(__name__)


def without_spots(sections: tuple[Section, ...], data: DataConfig) -> tuple[Section, ...]:
    """Return the sections without the spots that `data.min_counts` and `data.drop` leave out.

    What is said of each: how many went, and why. Spots beside the tissue are left out by the readers already, by their
    `in_tissue` where the form has such.

    Raises:
        ConfigError: a spot that is named is not there, or its section is not.
        DataError: a section has no counts to judge by, or no spot is left of it; a table of spots cannot be read.

    """
    if not data.min_counts and not data.drop:
        return sections
    named = _named(data.drop)
    unknown = sorted(named.keys() - {section.name for section in sections}) if not data.sections else []
    if unknown:
        there = ", ".join(section.name for section in sections)
        raise ConfigError(f"data.drop names spots of section {unknown[0]!r}, which is not there; found {there}")
    return tuple(_kept(section, named.get(section.name, []), data.min_counts) for section in sections)


def _named(drop: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the spots to leave out, by section."""
    found: dict[str, list[str]] = {}
    for entry in drop:
        pairs = _table(Path(entry)) if entry.lower().endswith(".csv") else [tuple(entry.split("/", 1))]
        for pair in pairs:
            if len(pair) != 2 or not all(pair):
                raise ConfigError(
                    f"data.drop holds {entry!r}; expected SECTION/SPOT, or a .csv with the columns section and spot"
                )
            found.setdefault(pair[0], []).append(pair[1])
    return found


def _table(path: Path) -> list[tuple[str, ...]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if not {"section", "spot"} <= set(rows.fieldnames or ()):
                raise DataError(
                    f"{path}: has the columns {', '.join(rows.fieldnames or ())}; expected section and spot among them"
                )
            # A spot is odd in several ways, and stands once for each.
            return list(dict.fromkeys((_name(row["section"]), _name(row["spot"])) for row in rows))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: cannot be read as a table of spots ({error}); expected a .csv with section and spot"
        ) from None


def _name(cell: str | None) -> str:
    """Return a name as it was before a ' was put in front of it, so that spreadsheets take it for no formula."""
    text = cell or ""
    return text[1:] if text[:1] == "'" and text[1:2] in ("=", "+", "-", "@") else text


def _kept(section: Section, named: list[str], least: float) -> Section:
    spots = section.counts.obs_names.astype(str)
    missing = sorted(set(named) - set(spots))
    if missing:
        raise ConfigError(
            f"data.drop names spot {missing[0]!r} of section {section.name}, which it has not, such as {spots[0]!r}"
        )
    kept = ~spots.isin(named)
    by_name = int((~kept).sum())
    if least:
        if not len(section.genes):
            raise DataError(
                f"section {section.name}: has no counts, so none of its spots can have {least:g}; leave data.min_counts out"
            )
        kept &= np.asarray(section.counts.X.sum(axis=1)).ravel() >= least
    few = int((~kept).sum()) - by_name
    if not kept.any():
        raise DataError(
            f"section {section.name}: none of its {len(section)} spots is left, {few} of them with fewer than {least:g} "
            "counts; lower data.min_counts, or name fewer in data.drop"
        )
    if kept.all():
        return section
    why = [f"{few} of fewer than {least:g} counts"] * bool(few) + [f"{by_name} named"] * bool(by_name)
    log.warning("section %s: %d of %d spots are left out: %s", section.name, int((~kept).sum()), len(section), ", ".join(why))
    return section.subset(np.flatnonzero(kept))
