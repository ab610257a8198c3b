"""Where the files of a section lie that Space Ranger wrote, and whether its pictures agree with its positions."""

import glob
import gzip
import json
import logging
import math
import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from bleep.config import DataConfig
from bleep.data.readers.spaceranger import read_mtx
from bleep.data.readers.tables import Measured
from bleep.data.slides import ArraySlide, PictureSlide, Pixels, PyramidSlide, open_slide
from bleep.errors import DataError
from bleep.files import read_json
from bleep.find import visible
from bleep.outputs import check_gzip

ROUNDED = 2.0
"""Pixels by which the size of a small copy may be off, as it was rounded."""
SIDE = 64
"""Pixels along the longer side at which two pictures are compared."""
BETTER = 0.2
"""Gain in correlation that makes another way round the right one."""
UNLIKE = 0.5
"""Correlation of two pictures below which they may not show the same."""
MOST = 100_000_000
"""Pictures of more pixels are not decoded whole to be compared."""
WAYS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "mirrored left to right": lambda grey: grey[:, ::-1],
    "mirrored top to bottom": lambda grey: grey[::-1],
    "turned by 180 degrees": lambda grey: grey[::-1, ::-1],
    "turned by 90 degrees": lambda grey: np.rot90(grey),
    "turned by 270 degrees": lambda grey: np.rot90(grey, 3),
    "mirrored along a diagonal": lambda grey: grey.T,
    "mirrored along the other diagonal": lambda grey: grey[::-1, ::-1].T,
}

log = logging.getLogger(__name__)

Shown = PictureSlide | PyramidSlide | ArraySlide


class Known(NamedTuple):
    """A picture whose scale the files state."""

    name: str
    scale: float
    """Its pixels per full-resolution pixel."""
    slide: Shown


def check_own_pictures(pictures: Iterable[tuple[str, Path]], image: Path | None = None) -> None:
    """Refuse one picture for two sections, under one name or as a link.

    Args:
        pictures: name of the section and path of each; a section of ready-cut tiles has many.
        image: what `data.image` says, where it is by that setting that pictures are named.

    Raises:
        DataError: see above.

    """
    first: dict[str, str] = {}
    for name, path in pictures:
        other = first.setdefault(os.path.realpath(path), name)
        if other != name:
            told = f"data.image: {image}" if image is not None else f"{path}"
            way = "write {name} where the section's name stands in the path" if image is not None else "give each its own"
            raise DataError(f"{told} is the same picture for sections {other!r} and {name!r}; {way}")


def check_picture(section: str, name: str, slide: Shown, scale: float, known: Known) -> None:
    """Refuse a picture that is not what another, of stated scale, is a copy of.

    Raises:
        DataError: their sizes do not go together, or one is mirrored or turned against the other.

    """
    small = np.array(known.slide.size)
    expected = small * scale / known.scale
    room = ROUNDED * np.maximum(scale / known.scale, 1.0)
    if (np.abs(np.array(slide.size) - expected) > room + 0.002 * expected).any():
        raise DataError(
            f"section {section}: {name} has {slide.size[0]} x {slide.size[1]} pixels, but the positions belong to a picture of "
            f"{expected[0]:.0f} x {expected[1]:.0f}: so say the size of {known.name}, {small[0]} x {small[1]}, and its scale "
            f"of {known.scale / scale:.4g}; take that picture"
        )
    if not isinstance(slide, PyramidSlide) and slide.size[0] * slide.size[1] > MOST:
        return
    one, other = _grey(slide.thumbnail(SIDE)), _grey(known.slide.thumbnail(SIDE))
    alike = _correlation(one, other)
    turned = {way: _correlation(turn(one), other) for way, turn in WAYS.items()}
    best = max(turned, key=turned.__getitem__)
    if turned[best] > max(alike + BETTER, UNLIKE):
        raise DataError(
            f"section {section}: {name} looks like {known.name} {best}, but the positions are those of {known.name}: "
            "turn the picture back"
        )
    if alike < UNLIKE:
        log.warning(
            "section %s: %s hardly looks like %s (correlation %.2f): see that it has no border and is of this section",
            section, name, known.name, alike,
        )  # fmt: skip


