"""Pictures of tissue, read by region: slide files, pictures, folders of ready-cut tiles laid out as one, arrays."""

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Int

from bleep.config import PaddingName
from bleep.data.slides.base import PADDINGS, Box, Pixels, Slide, file_digest, padded_array, reduced, small_size
from bleep.data.slides.image import (
    LIMIT,
    ArraySlide,
    MosaicSlide,
    PictureSlide,
    as_rgb,
    jpeg_bytes,
    opened,
    pixels_of,
    resize,
    save_jpeg,
    save_png,
)
from bleep.data.slides.pyramid import SCANNERS, TIFF, PyramidSlide, scanner_of, series_of
from bleep.data.slides.tiff import TURNED, check_colours, clear, is_tiff, is_tiled, photometric_of
from bleep.errors import DataError
from bleep.find import inside

__all__ = [
    "PADDINGS",
    "PICTURES",
    "SUFFIXES",
    "ArraySlide",
    "Box",
    "MosaicSlide",
    "PictureSlide",
    "Pixels",
    "PyramidSlide",
    "Slide",
    "as_rgb",
    "is_slide",
    "jpeg_bytes",
    "open_slide",
    "pixels_of",
    "resize",
    "save_jpeg",
    "save_png",
    "slide_files",
]


PICTURES = (".jpg", ".jpeg", ".png")
SUFFIXES = (*SCANNERS, *TIFF, *PICTURES)
"""Endings of the files of a folder that are taken for slides; others are looked into."""
TABLES = (".csv", ".tsv", ".txt", ".json", ".md", ".h5ad", ".h5", ".gz", ".xml")
"""Endings of files that are not."""


def open_slide(path: Path, limit: int = LIMIT) -> PictureSlide | PyramidSlide:
    """Open a picture: by region where the file allows that and the extra `wsi` is installed, else to be decoded whole.

    Raises:
        DataError: the file is missing or damaged, is to be decoded whole and has more pixels than the limit, or only the
            extra `wsi` reads it.

    """
    by_region, ending = importlib.util.find_spec("tifffile") is not None, path.suffix.lower()
    if scanner_of(path) or (ending in SCANNERS and not (by_region and is_tiff(path))):
        return PyramidSlide.open(path)
    # A file that is called TIFF and is none is said to be a damaged slide.
    if not by_region or not (is_tiff(path) or ending in TIFF):
        return PictureSlide.open(path, limit)
    with clear(path):
        whole = not is_tiled(path) or check_colours(path, decoded=True) == "SYX" or photometric_of(path) in TURNED
    return PictureSlide.open(path, limit) if whole else PyramidSlide.open(path)


def slide_files(root: Path) -> dict[str, Path]:
    """Return the slide files of a folder, or the one file named, by the name of the section of each.

    Raises:
        DataError: there is none, or two would have one name.

    """
    found = [path for path in inside(root) if path.is_file()] if root.is_dir() else [root]
    slides = [path for path in found if path == root or is_slide(path)]
    if not slides:
        raise DataError(f"{root}: holds no slide; expected files ending in {', '.join(SUFFIXES)}")
    paths: dict[str, Path] = {}
    series: set[str] = set()
    for path in slides:
        # A DICOM slide is several files, one a level; any of them opens it.
        own = series_of(path) if path.suffix.lower() in ("", ".dcm") else ""
        if own in series:
            continue
        series |= {own} - {""}
        name = path.stem.removesuffix(".ome")
        if name in paths:
            raise DataError(f"{root}: {paths[name].name} and {path.name} would both be section {name!r}; rename one")
        paths[name] = path
    return paths


def is_slide(path: Path) -> bool:
    """Return whether a file of a folder is a slide: by its ending, else by what OpenSlide finds in it."""
    return path.suffix.lower() in SUFFIXES or (path.suffix.lower() not in TABLES and bool(scanner_of(path)))


WHITE = 255
"""What is painted where no patch lies."""


