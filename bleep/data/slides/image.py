"""Pictures that are decoded whole: image files that Pillow reads, and arrays."""

import contextlib
import hashlib
import importlib.util
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
from bleep.data.slides.base import Box, Pixels, Slide, file_digest, on_white, padded_array, reduced, small_size, stamp
from bleep.data.slides.tiff import called_grey, check_colours, clear, is_tiff, size_of
from bleep.errors import DataError
from bleep.files import check_file
from bleep.outputs import PICTURES

LIMIT: int = DataConfig().pixel_limit
"""Most pixels decoded when nothing else is asked for."""
DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
"""Modes of Pillow whose values it cuts off, not scales, on the way to 8 bits."""
TOO_LARGE = (
    "{path}: has more than the {limit} pixels that guard against damaged files; raise data.pixel_limit (--pixel-limit of bleep "
    "query) if the picture is really that large"
)
OVERSHOOT = 2.0
"""Largest number of a picture of numbers from 0 to 1, which resizing may have left beyond 1."""
FLIP = Image.Transpose
BACK = {
    2: FLIP.FLIP_LEFT_RIGHT,
    3: FLIP.ROTATE_180,
    4: FLIP.FLIP_TOP_BOTTOM,
    5: FLIP.TRANSPOSE,
    6: FLIP.ROTATE_90,
    7: FLIP.TRANSVERSE,
    8: FLIP.ROTATE_270,
}
"""What brings a TIFF that Pillow has turned by its orientation tag back to how it is stored."""
SWAPPED = (FLIP.TRANSPOSE, FLIP.ROTATE_90, FLIP.TRANSVERSE, FLIP.ROTATE_270)
KINDS = (
    (b"ZISRAWFILE", 0, "a Zeiss CZI file"),
    (b"DICM", 128, "a DICOM file of a kind that OpenSlide does not open"),
    (b"\x89HDF", 0, "an HDF5 file"),
    (b"%PDF", 0, "a PDF"),
    (b"PK\x03\x04", 0, "a zip archive"),
    (b"\x1f\x8b", 0, "packed by gzip"),
    (b"<svg", 0, "an SVG drawing"),
)
"""First bytes, where they stand, and what they make of a file."""


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
        if called_grey(path, _check_tiff(path)):
            size = size_of(path)
            if size[0] * size[1] > limit:
                raise DataError(TOO_LARGE.format(path=path, limit=limit))
            return cls(path, size, limit)
        with opened(path, limit) as image:
            size = image.size
            return cls(path, size[::-1] if _turn(image) in SWAPPED else size, limit)

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
        found = hashlib.sha256(str(self.pixels.shape).encode())
        found.update(np.ascontiguousarray(self.pixels).data)
        return found.hexdigest()

    def thumbnail(self, longest: int) -> Pixels:
        """Return the whole picture, `longest` pixels on its longer side, or at its own size where that is less."""
        return reduced(lambda x0, y0, x1, y1: self.pixels[y0:y1, x0:x1], self.size, small_size(self.size, longest))


def as_rgb(array: np.ndarray, what: str, ground: int = 255) -> Pixels:
    """Return a picture in memory as RGB: grey or colours, with transparency or without, as bytes or from 0 to 1.

    What is transparent becomes white, like the glass around tissue, or another `ground`. `what` begins an error's sentence.

    Raises:
        DataError: it has another number of channels, or values beyond these.

    """
    plain = array[..., None] if array.ndim == 2 else array
    if plain.ndim != 3 or plain.shape[2] not in (1, 2, 3, 4) or not np.issubdtype(plain.dtype, np.number):
        raise DataError(f"{what} has shape {array.shape} and kind {array.dtype}; expected height x width x 3")
    if plain.dtype != np.uint8:
        if not np.isfinite(plain).all() or plain.min() < 0 or plain.max() > 255:
            raise DataError(
                f"{what} holds values beyond 0 to 255 (kind {plain.dtype}, from {plain.min():g} to {plain.max():g}); expected "
                "0 to 1, or bytes: a picture of more bits, or of fluorescence, is not read"
            )
        # Resizing by cubic curves leaves values a little above 1; bytes of tissue are never all below 3.
        share = 255.0 if np.issubdtype(plain.dtype, np.floating) and plain.max() <= OVERSHOOT else 1.0
        plain = np.rint(np.minimum(plain * share, 255.0)).astype(np.uint8)
    values = plain.shape[2]
    colours = plain[..., :3] if values > 2 else np.repeat(plain[..., :1], 3, axis=2)
    return on_white(colours, plain[..., -1], ground=ground) if values in (2, 4) else np.ascontiguousarray(colours)


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