def _grey(pixels: Pixels) -> np.ndarray:
    return np.asarray(pixels, dtype=np.float64).mean(axis=2)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of two pictures of nearly one size; -1 where their sizes differ, 1 where nothing is shown."""
    if np.abs(np.array(one.shape) - other.shape).max() > 1:
        return -1.0
    high, wide = np.minimum(one.shape, other.shape)
    one, other = one[:high, :wide], other[:high, :wide]
    if one.std() == 0 or other.std() == 0:
        return 1.0
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


FACTORS = "scalefactors_json.json"
PICTURES = (
    ("hires", "tissue_hires_image.png"),
    ("hires", "tissue_hires_image.jpg"),
    ("hires", "tissue_hires_image.jpeg"),
    ("lowres", "tissue_lowres_image.png"),
    ("lowres", "tissue_lowres_image.jpg"),
    ("lowres", "tissue_lowres_image.jpeg"),
)
"""Pictures taken when none is named, best first, with the scale each is at."""


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where the files of one section lie."""

    counts: Path
    """Folder of the counts."""
    spatial: tuple[Path, ...]
    """Folders of positions, scale factors and pictures, the nearest first."""
    seen_from: tuple[Path, ...]
    """Folders that `data.image` is seen from, the nearest first."""
    prefix: str = ""
    """What stands before the names of positions, scale factors and pictures, in a flat folder."""
    start: str = ""
    """What stands before the names of the counts."""
    longer: tuple[str, ...] = ()
    """Prefixes of other sections in the same folder that begin with this one."""
    bin: int = 0
    """Side of HD's square bins in microns; 0: spots."""

    def find(self, names: tuple[str, ...], ends: tuple[str, ...] = ("", ".gz")) -> Path | None:
        """Return the first file of one of these names, plain or packed."""
        named = (folder / f"{self.prefix}{name}{end}" for name in names for folder in self.spatial for end in ends)
        return next((path for path in named if path.is_file()), None)

    def counted(self, *names: str) -> list[Path]:
        """Return what of the counts is called like this, other sections' left out."""
        found = [path for name in names for path in visible(self.counts, f"{glob.escape(self.start)}*{name}")]
        return sorted(path for path in found if not path.name.startswith(self.longer))


def scale_of(name: str, factors: Mapping[str, Any], path: Path) -> float:
    """Return the pixels of a picture per full-resolution pixel, `name` being `full`, `hires` or `lowres`."""
    return 1.0 if name == "full" else factor_of(factors, f"tissue_{name}_scalef", path)


def read_factors(path: Path) -> dict[str, Any]:
    """Read the scale factors, packed or plain.

    Raises:
        DataError: the file is damaged, or holds something else.

    """
    what = "Space Ranger's scale factors"
    if path.suffix != ".gz":
        return _checked(read_json(path, what), path)
    try:
        check_gzip(path)
        tree = json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise DataError(f"{path}: is damaged ({str(error).splitlines()[0]}); expected {what}") from None
    if not isinstance(tree, dict):
        raise DataError(f"{path}: holds a {type(tree).__name__}; expected {what}")
    return _checked(tree, path)


def _checked(tree: dict[str, Any], path: Path) -> dict[str, Any]:
    if tree and not any(key.endswith("scalef") for key in tree):
        found = ", ".join(list(tree)[:5])
        raise DataError(f"{path}: holds {found}; expected Space Ranger's scale factors, such as tissue_hires_scalef")
    return tree


def factor_of(factors: Mapping[str, Any], key: str, path: Path) -> float:
    """Return a factor; it must be a number above 0."""
    value = factors.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise DataError(f"{path}: {key} is {value!r}; expected a number above 0")
    return float(value)


def picture_of(name: str, place: Place, data: DataConfig) -> tuple[str, Path]:
    """Return the picture that `data.image` names, else the best that is there; and at which scale it is.

    Raises:
        DataError: there is none, or it is packed.

    """
    if data.image is not None:
        paths = [folder / str(data.image).replace("{name}", name) for folder in place.seen_from]
        return data.image_scale, next((path for path in paths if path.exists()), paths[0])
    for scale, file in PICTURES:
        if path := place.find((file,), ("",)):
            return scale, path
    if packed := place.find(tuple(file for _, file in PICTURES), (".gz",)):
        raise DataError(f"{packed}: is packed, and pictures are read unpacked: run gunzip on it")
    raise DataError(f"{place.spatial[0]}: has no tissue_hires_image or tissue_lowres_image; name the picture with data.image")


def check_known_pictures(
    name: str, place: Place, picture: Path, scale: float, slide: Shown, factors: Mapping[str, Any], path: Path, limit: int
) -> None:
    """Refuse a picture that is not the one which a smaller picture beside it is a copy of: see `check_picture`."""
    for other, file in PICTURES:
        known = place.find((file,), ("",))
        if known is not None and known != picture and f"tissue_{other}_scalef" in factors:
            stated = Known(known.name, scale_of(other, factors, path), open_slide(known, limit))
            check_picture(name, picture.name, slide, scale, stated)
            return


def read_folder_of_mtx(place: Place) -> Measured:
    """Read matrix, features and barcodes; where they are there twice, packed and plain, a set that is whole."""
    kinds = (("matrix.mtx",), ("features.tsv", "genes.tsv"), ("barcodes.tsv",))
    for end in (".gz", ""):
        found = [place.counted(*(f"{name}{end}" for name in names)) for names in kinds]
        if all(len(paths) == 1 for paths in found):
            (matrix,), (features,), (barcodes,) = found
            return read_mtx(matrix, features, barcodes)
    files = []
    for names in kinds:
        paths = place.counted(*(f"{name}{end}" for name in names for end in ("", ".gz")))
        if not paths:
            raise DataError(f"{place.counts}: has no {names[0]}; expected a file named {' or '.join(names)}")
        if len(paths) > 1:
            one, two = paths[0].name, paths[1].name
            raise DataError(f"{place.counts}: has several files that could be the {names[0]}: {one} and {two}; keep one")
        files.append(paths[0])
    return read_mtx(*files)
