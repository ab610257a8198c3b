"""A reference that grows: sections added, removed, merged; whole or not at all, and never unnoticed test tissue."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bleep import runs
from bleep.data.readers import read_sections
from bleep.data.section import Section
from bleep.data.splits import Split
from bleep.errors import BleepError, DataError, MismatchError
from bleep.retrieval.reference import Reference, change
from bleep.runs import Run
from bleep.workflows.fit import load_split

log = logging.getLogger(__name__)


def read_measured(run: Run, root: Path, names: Sequence[str] = (), patient: str | None = None) -> tuple[Section, ...]:
    """Read measured sections of the run's own form from another place.

    Args:
        run: whose `data` settings say how to read.
        root: where they are.
        names: which; all where none are named.
        patient: whom they are from, instead of what the files say.

    Raises:
        DataError: they are not there, or damaged.

    """
    data = run.config.data
    sections = read_sections(data.model_copy(update={"root": root, "sections": tuple(names), "drop": ()}), run.config.cache)
    bare = [section.name for section in sections if not len(section.genes)]
    if bare:
        raise DataError(f"{root}: section {bare[0]} holds no measured genes; only measured tissue can answer queries")
    return sections if patient is None else tuple(replace(section, patient=patient) for section in sections)


def add_sections(run: Run, folder: Path, sections: Sequence[Section], *, allow_held_out: bool = False) -> Reference:
    """Add measured sections to the reference of a run's folder.

    Raises:
        MismatchError: see `Reference.add`.
        DataError: there is no reference, or another process is changing it.

    """
    pictures = _held_out(run)
    return change(
        folder / runs.REFERENCE,
        lambda before: before.add(run, sections, allow_held_out=allow_held_out, held_out=pictures),
    )


def remove_spots(folder: Path, section: str | None = None, patient: str | None = None) -> Reference:
    """Remove a section, or all sections of a patient, from the reference of a run's folder.

    Raises:
        DataError: there is none of this name, or nothing would be left; or another process is changing it.

    """
    return change(folder / runs.REFERENCE, lambda before: before.remove(section, patient))


def merge_references(folder: Path, other: Path) -> Reference:
    """Add to the reference of a run's folder what another of the same run holds: its folder, or that of its run.

    Raises:
        MismatchError: see `Reference.merge`.
        DataError: one of them is not there, or another process is changing it.

    """
    inside = other / runs.REFERENCE
    second = Reference.load(inside if (other / runs.MODEL).exists() else other)
    return change(folder / runs.REFERENCE, lambda before: before.merge(second))


def check_reference(reference: Reference, divided: Split, folder: Path) -> None:
    """Refuse to score with a reference that holds tissue which the scores are taken on.

    Raises:
        MismatchError: a section held out was added to it.

    """
    tested = {digest for section in divided.test for digest in (section.digest(), section.slide.digest())}
    for entry in reference.manifest["sections"]:
        added = entry["origin"] == "added" and {entry["digest"], entry["picture"]} & tested
        if added or entry["origin"] == "held out":
            raise MismatchError(
                f"{folder}: its index holds section {entry['name']}, which is tissue held out to be tested on, so a score "
                f"would say nothing; remove it with `bleep index remove --section {entry['name']} --run {folder}`"
            )


def _held_out(run: Run) -> frozenset[str]:
    """Return the sha256 of the pictures held out by a run, where its files can still be read."""
    try:
        return frozenset(section.slide.digest() for section in load_split(run.config).test)
    except BleepError:
        log.warning(
            "%s: cannot be read any more, so sections that the run holds out are known by name alone", run.config.data.root
        )
        return frozenset()
