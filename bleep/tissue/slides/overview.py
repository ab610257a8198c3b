"""A whole picture made small, read in bands, so that memory does not grow with it."""

import math

import numpy as np
from PIL import Image

from bleep.tissue.slides.base import Pixels, Read

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
