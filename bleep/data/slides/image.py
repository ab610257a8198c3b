"""Pictures that are decoded whole: image files that Pillow reads, arrays, and ready-cut tiles laid out as one slide."""

import contextlib
import hashlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import final

import numpy as np
from PIL import Image, UnidentifiedImageError

from bleep.config import DataConfig, PaddingName
from bleep.data.slides.base import Box, Pixels, file_digest, padded_array, reduced, small_size, stamp
from bleep.errors import DataError

LIMIT: int = DataConfig().pixel_limit
"""Most pixels decoded when nothing else is asked for."""
DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
"""Modes of Pillow whose values it cuts off, not scales, on the way to 8 bits."""


@final
@dataclass(frozen=True, slots=True)
class PictureSlide:
    """One image file that Pillow reads, decoded at the first region asked for, once per process."""

    path: Path
    size: tuple[int, int]
    limit: int = LIMIT
    """Refused with more pixels than this."""

    @classmethod
    def open(cls, path: Path, limit: int = LIMIT) -> "PictureSlide":
        """Read the header alone.

        Raises:
            DataError: the file is missing, is no image, or has more pixels than the limit.

        """
        with opened(path, limit) as image:
            return cls(path, image.size, limit)

    def region(self, left: int, top: int, side: int, padding: PaddingName, pixels: int = 0) -> Box:
        return padded_array(_decode(self.path, self.limit, stamp(self.path)), left, top, side, padding)

    def digest(self) -> str:
        return file_digest(self.path)

    def thumbnail(self, longest: int) -> Pixels:
        """Return the whole picture, `longest` pixels on its longer side, or at its own size where that is less.

        A JPEG is decoded no finer than needed, so that a large one takes little memory.
        """
        small = small_size(self.size, longest)
        pixels = pixels_of(self.path, self.limit, small)
        return reduced(lambda x0, y0, x1, y1: pixels[y0:y1, x0:x1], (pixels.shape[1], pixels.shape[0]), small)


@final
@dataclass(frozen=True, slots=True)
class ArraySlide:
    """A picture that is already in memory."""

    pixels: Pixels

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[1], self.pixels.shape[0]

    def region(self, left: int, top: int, side: int, padding: PaddingName, pixels: int = 0) -> Box:
        return padded_array(self.pixels, left, top, side, padding)

    def digest(self) -> str:
        return hashlib.sha256(str(self.pixels.shape).encode() + self.pixels.tobytes()).hexdigest()

    def thumbnail(self, longest: int) -> Pixels:
        """Return the whole picture, `longest` pixels on its longer side, or at its own size where that is less."""
        return reduced(lambda x0, y0, x1, y1: self.pixels[y0:y1, x0:x1], self.size, small_size(self.size, longest))


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
            with opened(path) as image:
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

    def region(self, left: int, top: int, side: int, padding: PaddingName, pixels: int = 0) -> Box:
        row = int(np.clip((left + side / 2) // self.side, 0, len(self.paths) - 1))
        tile = _decode_tile(self.paths[row])
        if tile.shape[:2] != (self.side, self.side):
            raise DataError(f"{self.paths[row]}: is no longer {self.side} pixels wide as when it was opened; read it anew")
        return padded_array(tile, left - row * self.side, top, side, padding)

    def digest(self) -> str:
        joined = hashlib.sha256()
        for path in self.paths:
            joined.update(file_digest(path).encode())
        return joined.hexdigest()


def save_png(pixels: Pixels, path: Path) -> None:
    """Write a picture as PNG."""
    Image.fromarray(pixels).save(path, format="PNG")


def save_jpeg(pixels: Pixels, path: Path) -> None:
    """Write a picture as JPEG of high quality, colours not subsampled."""
    Image.fromarray(pixels).save(path, format="JPEG", quality=95, subsampling=0)


def jpeg_bytes(pixels: Pixels, quality: int = 80) -> bytes:
    """Return a picture as a JPEG file, for places where it is looked at and no longer measured."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def resize(pixels: Pixels, side: int) -> Box:
    """Resize a square picture (Pillow's antialiased bicubic); one of that size already is returned as it is."""
    if pixels.shape[0] == side:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


@contextlib.contextmanager
def opened(path: Path, limit: int = LIMIT) -> Iterator[Image.Image]:
    """Open an image file, its header read.

    Raises:
        DataError: the file is missing, is no image, or has more pixels than the limit.

    """
    try:
        with _limit_of(limit):
            image = Image.open(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such image; expected the picture named there") from None
    except Image.DecompressionBombError:
        raise DataError(
            f"{path}: has more than the {limit} pixels that guard against damaged files; "
            "raise data.pixel_limit (--pixel-limit of bleep query) if the picture is really that large"
        ) from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as an image ({type(error).__name__}); is the file whole?") from None
    with image:
        if image.mode in DEEP:
            raise DataError(
                f"{path}: holds values of more than 8 bits ({image.mode}); expected 8-bit RGB or grey: export it so"
            )
        yield image


@contextlib.contextmanager
def _limit_of(limit: int) -> Iterator[None]:
    """Let Pillow refuse pictures above the limit; it warns, silenced here, at its own number and refuses at twice that."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, (limit + 1) // 2
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def pixels_of(path: Path, limit: int = LIMIT, least: tuple[int, int] | None = None) -> Pixels:
    """Decode a whole picture as RGB; with `least`, a JPEG is halved while decoded, as often as leaves that width and height.

    Raises:
        DataError: as `opened`, or the file is damaged.

    """
    with opened(path, limit) as image:
        try:
            with _limit_of(limit):
                if least is not None:
                    image.draft(None, least)
                return np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{path}: the image is damaged or cut short ({error}); fetch or export it again") from None


@lru_cache(maxsize=32)
def _decode(path: Path, limit: int, stamp: tuple[int, int]) -> Pixels:
    return pixels_of(path, limit)


@lru_cache(maxsize=256)
def _decode_tile(path: Path) -> Pixels:
    return pixels_of(path)
