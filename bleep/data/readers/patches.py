"""Labelled patches: `PATIENT/CLASS/*.png` with places in the names, folders a class, a CSV, or `X.npy` beside `Y.npy`.

A section is a patient's slide, and the class of a patch stands in `obs["label"]` (empty where there is none). Nothing is
measured on patches: they have no genes.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from bleep.config import DataConfig
from bleep.data.readers import chosen_names
from bleep.data.readers.tables import read_table
from bleep.data.section import Section
from bleep.data.slides import ArraySlide, Slide
from bleep.data.slides.patches import PatchSlide
from bleep.errors import DataError
from bleep.find import below

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""Files that are taken for patches."""
LABEL = "label"
"""Column of `obs` that holds the class of a patch."""
PLACED = re.compile(r"^(?P<patient>.+?)_idx\d+_x(?P<x>\d+)_y(?P<y>\d+)_class(?P<label>[^_.]+)$")
"""Names of the published patches of invasive ductal carcinoma."""
BREAKHIS = re.compile(r"^SOB_(?P<kind>[BM])_(?P<tumour>[A-Z]+)[-_](?P<patient>.+)-(?P<zoom>\d+)-(?P<number>\d+)$")
"""Names of BreakHis: kind and type of the tumour, year and slide (the patient), magnification, number."""
SLIDE = "slide-"
"""Stands before a patient's name in that of the section."""
PICTURES, CLASSES = "X.npy", "Y.npy"

log = logging.getLogger(__name__)


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


def read(data: DataConfig) -> tuple[Section, ...]:
    """Read all patients, or those named; without `data.mpp` a pixel counts as one micron.

    Raises:
        DataError: there are no patches, a name contradicts its folder, a patch is thinner than `data.thinnest`, or arrays
            are damaged, hold objects or differ in length.

    """
    if data.root.is_dir() and (data.root / PICTURES).exists():
        found = {section.name: section for section in (_from_arrays(data),)}
        return tuple(found[name] for name in chosen_names(list(found), data))
    patches = list(_listed(data.root) if data.root.is_file() else _walked(data.root))
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


def _walked(root: Path) -> Iterator[Patch]:
    paths = sorted(path for path in below(root) if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataError(
            f"{root}: holds no patches; expected PATIENT/CLASS/*.png, folders a class, a CSV of path,label, or {PICTURES} "
            f"beside {CLASSES}"
        )
    for path in paths:
        yield _patch(path, path.relative_to(root).parts[:-1])


def _patch(path: Path, folders: tuple[str, ...]) -> Patch:
    placed, of_breakhis = PLACED.match(path.stem), BREAKHIS.match(path.stem)
    if placed is not None:
        label = placed["label"]
        if folders and folders[-1] != label and len(folders) > 1:
            raise DataError(f"{path}: its name says class {label}, its folder {folders[-1]}; move it or rename it")
        return Patch(path, placed["patient"], label, (int(placed["x"]), int(placed["y"])))
    if of_breakhis is not None:
        label = folders[-1] if folders else {"B": "benign", "M": "malignant"}[of_breakhis["kind"]]
        return Patch(path, of_breakhis["patient"], label, None)
    label = folders[-1] if folders else ""
    return Patch(path, folders[-2] if len(folders) > 1 else "", label, None)


def _listed(path: Path) -> Iterator[Patch]:
    table = read_table(path, ",", ("path", LABEL), dtype={"path": str, LABEL: str, "patient": str})
    if table["path"].isna().any():
        raise DataError(f"{path}: line {int(np.argmax(table['path'].isna())) + 2} names no picture; expected one on every line")
    twice = table["path"][table["path"].duplicated()]
    if len(twice):
        raise DataError(f"{path}: {twice.iloc[0]} stands more than once; each patch must stand once")
    for at, row in enumerate(table.itertuples()):
        place = path.parent / str(row.path)
        guessed = _patch(place, ())
        patient = guessed.patient if "patient" not in table else row.patient
        if not isinstance(patient, str) or not patient.strip():
            raise DataError(f"{path}: line {at + 2} has no patient; give one on every line, or leave the column out")
        label = getattr(row, LABEL)
        yield Patch(place, patient.strip(), label.strip() if isinstance(label, str) else "", guessed.corner)


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


def _from_arrays(data: DataConfig) -> Section:
    """Lay the patches of `X.npy` side by side, so far apart that a window of twice their side shows one alone."""
    pictures, classes = _array(data.root / PICTURES), _array(data.root / CLASSES)
    where = data.root / PICTURES
    if pictures.ndim != 4 or pictures.shape[-1] != 3 or pictures.dtype != np.uint8:
        raise DataError(
            f"{where}: holds {pictures.dtype} of shape {pictures.shape}; expected uint8 of shape (patches, height, width, 3)"
        )
    if classes.ndim != 1 or classes.dtype.kind not in "iubUS":
        raise DataError(
            f"{data.root / CLASSES}: holds {classes.dtype} of shape {classes.shape}; expected a class for each patch"
        )
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
    name = data.root.resolve().name
    return _made(name, ArraySlide(canvas), xy, [f"{row:06d}" for row in range(count)], labels, data)


def _array(path: Path) -> np.ndarray:
    if not path.is_file():
        raise DataError(f"{path}: no such file; {PICTURES} and {CLASSES} must lie beside each other")
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
