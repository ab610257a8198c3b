"""Ready-cut tiles, and patches of one slide, seen as a slide."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Int

from bleep.config import PaddingName
from bleep.data.slides.base import Box, Pixels, file_digest, padded_array, reduced, small_size, stamp
from bleep.data.slides.image import opened, pixels_of
from bleep.errors import DataError


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
        tile = _decode_tile(self.paths[row], stamp(self.paths[row]))
        if tile.shape[:2] != (self.side, self.side):
            raise DataError(f"{self.paths[row]}: is no longer {self.side} pixels wide as when it was opened; read it anew")
        return padded_array(tile, left - row * self.side, top, side, padding)

    def digest(self) -> str:
        joined = hashlib.sha256()
        for path in self.paths:
            joined.update(file_digest(path).encode())
        return joined.hexdigest()


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
        patch = _decoded(self.paths[row], stamp(self.paths[row]))
        if (patch.shape[1], patch.shape[0]) != self.sizes[row]:
            raise DataError(f"{self.paths[row]}: is no longer of the size it had when it was opened; read it anew")
        return patch


@lru_cache(maxsize=64)
def _boxes(corners: tuple[tuple[int, int], ...], sizes: tuple[tuple[int, int], ...]) -> Int[np.ndarray, "patches 4"]:
    """Return left, top, right and bottom of each patch."""
    low = np.array(corners, np.int64)
    return np.concatenate([low, low + np.array(sizes, np.int64)], axis=1)


@lru_cache(maxsize=1024)
def _decoded(path: Path, stamp: tuple[int, int]) -> Pixels:
    return pixels_of(path)


@lru_cache(maxsize=256)
def _decode_tile(path: Path, stamp: tuple[int, int]) -> Pixels:
    return pixels_of(path)
