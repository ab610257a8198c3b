"""Slides read by region: whole-slide files and tiled TIFF, through OpenSlide and tiffslide (extra `wsi`).

OpenSlide reads what scanners write. tiffslide reads tiled TIFF of other origin, OME-TIFF among them, whose levels
OpenSlide does not see.
"""

import contextlib
import logging
import math
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, final

import numpy as np

from bleep.config import PaddingName
from bleep.data.slides.base import Box, Pixels, file_digest, padded, reduced, small_size, stamp
from bleep.errors import DataError

FINEST, COARSEST = 0.05, 20.0
"""Microns per pixel that are believed: photo software writes 72 or 96 dots per inch (353 and 265 microns) into anything."""
MICRONS = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "μm": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}
"""Units that OME-TIFF gives its pixel size in."""
COLOURS = {"YXS": (3, 4), "CYX": (3,), "YX": (1,)}
"""Numbers of values a pixel may have, by the order of a TIFF's axes."""

log = logging.getLogger(__name__)


def told_mpp(path: Path, properties: Mapping[str, Any], library: str) -> float | None:
    """Return the microns per pixel a file says; none where it does not, or what it says cannot be a slide's."""
    x, y = (properties.get(f"{library}.mpp-{axis}") for axis in "xy")
    if x is None and library == "tiffslide":
        x, y = _ome_mpp(path)
    if x is None or y is None:
        return None
    wide, high = float(x), float(y)
    if not (FINEST <= wide <= COARSEST and FINEST <= high <= COARSEST):
        return None
    if abs(wide - high) > 0.02 * wide:
        log.warning("%s: says that its pixels are %g x %g microns, not square: it is not believed", path, wide, high)
        return None
    return wide


def check_whole(path: Path, complaints: Sequence[str]) -> None:
    """Refuse a TIFF that is cut short; complaints are what tifffile says aloud while it is read.

    Raises:
        DataError: a part that the file speaks of is not there.

    """
    import tifffile

    size = path.stat().st_size
    with tifffile.TiffFile(path) as file:
        levels = [page for level in file.series[0].levels for page in level.pages if page is not None]
        ends = [int(np.add(page.dataoffsets, page.databytecounts).max(initial=0)) for page in (*file.pages, *levels)]
        # tifffile shows a tile that is not there as black, which is neither tissue nor glass.
        empty = sum(page.databytecounts.count(0) for page in levels)
    if complaints or empty:
        reason = complaints[0] if complaints else f"{empty} tiles without pixels"
        raise DataError(f"{path}: is damaged or cut short ({reason}); fetch or export it again")
    if max(ends) > size:
        raise DataError(f"{path}: is cut short (its pixels reach to byte {max(ends)} of {size}); fetch or export it again")


def check_colours(path: Path) -> None:
    """Refuse a TIFF whose pixels are no 8-bit colours or greys.

    Raises:
        DataError: they are others, such as fluorescence.

    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        kind, axes, shape = series.dtype, series.axes, dict(zip(series.axes, series.shape, strict=True))
        photometric = tifffile.PHOTOMETRIC(series.keyframe.photometric).name
    values = shape.get("S", shape.get("C", 1))
    plain = photometric in ("RGB", "YCBCR", "MINISBLACK")
    if kind != np.uint8 or values not in COLOURS.get(axes, ()) or not plain:
        raise DataError(
            f"{path}: holds {photometric} pixels of {kind}, {' x '.join(map(str, shape.values()))} ({axes}); "
            "expected 8-bit RGB or grey, a single layer: export it so"
        )


def _ome_mpp(path: Path) -> tuple[float | None, float | None]:
    """Return the size of a pixel from the OME description."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        text = file.ome_metadata
    if not text:
        return None, None
    image = tifffile.xml2dict(text)["OME"]["Image"]
    pixels = (image[0] if isinstance(image, list) else image)["Pixels"]
    sides: list[float | None] = []
    for axis in "XY":
        size, unit = pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")
        sides.append(float(size) * MICRONS[unit] if size is not None and unit in MICRONS else None)
    return sides[0], sides[1]


Library = Literal["openslide", "tiffslide"]
TIFF = (".tif", ".tiff", ".btf", ".tf8")
SCANNERS = (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide")
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
            handle = _handle(path, library)
            size = handle.level_dimensions[0]
            levels = tuple(
                (_downsampling(float(down), size, dimensions), int(dimensions[0]), int(dimensions[1]))
                for down, dimensions in zip(handle.level_downsamples, handle.level_dimensions, strict=True)
            )
            mpp = told_mpp(path, handle.properties, library)
        return cls(path, library, (levels[0][1], levels[0][2]), levels, mpp, source)

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
            return found[..., :3] if found.shape[2] >= 3 else np.repeat(found[..., :1], 3, axis=2)
        found = np.asarray(handle.read_region((round(left * down), round(top * down)), number, (width, height)))
        if (found[..., 3] == 255).all():
            return np.ascontiguousarray(found[..., :3])
        # What the scanner did not take is transparent: white, like the glass around it.
        return np.where(found[..., 3:] == 0, np.uint8(255), found[..., :3])


def is_tiled(path: Path) -> bool:
    """Return whether a TIFF can be read by region.

    Raises:
        DataError: the file is missing or damaged.

    """
    import tifffile

    if not path.is_file():
        raise DataError(f"{path}: no such image; expected the picture named there")
    with clear(path), tifffile.TiffFile(path) as file:
        return bool(getattr(file.pages[0], "is_tiled", False))


def _library_of(path: Path) -> Library:
    try:
        import openslide
        import tiffslide  # noqa: F401
    except ImportError:
        raise DataError(
            f"{path}: whole slides and tiled TIFF need the extra wsi: pip install -e '.[wsi]' in bleep's clone"
        ) from None
    with clear(path):
        return "openslide" if openslide.OpenSlide.detect_format(path) not in (None, "generic-tiff") else "tiffslide"


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
    that ratio drift by up to a pixel across the slide. The whole number that explains both sizes is the truth.
    """
    whole = max(round(told), 1)
    explained = all(abs(full / whole - part) < 1 for full, part in zip(size, level, strict=True))
    return float(whole) if explained else told


def _place(start: int, down: float) -> int:
    """Return the level-0 place that tiffslide, which divides and cuts off, takes back to `start`."""
    place = math.ceil(start * down)
    return place if int(place / down) >= start else place + 1


@contextlib.contextmanager
def clear(path: Path) -> Iterator[list[str]]:
    """Turn what the libraries raise at a damaged file, of a dozen kinds, into one sentence.

    What tifffile says aloud of places that lead nowhere, before it goes on without them, is collected instead.
    """
    complaints: list[str] = []

    def kept(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if "corrupted tag" in message or (record.levelno >= logging.ERROR and "offset" in message):
            complaints.append(message.partition("> ")[2] or message)
        return False

    logger = logging.getLogger("tifffile")
    logger.addFilter(kept)
    try:
        yield complaints
    except (DataError, KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
        raise DataError(f"{path}: cannot be read as a slide ({reason}); is the file whole?") from None
    finally:
        logger.removeFilter(kept)
