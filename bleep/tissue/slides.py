"""Pictures of tissue, read by region: a slide image, a folder of ready-cut tiles laid out as one, or an array."""

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from bleep.errors import DataError
from bleep.settings import PaddingName

Pixels = UInt8[np.ndarray, "height width 3"]
Box = UInt8[np.ndarray, "side side 3"]


@runtime_checkable
class Slide(Protocol):
    """A picture that gives any box of itself; coordinates are level-0 pixels, x first."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        ...

    def region(self, left: int, top: int, side: int, padding: PaddingName) -> Box:
        """Return the box, painted by the padding rule where it leaves the picture."""
        ...

    def digest(self) -> str:
        """Return the sha256 of what the picture shows."""
        ...


@final
@dataclass(frozen=True, slots=True)
class PictureSlide:
    """One image file that Pillow reads, decoded at the first region asked for, once per process."""

    path: Path
    size: tuple[int, int]

    @classmethod
    def open(cls, path: Path) -> "PictureSlide":
        """Read the header alone.

        Raises:
            DataError: the file is missing, is no image, or is larger than Pillow's decompression limit.

        """
        with _opened(path) as image:
            return cls(path, image.size)

    def region(self, left: int, top: int, side: int, padding: PaddingName) -> Box:
        return _box(_decode(self.path), left, top, side, padding)

    def digest(self) -> str:
        return _file_digest(self.path)


@final
@dataclass(frozen=True, slots=True)
class ArraySlide:
    """A picture that is already in memory."""

    pixels: Pixels

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[1], self.pixels.shape[0]

    def region(self, left: int, top: int, side: int, padding: PaddingName) -> Box:
        return _box(self.pixels, left, top, side, padding)

    def digest(self) -> str:
        return hashlib.sha256(str(self.pixels.shape).encode() + self.pixels.tobytes()).hexdigest()


@final
@dataclass(frozen=True, slots=True)
class MosaicSlide:
    """Ready-cut tiles of one size, seen as a slide one tile high: tile i lies at x from i * side to (i + 1) * side.

    So a spot of the contest form has coordinates like any other, and every later stage treats it alike. A box never
    shows a neighbouring tile: what lies beyond its own tile is padded.
    """

    paths: tuple[Path, ...]
    side: int

    @classmethod
    def open(cls, paths: tuple[Path, ...]) -> "MosaicSlide":
        """Check that every tile is a readable square image of the same size.

        Raises:
            DataError: a tile is missing, is no image, is not square, or differs in size from the first.

        """
        side = 0
        for path in paths:
            with _opened(path) as image:
                width, height = image.size
            side = side or width
            if width != height or width != side:
                raise DataError(f"{path}: is {width} x {height} pixels; expected a square tile of {side} like the others")
        return cls(paths, side)

    @property
    def size(self) -> tuple[int, int]:
        return self.side * len(self.paths), self.side

    def centres(self) -> np.ndarray:
        """Return the centre of each tile, Float64[tiles 2], x first."""
        x = (np.arange(len(self.paths)) + 0.5) * self.side
        return np.stack([x, np.full_like(x, self.side / 2)], axis=1)

    def region(self, left: int, top: int, side: int, padding: PaddingName) -> Box:
        row = int(np.clip((left + side / 2) // self.side, 0, len(self.paths) - 1))
        tile = _decode_tile(self.paths[row])
        if tile.shape[:2] != (self.side, self.side):
            raise DataError(f"{self.paths[row]}: is no longer {self.side} pixels wide as when it was opened; read it anew")
        return _box(tile, left - row * self.side, top, side, padding)

    def digest(self) -> str:
        joined = hashlib.sha256()
        for path in self.paths:
            joined.update(_file_digest(path).encode())
        return joined.hexdigest()


def save_png(pixels: Pixels, path: Path) -> None:
    """Write a picture as PNG."""
    Image.fromarray(pixels).save(path, format="PNG")


def save_jpeg(pixels: Pixels, path: Path) -> None:
    """Write a picture as JPEG of high quality, colours not subsampled."""
    Image.fromarray(pixels).save(path, format="JPEG", quality=95, subsampling=0)


def resize(pixels: Pixels, side: int) -> Box:
    """Resize a square picture (Pillow's antialiased bicubic); one of that size already is returned as it is."""
    if pixels.shape[0] == side:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


def _white(pixels: Pixels, around: Any) -> Box:
    return np.pad(pixels, around, mode="constant", constant_values=255)


PADDINGS: Mapping[PaddingName, Callable[[Pixels, Any], Box]] = {
    "white": _white,
    "edge": lambda pixels, around: np.pad(pixels, around, mode="edge"),
    "reflect": lambda pixels, around: np.pad(pixels, around, mode="symmetric"),
}


def _box(pixels: Pixels, left: int, top: int, side: int, padding: PaddingName) -> Box:
    height, width = pixels.shape[:2]
    right, bottom = left + side, top + side
    inside = pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if inside.shape[:2] == (side, side):
        return np.ascontiguousarray(inside)
    if inside.size == 0:
        raise DataError(f"a box of {side} pixels at ({left}, {top}) lies wholly outside a picture of {width} x {height}")
    beyond = ((max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0)), (0, 0))
    return PADDINGS[padding](inside, beyond)


def _opened(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Slides are large by nature: Pillow's warning is dropped, its error at twice that size stands.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such image; expected the picture named there") from None
    except Image.DecompressionBombError:
        limit = int(Image.MAX_IMAGE_PIXELS or 0) * 2
        raise DataError(f"{path}: has more pixels than the limit of {limit} that guards against damaged files") from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(f"{path}: cannot be read as an image ({type(error).__name__}); is the file whole?") from None


def _pixels(path: Path) -> Pixels:
    with _opened(path) as image:
        try:
            return np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{path}: the image is damaged or cut short ({error}); fetch or export it again") from None


@lru_cache(maxsize=8)
def _decode(path: Path) -> Pixels:
    return _pixels(path)


@lru_cache(maxsize=256)
def _decode_tile(path: Path) -> Pixels:
    return _pixels(path)


def _file_digest(path: Path) -> str:
    status = path.stat()
    return _digest_of(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=65536)
def _digest_of(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
