"""What every slide can do, with its boxes and padding; and the scale that a file states."""

import contextlib
import hashlib
import logging
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from bleep.config import PaddingName
from bleep.errors import DataError

Pixels = UInt8[np.ndarray, "height width 3"]
Box = UInt8[np.ndarray, "side side 3"]
Read = Callable[[int, int, int, int], Pixels]
"""Gives the pixels from (left, top) to (right, bottom), all inside the picture."""


@runtime_checkable
class Slide(Protocol):
    """A picture that gives any box of itself; coordinates are level-0 pixels, x first."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        ...

    def region(self, left: int, top: int, side: int, padding: PaddingName, pixels: int = 0) -> Box:
        """Return the box, painted by the padding rule where it leaves the picture.

        A box of more than `pixels` a side may come from a coarser level of the file, at `pixels` a side or more; 0: never.

        Raises:
            DataError: the file is damaged, or the box lies wholly outside the picture.

        """
        ...

    def digest(self) -> str:
        """Return the sha256 of what the picture shows."""
        ...


def _white(pixels: Pixels, around: Any) -> UInt8[np.ndarray, "padded_height padded_width 3"]:
    return np.pad(pixels, around, mode="constant", constant_values=255)


PADDINGS: Mapping[PaddingName, Callable[[Pixels, Any], np.ndarray]] = {
    "white": _white,
    "edge": lambda pixels, around: np.pad(pixels, around, mode="edge"),
    "reflect": lambda pixels, around: np.pad(pixels, around, mode="symmetric"),
}


def padded(read: Read, size: tuple[int, int], left: int, top: int, side: int, padding: PaddingName) -> Box:
    """Read what of a box lies inside a picture of this size, and paint the rest."""
    width, height = size
    right, bottom = left + side, top + side
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        raise DataError(f"a box of {side} pixels at ({left}, {top}) lies wholly outside a picture of {width} x {height}")
    inside = read(max(left, 0), max(top, 0), min(right, width), min(bottom, height))
    if inside.shape[:2] == (side, side):
        return np.ascontiguousarray(inside)
    beyond = ((max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0)), (0, 0))
    return PADDINGS[padding](inside, beyond)


def padded_array(pixels: Pixels, left: int, top: int, side: int, padding: PaddingName) -> Box:
    """Cut a box out of a picture in memory, and paint what lies beyond it."""
    size = (pixels.shape[1], pixels.shape[0])
    return padded(lambda x0, y0, x1, y1: pixels[y0:y1, x0:x1], size, left, top, side, padding)


def at_level(start: int, side: int, whole: int, down: float, asked: int, length: int, origin: int = 0) -> int:
    """Return where a box of `asked` pixels begins along one side, `length` pixels long, of a level that begins at `origin`.

    A box that reaches the picture, `whole` pixels long, by less than a pixel of the level is moved to reach the level too.
    """
    place = round((start - origin) / down)
    return min(max(place, 1 - asked), length - 1) if start < whole and start + side > 0 else place


def on_white(
    colours: Pixels, alpha: UInt8[np.ndarray, "height width"], *, multiplied: bool = False, ground: int = 255
) -> Pixels:
    """Return a picture laid over white: the more transparent a pixel, the less its own colour shows (Porter and Duff 1984).

    Colours may be `multiplied` by alpha already, as a TIFF with associated alpha stores them. Another `ground` than white is
    black, 0.
    """
    if (alpha == 255).all():
        return np.ascontiguousarray(colours)
    share = alpha[..., None].astype(np.uint16)
    shown = 255 * colours.astype(np.uint16) if multiplied else colours.astype(np.uint16) * share
    over: np.ndarray = (shown + ground * (255 - share) + 127) // 255
    return np.minimum(over, 255).astype(np.uint8)


def stamp(path: Path) -> tuple[int, int]:
    """Return size and time of a file: what is remembered of it holds while they stay.

    Raises:
        DataError: it is not there, or no longer.

    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: no such image ({error.strerror}); expected the picture named there") from None
    return status.st_size, status.st_mtime_ns


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, remembered while its size and time stay."""
    return _digest_of(path, *stamp(path))


@lru_cache(maxsize=1 << 18)  # Ready-cut tiles of 50 sections are 100,000 files, looked at again and again.
def _digest_of(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def picture_key(slide: Slide) -> str:
    """Return what cut tiles and their features are kept by: the digest, and in what order a store's channels are read."""
    return slide.digest() + str(getattr(slide, "order", ""))


