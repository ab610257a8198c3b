"""Labelled patches: `PATIENT/CLASS/*.png` with places in the names, folders a class, a CSV, or `X.npy` beside `Y.npy`.

Without a column `label`, or without `Y.npy`, they can be queried alone.

A section is a patient's slide, and the class of a patch stands in `obs["label"]` (empty where there is none). Nothing is
measured on patches: they have no genes.
"""

import csv
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from bleep.config import DataConfig
from bleep.data.readers import chosen_names
from bleep.data.readers.tables import read_table
from bleep.data.section import Section
from bleep.data.slides import ArraySlide, PatchSlide, Slide
from bleep.errors import DataError
from bleep.find import below, visible

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


SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""Files that are taken for patches."""
LABEL = "label"
"""Column of `obs` that holds the class of a patch."""
SLIDE = "slide-"
"""Stands before a patient's name in that of the section."""
PICTURES, CLASSES = "X.npy", "Y.npy"

log = logging.getLogger(__name__)


def read(data: DataConfig) -> tuple[Section, ...]:
    """Read all patients, or those named; without `data.mpp` a pixel counts as one micron.

    Raises:
        DataError: there are no patches, a name contradicts its folder, a patch is thinner than `data.thinnest`, or arrays
            are damaged, hold objects or differ in length.

    """
    arrays = data.root.parent if data.root.name == PICTURES else data.root
    if arrays.is_dir() and (arrays / PICTURES).exists():
        found = {section.name: section for section in (_from_arrays(arrays, data),)}
        return tuple(found[name] for name in chosen_names(list(found), data))
    patches = _found(data.root)
    by_slide: dict[str, list[Patch]] = {}
    for patch in patches:
        # A section that is called like its patient counts as one of whom nobody said who it is from.
        by_slide.setdefault(SLIDE + patch.patient if patch.patient else data.root.resolve().stem, []).append(patch)
    if data.mpp is None:
        log.info("no data.mpp given: a pixel of a patch counts as one micron")
    sections = tuple(_section(name, by_slide[name], data) for name in chosen_names(list(by_slide), data))
    slides = [section.slide for section in sections if isinstance(section.slide, PatchSlide)]
    cut = sum(size != slide.whole for slide in slides for size in slide.sizes)
    if cut:
        log.info("%d of %d patches are not of the usual size: what is missing is painted by tiles.padding", cut,
                 sum(map(len, sections)))  # fmt: skip
    return sections


def has_patches(place: Path) -> bool:
    """Return whether a place may hold patches though no name says so: a CSV of pictures, or pictures in folders.

    Ready-cut tiles beside a CSV with an ID are of the form folder.
    """
    if place.is_file():
        columns = columns_of(place)
        return "path" in columns and "ID" not in columns
    if any({"ID", "path"} <= columns_of(path) for path in visible(place, "*.csv")):
        return False
    return any(path.suffix.lower() in SUFFIXES and path.parent != place for path in below(place))


def columns_of(path: Path) -> set[str]:
    """Return the headings of a CSV; none of a file of another name."""
    if path.suffix.lower() != ".csv":
        return set()
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        return {cell.strip() for cell in next(csv.reader([file.readline(1 << 20)], skipinitialspace=True), [])}


