"""What the name of a patch, its folders and a table say of its class, its patient and its place; and whether they agree."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

from bleep.errors import DataError

PLACED = re.compile(r"^(?P<patient>.+?)_idx\d+_x(?P<x>\d+)_y(?P<y>\d+)_class(?P<label>[^_.]+)$")
"""Names of the published patches of invasive ductal carcinoma."""
BREAKHIS = re.compile(r"^SOB_(?P<kind>[BM])_(?P<tumour>[A-Z]+)[-_](?P<patient>.+)-(?P<zoom>\d+)-(?P<number>\d+)$")
"""Names of BreakHis: kind and type of the tumour, year and slide (the patient), magnification, number."""
BELOW = re.compile(r"\d+X|SOB.*")
"""Folders of BreakHis that are no classes."""
KINDS = {"B": "benign", "M": "malignant"}


@final
@dataclass(frozen=True, slots=True)
class Patch:
    """One picture file, and what its name and folders say of it."""

    path: Path
    patient: str
    """Empty: nobody says."""
    label: str
    """Empty: nobody says."""
    corner: tuple[int, int] | None
    """Left and top on the slide, in pixels; None: nobody says."""


class Said(NamedTuple):
    """What is said of each of some patches in one place, empty where nothing is."""

    where: str
    """The place, as a subject: `its name`."""
    words: Sequence[str]

    @property
    def known(self) -> set[str]:
        """All that is said of any patch."""
        return set(self.words) - {""}

    def agrees(self, other: "Said") -> bool:
        """Return whether both say something of some patches, and the same of each."""
        both = [one == two for one, two in zip(self.words, other.words, strict=True) if one and two]
        return bool(both) and all(both)


class Names(NamedTuple):
    """What names and folders say of a patch."""

    label: str
    patient: str
    corner: tuple[int, int] | None
    folder: str
    """The folder that may be called like its class; empty: there is none."""
    above: str
    """The folder that may be called like its patient."""
    breakhis: bool


def names_of(path: Path, folders: tuple[str, ...]) -> Names:
    """Return what a file's name says, and the folders it lies in, the innermost last."""
    folder, above = (folders[-1] if folders else ""), (folders[-2] if len(folders) > 1 else "")
    if placed := PLACED.match(path.stem):
        return Names(placed["label"], placed["patient"], (int(placed["x"]), int(placed["y"])), folder, above, breakhis=False)
    if match := BREAKHIS.match(path.stem):
        # As it is handed out, folders of tumour, slide and magnification lie below that of the class.
        own = [name for name in folders[::-1] if not BELOW.fullmatch(name)]
        folder = next((name for name in own if name.lower() in KINDS.values()), own[0] if own else "")
        return Names(KINDS[match["kind"]], match["patient"], None, folder, above, breakhis=True)
    return Names("", "", None, folder, above, breakhis=False)


def walked(paths: Sequence[Path], root: Path) -> list[Patch]:
    """Return the patches of a folder, by their names and folders.

    Raises:
        DataError: a name and a folder contradict each other.

    """
    found = [names_of(path, path.relative_to(root).parts[:-1]) for path in paths]
    label, patient = Said("its name", [one.label for one in found]), Said("its name", [one.patient for one in found])
    deep = Said("its folder", ["" if one.breakhis or not one.above else one.folder for one in found])
    folder, above = Said("its folder", [one.folder for one in found]), Said("its folder", [one.above for one in found])
    way = "move it or rename it"
    _check(paths, "class", label, deep, way)
    kinds = Said(folder.where, [one.folder.lower() if one.folder.lower() in KINDS.values() else "" for one in found])
    _check(paths, "class", Said(label.where, [one.label if one.breakhis else "" for one in found]), kinds, way)
    if folder.known <= label.known and not folder.agrees(patient):
        _check(paths, "class", label, folder, way)
    if any(one and one == two for one, two in zip(patient.words, above.words, strict=True)):
        _check(paths, "patient", patient, above, way)
    return [
        Patch(
            path,
            one.patient or one.above,
            one.label if one.corner is not None else one.folder or one.label,
            one.corner,
        )
        for path, one in zip(paths, found, strict=True)
    ]


def listed(
    table: Path,
    paths: Sequence[Path],
    labels: Sequence[str],
    patients: Sequence[str] | None,
    folders: Sequence[tuple[str, ...]],
) -> list[Patch]:
    """Return the patches that a table names, by what it says of each.

    What names and folders say counts against it where they use its words.

    Raises:
        DataError: they contradict it.

    """
    found = [names_of(path, parts) for path, parts in zip(paths, folders, strict=True)]
    label, patient = Said(table.name, labels), Said(table.name, patients or [one.patient for one in found])
    folder, above = Said("its folder", [one.folder for one in found]), Said("its folder", [one.above for one in found])
    way = "mend the table, or move or rename the picture"
    for what, said, named in (
        ("class", label, Said("its name", [one.label for one in found])),
        ("patient", patient, Said("its name", [one.patient for one in found])),
    ):
        if said.known & named.known:
            _check(paths, what, named, said, way)
    if folder.known <= label.known:
        if not folder.agrees(patient):
            _check(paths, "class", folder, label, way)
    elif folder.known <= patient.known:
        _check(paths, "patient", folder, patient, way)
    if above.known <= patient.known:
        _check(paths, "patient", above, patient, way)
    return [
        Patch(path, who, what, one.corner) for path, who, what, one in zip(paths, patient.words, labels, found, strict=True)
    ]


def _check(paths: Sequence[Path], what: str, one: Said, other: Said, way: str) -> None:
    for path, first, second in zip(paths, one.words, other.words, strict=True):
        if first and second and first != second:
            raise DataError(f"{path}: {one.where} says {what} {first}, {other.where} {second}; {way}")
