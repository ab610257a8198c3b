"""What is on a page: a table, sections to look at, and the words around them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float, Float32, Int64, UInt8

from bleep.data.slides import Pixels, Slide, jpeg_bytes, resize
from bleep.errors import MismatchError
from bleep.files import whole, write_json
from bleep.marks import KEY, MARK, TILES
from bleep.progress import Progress


@final
@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    heading: str
    meaning: str = ""
    """In a sentence; shown when the heading is pointed at."""


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: as it is read, and what it is sorted by."""

    text: str
    value: float | str
    """Not a number is sorted below all numbers."""


@final
@dataclass(frozen=True, slots=True)
class Grid:
    """A table that the reader can sort.

    Raises:
        MismatchError: a row is not as long as the headings.

    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise MismatchError(f"a table row has {len(row)} cells under {len(self.columns)} headings")


@final
@dataclass(frozen=True, slots=True)
class Nearest:
    """The measured spots that a prediction was made from."""

    names: tuple[str, ...]
    """`section/spot` of every reference spot that is anybody's neighbour."""
    rows: Int64[np.ndarray, "spots k"]
    """Which of them each tile used, best first."""
    similarity: Float32[np.ndarray, "spots k"]
    weight: Float32[np.ndarray, "spots k"]


@final
@dataclass(frozen=True, slots=True)
class TissueView:
    """One section: its picture, its spots, and a table of values for each thing that can be shown.

    Raises:
        MismatchError: a layer is not of as many spots as there are places.

    """

    section: str
    picture: UInt8[np.ndarray, "height width 3"]
    size: tuple[float, float]
    """Width and height that the picture stands for, in level-0 pixels."""
    xy: Float[np.ndarray, "spots 2"]
    """Where the spots are, in level-0 pixels, x first."""
    radius: float
    """Of a spot as it is drawn, in level-0 pixels."""
    ids: tuple[str, ...]
    predicted: Float32[np.ndarray, "predicted_spots genes"]
    measured: Float32[np.ndarray, "measured_spots genes"] | None = None
    uncertainty: Float32[np.ndarray, "uncertain_spots genes"] | None = None
    nearest: Nearest | None = None
    mpp: float = 0.0
    """Microns per level-0 pixel; 0 where places are not those in the tissue, so that nothing can be measured on the map."""

    familiarity: Float32[np.ndarray, " familiar_spots"] | None = None
    """For each spot, the share of left-out training tiles that lie at least as far, of a calibrated run."""
    predictor: str = ""
    """What predicted; said where others are beside it."""
    others: Mapping[str, Float32[np.ndarray, "other_spots genes"]] = field(default_factory=dict)
    """What other runs or predictors predict of the same spots, by name, to compare with."""
    slide: Slide | None = None
    """What tiles are made of, so that the map can be looked into to the pixel; none: the picture is all there is."""

    def __post_init__(self) -> None:
        if self.familiarity is not None and len(self.familiarity) != len(self.xy):
            raise MismatchError(f"section {self.section}: {len(self.familiarity)} familiarities came with {len(self.xy)} spots")
        for name, values in (*self.layers().items(), *self.others.items()):
            if len(values) != len(self.xy):
                raise MismatchError(
                    f"section {self.section}: {len(values)} rows of {name} values came with {len(self.xy)} spots"
                )

    def layers(self) -> dict[str, np.ndarray]:
        """Return what can be shown, by name."""
        found = {"measured": self.measured, "predicted": self.predicted, "uncertainty": self.uncertainty}
        return {name: values for name, values in found.items() if values is not None}


@final
@dataclass(frozen=True, slots=True)
class Page:
    """All of one page."""

    title: str
    lead: str
    """What is shown, in a sentence or two."""
    genes: tuple[str, ...]
    """In the order of the layers' columns."""
    order: tuple[int, ...]
    """Columns, the most wanted gene first: where not all fit into the page, the last are left out."""
    scale: str
    """What the values are, in words."""
    uncertainty: str
    """What the uncertainty is, in words."""
    views: tuple[TissueView, ...]
    table: Grid | None = None
    leak: tuple[str, ...] = ()
    """The leak report, a line each; the first is the verdict."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What the numbers need beside them, by name."""
    settings: str = ""
    """The whole configuration as YAML."""
    trust: Mapping[str, str] = field(default_factory=dict)
    """How far each gene can be trusted, in words, where a calibration says."""
    grades: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    """The grade of each gene and the correlation to expect of it, where a calibration says."""
    of_classes: bool = False
    """Whether the columns are classes that a run has learnt, not genes."""
    whose: str = "of the panel"
    """Which genes these are, in words; classes need none."""


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
