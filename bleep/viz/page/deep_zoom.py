"""A slide as tiles of JPEG at halving scales, in a folder beside a page: the map reads the few that it shows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from bleep.data.slides import Pixels, Slide, jpeg_bytes, resize
from bleep.files import whole, write_json
from bleep.outputs import KEY, MARK, TILES
from bleep.progress import Progress

SIDE = 512
"""Pixels of a tile; those at the right and the lower edge are smaller."""
FINEST = 40_000
"""Pixels of the longer side at the finest scale, at most: a slide scanned finer is shown at half, or a quarter, of that."""


@final
@dataclass(frozen=True, slots=True)
class DeepZoom:
    """The scales at which a slide of this size is written, the finest first."""

    size: tuple[int, int]

    @property
    def downs(self) -> list[int]:
        """Level-0 pixels that a pixel of each scale is wide; at the last one the slide is a single tile."""
        first = 1 << max(math.ceil(math.log2(max(self.size) / FINEST)), 0)
        count = max(math.ceil(math.log2(max(self.size) / (first * SIDE))), 0) + 1
        return [first << number for number in range(count)]

    def grid(self, down: int) -> tuple[int, int]:
        """Return how many columns and rows of tiles a scale has."""
        width, height = self.size
        return math.ceil(width / (down * SIDE)), math.ceil(height / (down * SIDE))

    def facts(self) -> list[dict[str, int]]:
        """Return what whoever reads the tiles must know of each scale; its folder is called as its `down`."""
        grids = [(down, *self.grid(down)) for down in self.downs]
        return [{"name": down, "down": down, "columns": columns, "rows": rows} for down, columns, rows in grids]


def tiles_folder(page: Path) -> Path:
    """Return where the tiles of a page lie: beside it, for `page.html` in `page_tiles`."""
    return page.with_name(f"{page.stem}_tiles")


def write_tiles(slides: Mapping[int, Slide], folder: Path) -> None:
    """Write slides as `NUMBER/DOWN/ROW_COLUMN.jpg`, whole or not at all; what is there is replaced.

    Each pixel is read once, tile by tile, and coarser scales are the means of finer ones. So no more is in memory than four
    tiles of each scale, and a slide without scales of its own does no harm.

    Raises:
        DataError: the place cannot be written to, or a slide is damaged.

    """
    plans = {number: DeepZoom(slide.size) for number, slide in slides.items()}
    finest = sum(math.prod(plan.grid(plan.downs[0])) for plan in plans.values())
    with (
        whole(folder) as temporary,
        Progress(total=finest, desc="tiles for the page", unit="tile", leave=False, delay=2) as bar,
    ):
        temporary.mkdir()
        for number, slide in slides.items():
            _Writer(slide, plans[number], temporary / str(number), bar).write(len(plans[number].downs) - 1, 0, 0)
        mark = {KEY: MARK, "side": SIDE, "slides": {str(number): plan.facts() for number, plan in plans.items()}}
        write_json(temporary / TILES, mark)


@final
class _Writer:
    """One slide on its way to tiles."""

    def __init__(self, slide: Slide, plan: DeepZoom, folder: Path, bar: Progress) -> None:
        self.slide, self.plan, self.folder, self.bar = slide, plan, folder, bar
        for down in plan.downs:
            (folder / str(down)).mkdir(parents=True)

    def write(self, scale: int, row: int, column: int) -> Pixels:
        """Write a tile and all finer ones of the same place, and return it."""
        down = self.plan.downs[scale]
        pixels = self._halved(scale, row, column) if scale else self._read(down, row, column)
        (self.folder / str(down) / f"{row}_{column}.jpg").write_bytes(jpeg_bytes(pixels))
        return pixels

    def _halved(self, scale: int, row: int, column: int) -> Pixels:
        columns, rows = self.plan.grid(self.plan.downs[scale - 1])
        lines = [
            np.concatenate([self.write(scale - 1, y, x) for x in range(2 * column, min(2 * column + 2, columns))], axis=1)
            for y in range(2 * row, min(2 * row + 2, rows))
        ]
        pixels = np.concatenate(lines)
        pixels = np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), mode="edge").astype(np.uint16)
        total = pixels[::2, ::2] + pixels[1::2, ::2] + pixels[::2, 1::2] + pixels[1::2, 1::2]
        return ((total + 2) // 4).astype(np.uint8)

    def _read(self, down: int, row: int, column: int) -> Pixels:
        wide, high = (math.ceil(side / down) - at * SIDE for side, at in zip(self.slide.size, (column, row), strict=True))
        box = self.slide.region(column * SIDE * down, row * SIDE * down, SIDE * down, "white", SIDE)
        self.bar.update()
        return resize(box, SIDE)[:high, :wide]
