"""Whether a picture is the one that positions belong to: by its size, and by what a smaller copy of it shows."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bleep.data.slides import ArraySlide, PictureSlide, Pixels, PyramidSlide
from bleep.errors import DataError

ROUNDED = 2.0
"""Pixels by which the size of a small copy may be off, as it was rounded."""
SIDE = 64
"""Pixels along the longer side at which two pictures are compared."""
BETTER = 0.2
"""Gain in correlation that makes another way round the right one."""
UNLIKE = 0.5
"""Correlation of two pictures below which they may not show the same."""
MOST = 100_000_000
"""Pictures of more pixels are not decoded whole to be compared."""
WAYS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "mirrored left to right": lambda grey: grey[:, ::-1],
    "mirrored top to bottom": lambda grey: grey[::-1],
    "turned by 180 degrees": lambda grey: grey[::-1, ::-1],
    "turned by 90 degrees": lambda grey: np.rot90(grey),
    "turned by 270 degrees": lambda grey: np.rot90(grey, 3),
    "mirrored along a diagonal": lambda grey: grey.T,
    "mirrored along the other diagonal": lambda grey: grey[::-1, ::-1].T,
}

log = logging.getLogger(__name__)

Shown = PictureSlide | PyramidSlide | ArraySlide


class Known(NamedTuple):
    """A picture whose scale the files state."""

    name: str
    scale: float
    """Its pixels per full-resolution pixel."""
    slide: Shown


def check_own_pictures(pictures: Iterable[tuple[str, Path]], image: Path | None = None) -> None:
    """Refuse one picture for two sections, under one name or as a link.

    Args:
        pictures: name of the section and path of each; a section of ready-cut tiles has many.
        image: what `data.image` says, where it is by that setting that pictures are named.

    Raises:
        DataError: see above.

    """
    first: dict[str, str] = {}
    for name, path in pictures:
        other = first.setdefault(os.path.realpath(path), name)
        if other != name:
            told = f"data.image: {image}" if image is not None else f"{path}"
            way = "write {name} where the section's name stands in the path" if image is not None else "give each its own"
            raise DataError(f"{told} is the same picture for sections {other!r} and {name!r}; {way}")


def check_picture(section: str, name: str, slide: Shown, scale: float, known: Known) -> None:
    """Refuse a picture that is not what another, of stated scale, is a copy of.

    Raises:
        DataError: their sizes do not go together, or one is mirrored or turned against the other.

    """
    small = np.array(known.slide.size)
    expected = small * scale / known.scale
    room = ROUNDED * np.maximum(scale / known.scale, 1.0)
    if (np.abs(np.array(slide.size) - expected) > room + 0.002 * expected).any():
        raise DataError(
            f"section {section}: {name} has {slide.size[0]} x {slide.size[1]} pixels, but the positions belong to a picture of "
            f"{expected[0]:.0f} x {expected[1]:.0f}: so say the size of {known.name}, {small[0]} x {small[1]}, and its scale "
            f"of {known.scale / scale:.4g}; take that picture"
        )
    if not isinstance(slide, PyramidSlide) and slide.size[0] * slide.size[1] > MOST:
        return
    one, other = _grey(slide.thumbnail(SIDE)), _grey(known.slide.thumbnail(SIDE))
    alike = _correlation(one, other)
    turned = {way: _correlation(turn(one), other) for way, turn in WAYS.items()}
    best = max(turned, key=turned.__getitem__)
    if turned[best] > max(alike + BETTER, UNLIKE):
        raise DataError(
            f"section {section}: {name} looks like {known.name} {best}, but the positions are those of {known.name}: "
            "turn the picture back"
        )
    if alike < UNLIKE:
        log.warning(
            "section %s: %s hardly looks like %s (correlation %.2f): see that it has no border and is of this section",
            section, name, known.name, alike,
        )  # fmt: skip


def _grey(pixels: Pixels) -> np.ndarray:
    return np.asarray(pixels, dtype=np.float64).mean(axis=2)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return the correlation of two pictures of nearly one size; -1 where their sizes differ, 1 where nothing is shown."""
    if np.abs(np.array(one.shape) - other.shape).max() > 1:
        return -1.0
    high, wide = np.minimum(one.shape, other.shape)
    one, other = one[:high, :wide], other[:high, :wide]
    if one.std() == 0 or other.std() == 0:
        return 1.0
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
