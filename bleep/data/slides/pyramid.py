"""Slides read by region: whole-slide files and tiled TIFF, through OpenSlide and tiffslide (extra `wsi`).

OpenSlide reads what scanners write. tiffslide reads tiled TIFF of other origin, OME-TIFF among them, whose levels
OpenSlide does not see. A large picture that can only be decoded whole is copied once, without loss and as a stream, into
a tiled TIFF by libvips.
"""

import contextlib
import importlib.util
import logging
import math
import os
import time
import weakref
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, final

import numpy as np

from bleep.config import PaddingName
from bleep.data.slides.base import (
    Box,
    Pixels,
    at_level,
    file_digest,
    on_white,
    padded,
    proposed_mpp,
    reduced,
    small_size,
    stamp,
    told_mpp,
)
from bleep.data.slides.image import PictureSlide, opened
from bleep.data.slides.tiff import Alpha, alpha_of, check_colours, check_whole, clear
from bleep.errors import DataError
from bleep.files import whole
from bleep.progress import Progress

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
        asked, (across, high) = max(round(side / down), 1), self.size
        x = at_level(left, side, across, down, asked, width)
        y = at_level(top, side, high, down, asked, height)

        def read(x0: int, y0: int, x1: int, y1: int) -> Pixels:
            with clear(self.path):
                return self._read(number, x0, y0, x1 - x0, y1 - y0)

        return padded(read, (width, height), x, y, asked, padding)

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


TILE = 256
"""Side of the copy's own tiles, in pixels."""
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP")
MODES = ("RGB", "RGBA", "L", "LA", "P", "1")
"""Pillow's names of the files and colours that libvips decodes to the same pixels."""

log = logging.getLogger(__name__)


def can_copy() -> bool:
    """Return whether the libraries a copy needs are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("pyvips", "tiffslide"))


def tiled(slide: PictureSlide, folder: Path) -> PyramidSlide:
    """Return the picture as a slide read by region, from a tiled copy in `folder`, made now if it is not there.

    Raises:
        DataError: the picture is damaged, or the copy cannot be written.

    """
    path = folder / f"{file_digest(slide.path)[:32]}.tif"
    if not path.exists():
        width, height = slide.size
        _check(slide)
        for part in _leftovers(path):
            part.unlink(missing_ok=True)
        log.info("%s: %d x %d pixels, not tiled: a tiled copy is made once, %s", slide.path, width, height, path)
        with whole(path) as temporary:
            _copy(slide.path, temporary)
    copied = PyramidSlide.open(path, slide.path)
    if copied.size != slide.size:
        raise DataError(f"{path}: is no copy of {slide.path}; delete it, and it is made again")
    return copied


def _check(slide: PictureSlide) -> None:
    """Refuse what Pillow and libvips do not decode to the same pixels, such as CMYK, or half a TIFF."""
    with opened(slide.path, slide.limit) as image:
        mode, form = image.mode, image.format
    if mode not in MODES or form not in FORMATS:
        raise DataError(
            f"{slide.path}: is too large to be held decoded, and no tiled copy is made of {mode} colours in a {form} file; "
            "export it as RGB in a PNG, JPEG or TIFF file"
        )
    if form == "TIFF" and check_colours(slide.path, decoded=True) in ("CYX", "SYX"):
        raise DataError(
            f"{slide.path}: is too large to be held decoded, and no tiled copy is made of colours that stand in planes of "
            "their own; export it as RGB, tiled"
        )
    if form == "TIFF":
        # libvips goes on where a strip of a TIFF is not there.
        with clear(slide.path) as complaints:
            check_whole(slide.path, complaints)


def _copy(source: Path, target: Path) -> None:
    import pyvips

    logging.getLogger("pyvips").setLevel(logging.WARNING)
    try:
        image = pyvips.Image.new_from_file(str(source), access="sequential", fail_on="truncated")
        if image.interpretation not in ("srgb", "rgb"):
            image = image.colourspace("srgb")
        if image.hasalpha():
            # Over white, to the very numbers of `on_white`.
            alpha, colours = image[image.bands - 1], image[0 : image.bands - 1]
            image = ((colours * alpha + (255 - alpha) * 255 + 127) / 255).floor()
        image = image[0:3].cast("uchar")
        _save(image, target, f"tiling {source.name}")
    except pyvips.Error as error:
        reason = next((line for line in error.detail.splitlines() if line.strip()), "pyvips says no more")
        if "write" in reason or "space" in reason:
            raise DataError(f"{target.parent}: the tiled copy of {source.name} cannot be written ({reason})") from None
        raise DataError(f"{source}: the image is damaged or cut short ({reason}); fetch or export it again") from None


def _save(image: Any, target: Path, words: str) -> None:
    """Write the copy from a thread: an interrupt that reached libvips's own calls back to Python would be lost there."""
    # The fastest of the lossless settings: four times as fast as the usual one, for files two thirds larger.
    settings = {"compression": "deflate", "level": 1, "predictor": "horizontal", "bigtiff": True}
    with Progress(total=100, desc=words, unit="%", leave=False) as bar, ThreadPoolExecutor(1) as pool:

        def told(_: Any, progress: Any) -> None:
            bar.update(progress.percent - bar.n)

        image.set_progress(True)
        image.signal_connect("eval", told)
        saving = pool.submit(image.tiffsave, str(target), tile=True, tile_width=TILE, tile_height=TILE, **settings)
        try:
            while not wait([saving], timeout=1).done:
                pass
        except BaseException:
            image.set_kill(True)
            raise
        saving.result()


def _leftovers(path: Path) -> list[Path]:
    """Return what copies of this picture left behind when they were killed: parts that nobody has written to for an hour."""
    parts = path.parent.glob(f".{path.name}.*.part{path.suffix}")
    return [part for part in parts if time.time() - part.stat().st_mtime > 3600]
