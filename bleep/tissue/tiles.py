"""The tiles of some sections: cut when asked for, or read from the store where they are kept there."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Int, UInt8

from bleep.errors import DataError
from bleep.tissue import store
from bleep.tissue.cutting import Tile, TileSpec, cut
from bleep.tissue.section import Section
from bleep.tissue.slides import MosaicSlide

__all__ = ["Tile", "TileSpec", "Tiles", "cut"]


@final
@dataclass(frozen=True, slots=True)
class Tiles:
    """The tiles of some sections, in the order of their spots.

    Raises:
        DataError: ready-cut tiles are smaller than a window, or stored tiles are damaged.

    """

    sections: tuple[Section, ...]
    spec: TileSpec
    kept: Path | None = None
    """Folder of the stores of tiles; tiles that have none there, and all without a folder, are cut."""
    whole: tuple[Section, ...] = ()
    """For a block: the whole sections that these are parts of, as `blocks` gives them; empty: they are whole themselves."""
    stored: tuple[store.StoredTiles | None, ...] = field(init=False, repr=False, compare=False)
    """What the folder holds of each section."""

    def __post_init__(self) -> None:
        for section in self.sections:
            if isinstance(section.slide, MosaicSlide):
                shown, asked = section.slide.side * section.mpp, max(self.spec.microns)
                if asked > shown * 1.001:
                    raise DataError(
                        f"section {section.name}: its ready-cut tiles show {shown:g} microns ({section.slide.side} pixels of "
                        f"{section.mpp:g}), but tiles.microns asks for {asked:g}; lower tiles.microns or give data.mpp"
                    )
        found = (self.kept and store.find(self.kept, section, self.spec) for section in self.sections)
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

    def frame(self) -> pd.DataFrame:
        """Return one row a tile: see `Section.frame`."""
        return pd.concat([section.frame() for section in self.sections])

    def alone(self) -> tuple["Tiles", ...]:
        """Return the tiles of each section by themselves."""
        return tuple(
            replace(self, sections=(section,), whole=self.whole[at : at + 1]) for at, section in enumerate(self.sections)
        )

    def blocks(self, rows: int) -> Iterator["Tiles"]:
        """Yield the tiles, in order, in blocks of at most so many, none of two sections; each knows its whole section."""
        for alone in self.alone():
            (section,), whole = alone.sections, alone.whole or alone.sections
            for start in range(0, len(section), rows):
                here = section.subset(np.arange(start, min(start + rows, len(section))))
                yield replace(alone, sections=(here,), whole=whole)

    def subset(self, rows: Int[np.ndarray, " rows"]) -> "Tiles":
        """Return these tiles alone; rows are counted through all sections and kept in section order."""
        chosen, start = [], 0
        for section in self.sections:
            mine = rows[(rows >= start) & (rows < start + len(section))] - start
            if len(mine):
                chosen.append(section.subset(mine))
            start += len(section)
        return replace(self, sections=tuple(chosen), whole=())

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