@final
@dataclass(frozen=True, slots=True)
class PatchSlide:
    """Picture files that each are a part of one slide, at known places; glass where none lies.

    Patches need not be of one size: those cut at a slide's edge are smaller.
    """

    paths: tuple[Path, ...]
    corners: tuple[tuple[int, int], ...]
    """Left and top of each patch, in pixels of the slide."""
    sizes: tuple[tuple[int, int], ...]
    """Width and height of each patch."""
    whole: tuple[int, int]
    """Width and height of a patch that is not cut: the usual one."""

    @classmethod
    def open(cls, paths: Sequence[Path], corners: Sequence[tuple[int, int]] | None) -> "PatchSlide":
        """Read the headers; without `corners`, patches are laid so far apart that no window shows two.

        Raises:
            DataError: a file is missing or is no image, or two patches lie at one place.

        """
        sizes = []
        for path in paths:
            with opened(path) as image:
                sizes.append(image.size)
        values, counts = np.unique(np.array(sizes), axis=0, return_counts=True)
        whole = (int(values[counts.argmax()][0]), int(values[counts.argmax()][1]))
        if corners is None:
            step = 4 * max(max(size) for size in sizes)
            corners = [(number * step, 0) for number in range(len(paths))]
        first: dict[tuple[int, int], Path] = {}
        for path, corner in zip(paths, corners, strict=True):
            if corner in first:
                raise DataError(f"{path}: lies where {first[corner].name} lies, at x {corner[0]}, y {corner[1]}; remove one")
            first[corner] = path
        return cls(tuple(paths), tuple(corners), tuple(sizes), whole)

    @property
    def size(self) -> tuple[int, int]:
        left, top, right, bottom = _boxes(self.corners, self.sizes).T
        wide, high = self.whole
        return int(max(right.max(), left.max() + wide)), int(max(bottom.max(), top.max() + high))

    def centres(self) -> np.ndarray:
        """Return the centre of each patch, Float64[patches 2], x first; a smaller one counts as if it were whole."""
        corners, sizes = np.array(self.corners, float), np.array(self.sizes, float)
        smaller = (sizes <= np.array(self.whole)).all(axis=1, keepdims=True)
        return corners + np.where(smaller, np.array(self.whole, float), sizes) / 2

    def region(self, left: int, top: int, side: int, padding: PaddingName, pixels: int = 0) -> Box:
        boxes = _boxes(self.corners, self.sizes)
        inside = (boxes[:, 0] < left + side) & (boxes[:, 2] > left) & (boxes[:, 1] < top + side) & (boxes[:, 3] > top)
        shown = np.flatnonzero(inside)
        if len(shown) == 1:
            # A patch alone: the padding rule says what is beyond it, as for any other picture.
            row = int(shown[0])
            return padded_array(self._patch(row), left - self.corners[row][0], top - self.corners[row][1], side, padding)
        box = np.full((side, side, 3), WHITE, np.uint8)
        for row in map(int, shown):
            x, y, right, bottom = (int(value) for value in boxes[row])
            patch = self._patch(row)
            x0, y0, x1, y1 = max(x, left), max(y, top), min(right, left + side), min(bottom, top + side)
            box[y0 - top : y1 - top, x0 - left : x1 - left] = patch[y0 - y : y1 - y, x0 - x : x1 - x]
        return box

    def digest(self) -> str:
        joined = hashlib.sha256()
        for path, corner in zip(self.paths, self.corners, strict=True):
            joined.update(f"{file_digest(path)} {corner}".encode())
        return joined.hexdigest()

    def thumbnail(self, longest: int) -> Pixels:
        """Return all patches at their places, `longest` pixels on the longer side, or at their own size where that is less."""
        width, height = self.size
        pixels = np.full((height, width, 3), WHITE, np.uint8)
        for row, (x, y) in enumerate(self.corners):
            patch = self._patch(row)
            pixels[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
        return reduced(lambda x0, y0, x1, y1: pixels[y0:y1, x0:x1], self.size, small_size(self.size, longest))

    def _patch(self, row: int) -> Pixels:
        patch = _decoded(self.paths[row])
        if (patch.shape[1], patch.shape[0]) != self.sizes[row]:
            raise DataError(f"{self.paths[row]}: is no longer of the size it had when it was opened; read it anew")
        return patch


@lru_cache(maxsize=64)
def _boxes(corners: tuple[tuple[int, int], ...], sizes: tuple[tuple[int, int], ...]) -> Int[np.ndarray, "patches 4"]:
    """Return left, top, right and bottom of each patch."""
    low = np.array(corners, np.int64)
    return np.concatenate([low, low + np.array(sizes, np.int64)], axis=1)


@lru_cache(maxsize=1024)
def _decoded(path: Path) -> Pixels:
    return pixels_of(path)
