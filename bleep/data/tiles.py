"""The tiles of some sections: cut when asked for, or read from the store where they are kept there."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int, UInt8

from bleep.config import PaddingName, TilesConfig
from bleep.data.section import Section
from bleep.data.slides import PyramidSlide, Slide, resize
from bleep.data.slides.base import picture_key
from bleep.errors import DataError
from bleep.files import whole, write_json

Tile = UInt8[np.ndarray, "windows 3 pixels pixels"]


@final
@dataclass(frozen=True, slots=True)
class TileSpec:
    """How a tile is cut: the only place that knows microns."""

    pixels: int
    """Side of every window once resized."""
    microns: tuple[float, ...]
    """Side of the tissue shown, a window each."""
    padding: PaddingName = "white"
    """What is painted beyond the slide."""

    @classmethod
    def of(cls, config: TilesConfig) -> "TileSpec":
        """Return the spec that a configuration asks for."""
        return cls(config.pixels, tuple(config.microns), config.padding)

    def describe(self) -> str:
        """Return the spec in words, for messages and tables.

        >>> TileSpec(224, (112.0, 224.0)).describe()
        '112 + 224 um in 224 px'

        """
        windows = " + ".join(f"{side:g}" for side in self.microns)
        return f"{windows} um in {self.pixels} px"


BEYOND = 10
"""Times the longer side of its slide that a window may be wide."""


def check_windows(section: Section, spec: TileSpec) -> None:
    """Refuse windows that cannot show tissue.

    Raises:
        DataError: a window is many times as wide as the slide, or less than half a pixel.

    """
    for microns in spec.microns:
        pixels, (width, height) = microns / section.mpp, section.slide.size
        found = f"section {section.name}: tiles.microns asks for a window of {microns:g} microns, {pixels:.3g} pixels wide"
        if pixels > BEYOND * max(width, height):
            raise DataError(
                f"{found}, but its slide has {width} x {height}; correct data.mpp, or train with lower tiles.microns"
            )
        if pixels < 0.5:
            raise DataError(
                f"{found}, and a pixel is {section.mpp:g} microns; correct data.mpp, or train with higher tiles.microns"
            )


def cut(section: Section, row: int, spec: TileSpec) -> Tile:
    """Cut the windows around one spot: RGB, channels first, each resized to `spec.pixels`."""
    x, y = section.xy[row]
    windows = []
    for microns in spec.microns:
        side = max(round(microns / section.mpp), 1)
        try:
            box = section.slide.region(round(x - side / 2), round(y - side / 2), side, spec.padding, spec.pixels)
        except MemoryError:
            raise DataError(
                f"section {section.name}: a window of {microns:g} microns is {side} x {side} pixels, more than there is memory "
                "for; correct data.mpp, or train with lower tiles.microns"
            ) from None
        windows.append(resize(box, spec.pixels).transpose(2, 0, 1))
    return np.ascontiguousarray(np.stack(windows))


FORM = 1
"""Changes when the same picture and spec would give other bytes than an older version of bleep cut."""
PART = 512
"""Tiles in a file: what is done again, at most, when writing was stopped."""
MANIFEST, PLACES = "store.json", "xy.npy"


@final
@dataclass(frozen=True, slots=True)
class StoredTiles:
    """The tiles of one section as a store holds them."""

    folder: str
    rows: Int[np.ndarray, " spots"]
    """Row of each spot in the store; -1: it is not there and must be cut."""

    def read(self, spot: int) -> Tile | None:
        """Return the tile of a spot, still on disk until its bytes are touched, or None."""
        row = int(self.rows[spot])
        return None if row < 0 else _part(self.folder, row // PART)[row % PART]


def find(root: Path, section: Section, spec: TileSpec) -> StoredTiles | None:
    """Return the stored tiles of a section under a spec, or None where there is no finished store of both.

    Raises:
        DataError: the store is damaged.

    """
    if not root.is_dir():
        return None
    stem, found = _stem(section, spec), []
    for folder in sorted(path.parent for path in root.glob(f"{stem}*/{MANIFEST}")):
        row_of = {place: row for row, place in enumerate(map(tuple, _places(folder).tolist()))}
        rows = np.array([row_of.get(place, -1) for place in map(tuple, section.xy.tolist())], dtype=np.int64)
        found.append(StoredTiles(str(folder), rows))
    return max(found, key=lambda stored: int((stored.rows >= 0).sum()), default=None)


def folder_of(root: Path, section: Section, spec: TileSpec) -> Path:
    """Return where the tiles of a section under a spec are kept: one folder for each set of positions.

    Before version 0.2 positions were not part of the name: such a store of the same positions is used as it is.
    """
    stem, places = _stem(section, spec), np.ascontiguousarray(section.xy)
    if (root / stem / PLACES).is_file() and np.array_equal(_places(root / stem), section.xy):
        return root / stem
    return root / f"{stem}-{hashlib.sha256(places.tobytes()).hexdigest()[:16]}"


def _stem(section: Section, spec: TileSpec) -> str:
    facts = [FORM, picture_key(section.slide), section.mpp, spec.pixels, spec.microns, spec.padding]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def write(root: Path, section: Section, spec: TileSpec) -> Iterator[int]:
    """Cut every tile of a section into its store, part by part, and yield how many are done after each.

    Parts that are already there, from an earlier try, are kept; so are stores of the same picture at other positions.

    Raises:
        DataError: the picture is damaged, a window can show no tissue, or there is no room.

    """
    check_windows(section, spec)
    folder = folder_of(root, section, spec)
    with whole(folder / PLACES) as temporary:
        np.save(temporary, section.xy)
    for number, start in enumerate(range(0, len(section), PART)):
        stop = min(start + PART, len(section))
        if not (folder / _name(number)).is_file():
            _write_part(folder / _name(number), section, spec, range(start, stop))
        yield stop
    facts = {"section": section.name, "tiles": len(section), "spec": spec.describe(), "padding": spec.padding, "form": FORM}
    write_json(folder / MANIFEST, facts)


def _write_part(path: Path, section: Section, spec: TileSpec, spots: range) -> None:
    shape = (len(spots), len(spec.microns), 3, spec.pixels, spec.pixels)
    with whole(path) as temporary:
        held = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        for at, spot in enumerate(spots):
            held[at] = cut(section, spot, spec)
        held.flush()
        del held


def _name(number: int) -> str:
    return f"{number:05d}.npy"


# Each holds a file open, and a process may open only so many.
@lru_cache(maxsize=256)
def _part(folder: str, number: int) -> np.ndarray:
    return _mapped(Path(folder) / _name(number))


def _places(folder: Path) -> np.ndarray:
    return np.array(_mapped(folder / PLACES))


def _mapped(path: Path) -> Any:
    try:
        # Copy on write: torch takes no array that may not be written to, and nothing here is.
        return np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: stored tiles are damaged ({reason}); delete {path.parent} and tile again") from None


__all__ = ["Tile", "TileSpec", "Tiles", "cut"]


@final
@dataclass(frozen=True, slots=True)
class Tiles:
    """The tiles of some sections, in the order of their spots.

    Raises:
        DataError: ready-cut tiles are smaller than a window, a window can show no tissue, or stored tiles are damaged.

    """

    sections: tuple[Section, ...]
    spec: TileSpec
    kept: Path | None = None
    """Folder of the stores of tiles; tiles that have none there, and all without a folder, are cut."""
    whole: tuple[Section, ...] = ()
    """For a block: the whole sections that these are parts of, as `blocks` gives them; empty: they are whole themselves."""
    xy_in_whole: tuple[Float64[np.ndarray, "spots 2"], ...] = ()
    """For copies of a spot laid out beside the slide: where in the whole section each belongs; empty: where it is cut."""
    stored: tuple[StoredTiles | None, ...] = field(init=False, repr=False, compare=False)
    """What the folder holds of each section."""

    def __post_init__(self) -> None:
        for section in self.sections:
            check_windows(section, self.spec)
            if not section.has_positions:
                shown, asked = section.tile_side * section.mpp, max(self.spec.microns)
                if asked > shown * 1.001:
                    raise DataError(
                        f"section {section.name}: its ready-cut tiles show {shown:g} microns ({section.tile_side} pixels of "
                        f"{section.mpp:g}), but tiles.microns asks for {asked:g}: cut larger tiles, give another "
                        "data.mpp, or train with lower tiles.microns"
                    )
        found = (self.kept and find(self.kept, section, self.spec) for section in self.sections)
        object.__setattr__(self, "stored", tuple(found))

    def __len__(self) -> int:
        return sum(len(section) for section in self.sections)

    @property
    def ids(self) -> tuple[str, ...]:
        """`section/spot` of each row."""
        return tuple(name for section in self.sections for name in section.ids)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Windows, channels, height and width of a tile."""
        return len(self.spec.microns), 3, self.spec.pixels, self.spec.pixels

    @property
    def cut_from(self) -> tuple[Slide, ...]:
        """The slides of sections whose tiles are cut, not all stored."""
        pairs = zip(self.sections, self.stored, strict=True)
        return tuple(section.slide for section, stored in pairs if stored is None or (stored.rows < 0).any())

    @property
    def tile_bytes(self) -> int:
        """Size of a tile."""
        return math.prod(self.shape)

    def frame(self) -> pd.DataFrame:
        """Return one row a tile: see `Section.frame`; of grids laid over whole slides also the tile's place on the grid."""
        frame = pd.concat([section.frame() for section in self.sections])
        if not all("step" in section.counts.uns for section in self.sections):
            return frame
        return frame.join(pd.concat([section.counts.obs.set_axis(section.ids) for section in self.sections]))

    def facts(self) -> dict[str, Any]:
        """Return how the tiles were cut, in plain values: what a reader of a prediction needs to draw them."""
        sections = self.whole or self.sections
        offsets = [list(one.slide.offset) if isinstance(one.slide, PyramidSlide) else [0, 0] for one in sections]
        return {
            "tile_pixels": self.spec.pixels,
            "tile_microns": list(self.spec.microns),
            "tile_padding": self.spec.padding,
            "sections": [section.name for section in sections],
            "mpp": [section.mpp for section in sections],
            "ready_cut": [not section.has_positions for section in sections],
            # Where what was scanned begins on each slide; nothing where all are scanned from their corner.
            **({"offset": offsets} if np.any(offsets) else {}),
        }

    def alone(self) -> tuple["Tiles", ...]:
        """Return the tiles of each section by themselves."""
        return tuple(
            replace(self, sections=(section,), whole=self.whole[at : at + 1], xy_in_whole=self.xy_in_whole[at : at + 1])
            for at, section in enumerate(self.sections)
        )

    def of_row(self, row: int) -> tuple["Tiles", int]:
        """Return the tiles of the section that a row is of, and the row among them."""
        for alone in self.alone():
            if row < len(alone):
                return alone, row
            row -= len(alone)
        raise IndexError(row)

    def blocks(self, rows: int) -> Iterator["Tiles"]:
        """Yield the tiles, in order, in blocks of at most so many, none of two sections; each knows its whole section."""
        for alone in self.alone():
            (section,), whole = alone.sections, alone.whole or alone.sections
            for start in range(0, len(section), rows):
                here = section.subset(np.arange(start, min(start + rows, len(section))))
                yield replace(alone, sections=(here,), whole=whole, xy_in_whole=())

    def evenly(self, count: int) -> Int[np.ndarray, " rows"]:
        """Return at most so many rows, in order: spread over each section's tissue, whatever order its spots are in."""
        if len(self) <= count:
            return np.arange(len(self))
        starts = np.cumsum([0, *map(len, self.sections)])
        order = np.concatenate([start + section.by_place() for start, section in zip(starts, self.sections, strict=False)])
        return np.sort(order[np.linspace(0, len(order) - 1, count).astype(int)])

    def subset(self, rows: Int[np.ndarray, " rows"]) -> "Tiles":
        """Return these tiles alone; rows are counted through all sections and kept in section order."""
        chosen, start = [], 0
        for section in self.sections:
            mine = rows[(rows >= start) & (rows < start + len(section))] - start
            if len(mine):
                chosen.append(section.subset(mine))
            start += len(section)
        return replace(self, sections=tuple(chosen), whole=(), xy_in_whole=())

    def read(self, row: int) -> Tile:
        """Return one tile; it may be mapped from a file: copy it before writing to it."""
        for section, stored in zip(self.sections, self.stored, strict=True):
            if row < len(section):
                tile = stored.read(row) if stored is not None else None
                return cut(section, row, self.spec) if tile is None else tile
            row -= len(section)
        raise IndexError(row)

    def images(self, rows: Iterable[int]) -> UInt8[np.ndarray, "rows windows 3 pixels pixels"]:
        """Return some tiles side by side, in memory."""
        asked = list(rows)
        out = np.empty((len(asked), *self.shape), dtype=np.uint8)
        for at, row in enumerate(asked):
            out[at] = self.read(row)
        return out
