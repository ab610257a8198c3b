"""Where in a tile a prediction looks: squares of it are hidden one after another, and each version is predicted anew.

The method is Zeiler and Fergus's (ECCV 2014). It tells what the model is sensitive to, and not what causes expression.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64

from bleep.config import PaddingName
from bleep.data.section import Section
from bleep.data.slides import Box, Slide
from bleep.data.tiles import Tiles
from bleep.errors import ConfigError
from bleep.predictors.base import Predictor

GRID = 7
"""Squares along a side; an odd number puts one in the middle, on the spot."""

Square = tuple[int, int, int, int]
"""Left, top, right and bottom in level-0 pixels."""


@final
@dataclass(frozen=True, slots=True)
class Occlusion:
    """What hiding each square of a tile changes."""

    id: str
    """`section/spot` of the tile."""
    genes: tuple[str, ...]
    whole: Float32[np.ndarray, " genes"]
    """What is predicted of the tile as it is."""
    change: Float32[np.ndarray, "grid grid genes"]
    """By row and column of the square, what it adds: the prediction with it less the prediction with it hidden."""
    microns: float
    """Side of the squares together: the tile's widest window."""
    scale: str
    """What the values are, in words."""
    predictor: str
    """What predicted."""


def occlusion(predictor: Predictor, tiles: Tiles, row: int, grid: int = GRID) -> Occlusion:
    """Hide squares of one tile by the mean colour of its widest window, in every window that shows them, and predict each.

    The rest of the section is as it was: features that are standardised by section, or stains that are brought to the
    training tiles', go by the whole section. The versions' features go into the run's cache as those of any tiles do.

    Raises:
        ConfigError: the grid has no square, or squares of less than a pixel.

    """
    alone, at = tiles.of_row(row)
    (section,) = alone.sections
    widest = max(alone.spec.microns)
    side = max(round(widest / section.mpp), 1)
    if not 1 <= grid <= side:
        raise ConfigError(f"a grid of {grid} squares a side was asked for; expected 1 to {side}, the pixels of the tile")
    window = alone.read(at)[alone.spec.microns.index(widest)]
    red, green, blue = window.mean(axis=(1, 2)).round().astype(int).tolist()
    nothing = (0, 0, 0, 0)
    hidden = _Hidden(section.slide, (nothing, *_squares(section.xy[at], side, grid)), (red, green, blue))
    places = np.tile(section.xy[at], (len(hidden.squares), 1))
    made = _section(section, hidden, at)
    versions = replace(alone, sections=(made,), whole=alone.whole or (section,), xy_in_whole=(places,))
    prediction = predictor.predict(versions)
    whole, others = prediction.expression[0], prediction.expression[1:]
    change = (whole - others).reshape(grid, grid, len(whole))
    return Occlusion(alone.ids[at], prediction.genes, whole, change, widest, prediction.scale, prediction.predictor)


def _squares(centre: Float64[np.ndarray, " 2"], side: int, grid: int) -> list[Square]:
    """Return the squares row by row, whole pixels wide, none over another."""
    edges = np.round(np.linspace(0, side, grid + 1)).astype(int)
    left, top = (round(middle - side / 2) for middle in centre.tolist())
    columns = list(zip((left + edges[:-1]).tolist(), (left + edges[1:]).tolist(), strict=True))
    rows = list(zip((top + edges[:-1]).tolist(), (top + edges[1:]).tolist(), strict=True))
    return [(x0, y0, x1, y1) for y0, y1 in rows for x0, x1 in columns]


@final
@dataclass(frozen=True, slots=True)
class _Hidden:
    """A slide several times side by side, in each a square painted over."""

    slide: Slide
    squares: tuple[Square, ...]
    colour: tuple[int, int, int]

    @property
    def size(self) -> tuple[int, int]:
        return self.stride * len(self.squares), self.slide.size[1]

    @property
    def stride(self) -> int:
        """From a version to the next, with a seam on either side; an even number, so that halves of pixels round alike."""
        return 2 * (self.slide.size[0] // 2) + 6

    def start(self, version: int) -> int:
        """Return where a version begins."""
        return version * self.stride + 2

    def region(self, left: int, top: int, side: int, padding: PaddingName, pixels: int = 0) -> Box:
        version = min(max(int((left + side / 2) // self.stride), 0), len(self.squares) - 1)
        left -= self.start(version)
        box = self.slide.region(left, top, side, padding, pixels).copy()
        scale = len(box) / side
        x0, y0, x1, y1 = self.squares[version]
        across, down = (
            slice(*(min(max(round((edge - first) * scale), 0), len(box)) for edge in edges))
            for edges, first in (((x0, x1), left), ((y0, y1), top))
        )
        box[down, across] = self.colour
        return box

    def digest(self) -> str:
        parts = [self.slide.digest(), self.squares, self.colour]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _section(section: Section, hidden: _Hidden, row: int) -> Section:
    """Return one spot of a section once a version, nothing measured there."""
    from anndata import AnnData

    names = [f"{section.counts.obs_names[row]}.{version}" for version in range(len(hidden.squares))]
    counts = AnnData(np.zeros((len(names), 0), np.float32), obs=pd.DataFrame(index=names))
    x, y = section.xy[row]
    xy = np.array([(x + hidden.start(version), y) for version in range(len(names))], np.float64)
    return Section(section.name, section.patient, section.species, hidden, counts, xy, section.mpp)