@lru_cache(maxsize=1)
def _load_formats() -> None:
    """Load what reads `PICTURES`; with one of them missing, Pillow would first load all that it has."""
    for plugin in PICTURES.values():
        importlib.import_module(f"PIL.{plugin}")


@contextlib.contextmanager
def opened(path: Path, limit: int = LIMIT) -> Iterator[Image.Image]:
    """Open an image file, its header read.

    Raises:
        DataError: the file is missing, is no image, or has more pixels than the limit.

    """
    try:
        with _limit_of(limit):
            check_file(path)
            _load_formats()
            image = Image.open(path, formats=tuple(PICTURES))
    except FileNotFoundError:
        raise DataError(f"{path}: no such image; expected the picture named there") from None
    except Image.DecompressionBombError:
        raise DataError(TOO_LARGE.format(path=path, limit=limit)) from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        if path.is_file() and (kind := _kind(path)):
            raise DataError(f"{path}: is {kind}, which is not read as a picture; export it as OME-TIFF, TIFF or PNG") from None
        raise DataError(f"{path}: cannot be read as an image ({type(error).__name__}); is the file whole?") from None
    with image:
        if image.mode in DEEP or _bits(path) > 8:
            raise DataError(
                f"{path}: holds values of more than 8 bits ({image.mode}); expected 8-bit RGB or grey: export it so"
            )
        yield image


def _bits(path: Path) -> int:
    """Return the bits of each value of a PNG, which Pillow cuts off to 8; 8 for files of another kind."""
    with path.open("rb") as file:
        head = file.read(25)
    return head[24] if len(head) == 25 and head.startswith(b"\x89PNG") else 8


def _kind(path: Path) -> str:
    """Return what a file that is no image is, by its first bytes; empty where they do not say."""
    with path.open("rb") as file:
        head = file.read(256)
    if head[:1] in (b"{", b"["):
        return "JSON, such as GeoJSON"
    return next((kind for start, at, kind in KINDS if head[at : at + len(start)] == start), "")


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


def pixels_of(path: Path, limit: int = LIMIT, least: tuple[int, int] | None = None, ground: int = 255) -> Pixels:
    """Decode a whole picture as RGB; with `least`, a JPEG is halved while decoded, as often as leaves that width and height.

    What is transparent shows the `ground`: white, or 0, black.

    Raises:
        DataError: as `opened`, or the file is damaged.

    """
    axes = _check_tiff(path)
    if called_grey(path, axes):
        return _joined(path, ground)
    with opened(path, limit) as image:
        try:
            with _limit_of(limit):
                if axes in ("CYX", "SYX"):
                    return _joined(path, ground)
                if least is not None:
                    image.draft(None, least)
                # Pillow turns a TIFF as its tag says; positions belong to the picture as it is stored.
                back = _turn(image)
                found = _as_rgb(image, ground)
                return np.asarray(Image.fromarray(found).transpose(back)) if back is not None else found
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{path}: the image is damaged or cut short ({error}); fetch or export it again") from None


def _as_rgb(image: Image.Image, ground: int) -> Pixels:
    if image.has_transparency_data:
        found = np.asarray(image.convert("RGBA"))
        return on_white(found[..., :3], found[..., 3], ground=ground)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return what undoes Pillow's turning of a TIFF; none where it does not turn it."""
    return BACK.get(image.getexif().get(274, 1)) if image.format == "TIFF" else None


def _check_tiff(path: Path) -> str:
    """Return the order of a TIFF's axes, as tifffile names them; empty for files of another kind.

    Raises:
        DataError: its pixels are no 8-bit colours or greys, or it holds several layers.

    """
    if importlib.util.find_spec("tifffile") is None or not is_tiff(path):
        return ""
    with clear(path):
        return check_colours(path, decoded=True)


def _joined(path: Path, ground: int) -> Pixels:
    """Return a TIFF that holds red, green and blue in a way that Pillow does not know."""
    import tifffile

    with clear(path), tifffile.TiffFile(path) as file:
        series = file.series[0]
        values = series.asarray() if series.axes == "YXS" else np.moveaxis(series.asarray(), 0, -1)
        return as_rgb(values, str(path), ground)


HELD = 32
"""Pictures that a process holds decoded."""


def hold_decoded(slides: tuple[Slide, ...]) -> bool:
    """Decode the pictures that are decoded whole, for processes to come that share this one's memory; false: too many.

    Raises:
        DataError: a picture is damaged.

    """
    pictures = [slide for slide in slides if isinstance(slide, PictureSlide)]
    if len(pictures) > HELD:
        return False
    for slide in pictures:
        _decode(slide.path, slide.limit, stamp(slide.path))
    return True


@lru_cache(maxsize=HELD)
def _decode(path: Path, limit: int, stamp: tuple[int, int]) -> Pixels:
    return pixels_of(path, limit)
