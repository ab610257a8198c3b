"""Slides read by region: whole-slide files and tiled TIFF, through OpenSlide and tiffslide (extra `wsi`).

OpenSlide reads what scanners write. tiffslide reads tiled TIFF of other origin, OME-TIFF among them, whose levels
OpenSlide does not see.
"""

import contextlib
import importlib.util
import math
import os
import weakref
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, final

import numpy as np

from bleep.config import PaddingName
from bleep.data.slides.base import (
    Box,
    Pixels,
    file_digest,
    on_white,
    padded,
    proposed_mpp,
    reduced,
    small_size,
    stamp,
    told_mpp,
)
from bleep.data.slides.tiff import Alpha, alpha_of, check_colours, check_whole, clear
from bleep.errors import DataError

Library = Literal["openslide", "tiffslide"]
TIFF = (".tif", ".tiff", ".btf", ".tf8")
SCANNERS = (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide", ".dcm", ".qptiff")
"""Endings of the files of scanners."""


@final
@dataclass(frozen=True, slots=True)
class PyramidSlide:
    """A file of tiles, often at several levels; each process opens it for itself, at its first region."""

    path: Path
    library: Library
    size: tuple[int, int]
    levels: tuple[tuple[float, int, int], ...]
    """Downsampling, width and height of each level, the finest first."""
    mpp: float | None
    """Microns per pixel as the file says; none: it does not, or what it says cannot be a slide's."""
    source: Path | None = None
    """The picture this file is a tiled copy of; its digest stands for both."""
    alpha: Alpha = ""
    """Of a TIFF."""
    offset: tuple[int, int] = (0, 0)
    """Upper left corner of what was scanned, in level-0 pixels: programs such as QuPath show the slide from there on."""
    proposed: tuple[float, str] | None = None
    """Where the file does not say its scale: microns per pixel that something else in it makes likely, and what that is."""

    @classmethod
    def open(cls, path: Path, source: Path | None = None) -> "PyramidSlide":
        """Read the header alone.

        Raises:
            DataError: the file is missing, damaged or cut short, its pixels are not 8-bit colours or greys, or the extra
                `wsi` is not installed.

        """
        if not path.is_file():
            raise DataError(f"{path}: no such image; expected the slide named there")
        library = _library_of(path)
        with clear(path) as complaints:
            if library == "tiffslide":
                check_whole(path, complaints)
                check_colours(path)
            alpha = alpha_of(path) if library == "tiffslide" else ""
            handle = _handle(path, library)
            size = handle.level_dimensions[0]
            levels = tuple(
                (_downsampling(float(down), size, dimensions), int(dimensions[0]), int(dimensions[1]))
                for down, dimensions in zip(handle.level_downsamples, handle.level_dimensions, strict=True)
            )
            mpp = told_mpp(path, handle.properties, library)
            proposed = proposed_mpp(handle.properties) if mpp is None else None
            corner = [int(float(handle.properties.get(f"openslide.bounds-{axis}") or 0)) for axis in "xy"]
        return cls(path, library, (levels[0][1], levels[0][2]), levels, mpp, source, alpha, (corner[0], corner[1]), proposed)

    def region(self, left: int, top: int, side: int, padding: PaddingName, pixels: int = 0) -> Box:
        number = self._level(side, pixels)
        down, width, height = self.levels[number]
        asked = max(round(side / down), 1)

        def read(x0: int, y0: int, x1: int, y1: int) -> Pixels:
            with clear(self.path):
                return self._read(number, x0, y0, x1 - x0, y1 - y0)

        return padded(read, (width, height), round(left / down), round(top / down), asked, padding)

    def digest(self) -> str:
        return file_digest(self.source or self.path)

    def thumbnail(self, longest: int) -> Pixels:
        """Return the whole slide, `longest` pixels on its longer side, or at its own size where that is less."""
        # Means of few and unequal numbers of pixels would look ragged: start from twice the size, where the file has it.
        number = self._level(max(self.size), 2 * longest)
        _, width, height = self.levels[number]
        with clear(self.path):
            return reduced(
                lambda x0, y0, x1, y1: self._read(number, x0, y0, x1 - x0, y1 - y0),
                (width, height),
                small_size(self.size, longest),
            )

    def _level(self, side: int, pixels: int) -> int:
        """Return the coarsest level at which a box is still `pixels` wide."""
        fitting = [n for n, (down, *_) in enumerate(self.levels) if pixels and round(side / down) >= pixels]
        return fitting[-1] if fitting else 0

    def _read(self, number: int, left: int, top: int, width: int, height: int) -> Pixels:
        handle = _handle(self.path, self.library)
        down = handle.level_downsamples[number]
        if self.library == "tiffslide":
            at = (_place(left, down), _place(top, down))
            found = np.asarray(handle.read_region(at, number, (width, height), as_array=True))
            if found.shape[2] < 3:
                return np.repeat(found[..., :1], 3, axis=2)
            if not self.alpha:
                return found[..., :3]
            return on_white(found[..., :3], found[..., 3], multiplied=self.alpha == "associated")
        found = np.asarray(handle.read_region((round(left * down), round(top * down)), number, (width, height)))
        # What the scanner did not take is transparent.
        return on_white(found[..., :3], found[..., 3])


def scanner_of(path: Path) -> str:
    """Return by which of OpenSlide's formats a file is read, found by its content; empty: by none, or it is not installed."""
    if importlib.util.find_spec("openslide") is None or not path.is_file() or _is_picture(path):
        return ""
    import openslide

    with contextlib.suppress(openslide.OpenSlideError):
        found = openslide.OpenSlide.detect_format(path)
        return found if found is not None and found != "generic-tiff" else ""
    return ""


def _is_picture(path: Path) -> bool:
    """Return whether name and first bytes are those of a plain JPEG or PNG, for which no library of slides need be loaded."""
    begins = {".jpg": b"\xff\xd8\xff", ".jpeg": b"\xff\xd8\xff", ".png": b"\x89PNG"}.get(path.suffix.lower())
    if begins is None:
        return False
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(4).startswith(begins)
    return False


def series_of(path: Path) -> str:
    """Return what the files of one DICOM slide have in common; empty for slides of another kind.

    Raises:
        DataError: the slide is damaged.

    """
    if scanner_of(path) != "dicom":
        return ""
    with clear(path):
        return str(_handle(path, "openslide").properties.get("dicom.SeriesInstanceUID", ""))


def _library_of(path: Path) -> Library:
    if any(importlib.util.find_spec(name) is None for name in ("openslide", "tiffslide")):
        raise DataError(f"{path}: whole slides and tiled TIFF need the extra wsi: pip install -e '.[wsi]' in bleep's clone")
    return "openslide" if scanner_of(path) else "tiffslide"


def _handle(path: Path, library: Library) -> Any:
    """Open the file once a process: a handle taken over from a parent would share its place in the file."""
    return _handle_of(path, library, os.getpid(), stamp(path))


@lru_cache(maxsize=64)
def _handle_of(path: Path, library: Library, process: int, stamp: tuple[int, int]) -> Any:
    if library == "openslide":
        import openslide

        return openslide.OpenSlide(path)
    import tiffslide

    handle = tiffslide.TiffSlide(path)
    # It does not close its file by itself once it is forgotten here.
    weakref.finalize(handle, handle.ts_tifffile.close)
    return handle


def _downsampling(told: float, size: tuple[int, int], level: tuple[int, int]) -> float:
    """Return how much coarser a level is.

    Libraries divide the sizes; but a level that was made by halving has lost the odd last column, and places taken from
    that ratio drift by up to a pixel across the slide, by more along the long side of a narrow one. The whole number that
    explains both sizes is the truth: near what is told, or to either side's ratio, or a power of two.
    """
    ratios = [full / part for full, part in zip(size, level, strict=True)]
    tried = [*map(round, (told, *ratios)), 2 ** round(math.log2(max(told, 1)))]
    explain = (one for one in tried if one > 0 and all(abs(f / one - p) < 1 for f, p in zip(size, level, strict=True)))
    return float(next(explain, told))


def _place(start: int, down: float) -> int:
    """Return the level-0 place that tiffslide, which divides and cuts off, takes back to `start`."""
    place = math.ceil(start * down)
    return place if int(place / down) >= start else place + 1