BAND = 16_000_000
"""Pixels read at a time."""


def small_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Return width and height of a picture brought to `longest` pixels on its longer side; none is enlarged."""
    width, height = size
    scale = min(longest / max(size), 1.0)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def reduced(read: Read, size: tuple[int, int], small: tuple[int, int]) -> Pixels:
    """Return a picture of this size at the `small` one; each pixel is the mean of those it stands for."""
    (width, height), (wide, high) = size, small
    if size == small:
        return read(0, 0, width, height)
    step = height / high
    rows = max(int(BAND / (width * step)), 1)
    bands = []
    for first in range(0, high, rows):
        above, below = first * step, min(min(first + rows, high) * step, height)
        top, bottom = math.floor(above), math.ceil(below)
        band = Image.fromarray(read(0, top, width, bottom))
        box = (0, above - top, width, below - top)
        bands.append(np.asarray(band.resize((wide, min(rows, high - first)), Image.Resampling.BOX, box=box)))
    return np.concatenate(bands)


def overview(slide: Slide, longest: int) -> Pixels:
    """Return a whole slide, `longest` pixels on its longer side, or at its own size where that is less.

    It is what its own `thumbnail` gives; of a slide that gives boxes alone, as another package's may, it is made of these.
    """
    if (own := getattr(slide, "thumbnail", None)) is not None:
        shown: Pixels = own(longest)
        return shown

    def read(x0: int, y0: int, x1: int, y1: int) -> Pixels:
        boxes = [slide.region(left, y0, y1 - y0, "white") for left in range(x0, x1, y1 - y0)]
        return np.concatenate(boxes, axis=1)[:, : x1 - x0]

    return reduced(read, slide.size, small_size(slide.size, longest))


FINEST, COARSEST = 0.05, 20.0
"""Microns per pixel that are believed: photo software writes 72 or 96 dots per inch (353 and 265 microns) into anything."""
MICRONS = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "μm": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}
"""Units that OME-TIFF gives its pixel size in."""
MICRONS_OF_TAGS = {"inch": 25_400.0, "centimeter": 10_000.0}
"""Microns in the units that a TIFF gives its resolution in, as OpenSlide calls them."""
MICRONS_AT_ONCE = 10.0
"""Microns per pixel times the magnification of the objective, on most scanners: 0.5 at 20, 0.25 at 40."""
LIBRARIES = ("openslide", "tiffslide")

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


def proposed_mpp(properties: Mapping[str, Any]) -> tuple[float, str] | None:
    """Return the microns per pixel by a TIFF's resolution tags, else by the scanner's objective, and what it is from.

    OpenSlide takes neither for the scale of a scanner's file: software writes what it likes into the tags, and an objective
    says it only roughly. So it is worth a question, and no more.
    """
    for unit, wide, high, why in (_by_tags(properties), _by_objective(properties)):
        with contextlib.suppress(ValueError, ZeroDivisionError):
            x, y = unit / float(wide), unit / float(high)
            if FINEST <= x <= COARSEST and abs(x - y) <= 0.02 * x:
                return x, why
    return None


def _by_tags(properties: Mapping[str, Any]) -> tuple[float, str, str, str]:
    unit = MICRONS_OF_TAGS.get(str(properties.get("tiff.ResolutionUnit", "")).lower(), math.nan)
    wide, high = (str(properties.get(f"tiff.{axis}Resolution", "")) for axis in "XY")
    return unit, wide, high, "its resolution tags"


def _by_objective(properties: Mapping[str, Any]) -> tuple[float, str, str, str]:
    power = next(
        (str(properties[f"{one}.objective-power"]) for one in LIBRARIES if properties.get(f"{one}.objective-power")), ""
    )
    return MICRONS_AT_ONCE, power, power, f"its objective of {power}, on most scanners,"


def question(proposed: tuple[float, str] | None) -> str:
    """Return what a sentence that asks for the scale adds where something of the file gives an answer."""
    return "" if proposed is None else f"; {proposed[1]} would make it {proposed[0]:.4g}: give that if it is right"


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