def _found(root: Path) -> list[Patch]:
    if root.is_file():
        return walked([root], root.parent) if root.suffix.lower() in SUFFIXES else _listed(root)
    paths = sorted(path for path in below(root) if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataError(
            f"{root}: holds no patches; expected PATIENT/CLASS/*.png, folders a class, a CSV of path,label, or {PICTURES} "
            f"beside {CLASSES}"
        )
    return walked(paths, root)


def _listed(path: Path) -> list[Patch]:
    table = read_table(path, ",", ("path",), dtype={"path": str, LABEL: str, "patient": str})
    if table["path"].isna().any():
        raise DataError(f"{path}: line {int(np.argmax(table['path'].isna())) + 2} names no picture; expected one on every line")
    if LABEL not in table:
        log.warning("%s: has no column %s, so nobody says of which class its patches are", path, LABEL)
        table[LABEL] = ""
    twice = table["path"][table["path"].duplicated()]
    if len(twice):
        raise DataError(f"{path}: {twice.iloc[0]} stands more than once; each patch must stand once")
    patients = _words(table["patient"]) if "patient" in table else None
    if patients is not None and "" in patients:
        line = patients.index("") + 2
        raise DataError(f"{path}: line {line} has no patient; give one on every line, or leave the column out")
    names = list(map(Path, table["path"]))
    return listed(
        path, [path.parent / name for name in names], _words(table[LABEL]), patients, [name.parts[:-1] for name in names]
    )


def _words(column: pd.Series) -> list[str]:
    return [str(word).strip() for word in column.fillna("")]


def _section(name: str, patches: list[Patch], data: DataConfig) -> Section:
    corners = [patch.corner for patch in patches if patch.corner is not None]
    if corners and len(corners) < len(patches):
        raise DataError(
            f"section {name}: {len(corners)} of {len(patches)} patches say where they lie, the others do not; "
            "name all as PATIENT_idx5_xX_yY_classC.png, or none"
        )
    slide = PatchSlide.open([patch.path for patch in patches], corners or None)
    for patch, size in zip(patches, slide.sizes, strict=True):
        if min(size) < data.thinnest:
            raise DataError(
                f"{patch.path}: is {size[0]} x {size[1]} pixels, thinner than data.thinnest ({data.thinnest}), and shows no "
                "tissue to speak of; remove it, or set data.thinnest to 1 to have it padded"
            )
    spots = [patch.path.stem for patch in patches]
    if len(set(spots)) < len(spots):
        twice = next(spot for at, spot in enumerate(spots) if spot in spots[:at])
        raise DataError(f"section {name}: two patches are called {twice!r}; each name must stand once")
    return _made(name, slide, slide.centres(), spots, [patch.label for patch in patches], data)


def _made(name: str, slide: Slide, xy: np.ndarray, spots: list[str], labels: list[str], data: DataConfig) -> Section:
    obs = pd.DataFrame({LABEL: labels}, index=pd.Index(spots, dtype=str))
    return Section(
        name=name,
        patient=data.patients.get(name, name.removeprefix(SLIDE)),
        species=data.species,
        slide=slide,
        counts=AnnData(X=sparse.csr_matrix((len(spots), 0), dtype=np.float32), obs=obs),
        xy=xy,
        mpp=data.mpp or 1.0,
    )


def _from_arrays(root: Path, data: DataConfig) -> Section:
    """Lay the patches of `X.npy` side by side, so far apart that a window of twice their side shows one alone."""
    where = root / PICTURES
    pictures = _array(where)
    if pictures.ndim != 4 or pictures.shape[-1] != 3 or pictures.dtype != np.uint8:
        raise DataError(
            f"{where}: holds {pictures.dtype} of shape {pictures.shape}; expected uint8 of shape (patches, height, width, 3)"
        )
    if (root / CLASSES).exists():
        classes = _array(root / CLASSES)
    else:
        log.warning("%s: lies beside no %s, so nobody says of which class its patches are", where, CLASSES)
        classes = np.full(len(pictures), "")
    if classes.ndim != 1 or classes.dtype.kind not in "iubUS":
        raise DataError(f"{root / CLASSES}: holds {classes.dtype} of shape {classes.shape}; expected a class for each patch")
    if len(pictures) != len(classes):
        raise DataError(f"{where}: holds {len(pictures)} patches, but {CLASSES} {len(classes)} classes; expected one for each")
    count, height, width, _ = pictures.shape
    if count == 0 or min(height, width) < data.thinnest:
        raise DataError(
            f"{where}: holds {count} patches of {width} x {height} pixels; expected some of {data.thinnest} or more"
        )
    columns = int(np.ceil(np.sqrt(count)))
    canvas = np.full((-(-count // columns) * 2 * height, columns * 2 * width, 3), 255, np.uint8)
    xy = np.empty((count, 2))
    for row in range(count):
        top, left = 2 * height * (row // columns), 2 * width * (row % columns)
        canvas[top : top + height, left : left + width] = pictures[row]
        xy[row] = left + width / 2, top + height / 2
    labels = [str(value.decode() if isinstance(value, bytes) else value) for value in classes.tolist()]
    name = root.resolve().name
    return _made(name, ArraySlide(canvas), xy, [f"{row:06d}" for row in range(count)], labels, data)


def _array(path: Path) -> np.ndarray:
    if not path.is_file():
        raise DataError(f"{path}: is a folder; expected an array, as numpy.save writes it")
    try:
        # Mapped, so that what the header says of its size is compared with the file before memory is taken.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        reason = (
            "it holds Python objects, which could run code" if "pickle" in str(error).lower() else str(error).splitlines()[0]
        )
        raise DataError(f"{path}: cannot be read ({reason}); save it as a plain array of numbers") from None
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read ({str(error).splitlines()[0]}); is the file whole?") from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: is an archive of several arrays; expected a single array")
    return array
