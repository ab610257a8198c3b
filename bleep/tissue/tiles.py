"""The square of tissue around a spot, in microns, as pixels."""

from dataclasses import dataclass
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Int, UInt8

from bleep.errors import DataError
from bleep.settings import PaddingName, TilesConfig
from bleep.tissue.section import Section
from bleep.tissue.slides import MosaicSlide, resize

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

    def words(self) -> str:
        """Return the spec in words, for messages and tables."""
        windows = " + ".join(f"{side:g}" for side in self.microns)
        return f"{windows} um in {self.pixels} px"


@final
@dataclass(frozen=True, slots=True)
class Tiles:
    """The tiles of some sections, cut when asked for.

    Raises:
        DataError: ready-cut tiles are smaller than a window.

    """

    sections: tuple[Section, ...]
    spec: TileSpec

    def __post_init__(self) -> None:
        for section in self.sections:
            if isinstance(section.slide, MosaicSlide):
                shown, asked = section.slide.side * section.mpp, max(self.spec.microns)
                if asked > shown * 1.001:
                    raise DataError(
                        f"section {section.name}: its ready-cut tiles show {shown:g} microns ({section.slide.side} pixels of "
                        f"{section.mpp:g}), but tiles.microns asks for {asked:g}; lower tiles.microns or give data.mpp"
                    )

    def __len__(self) -> int:
        return sum(len(section) for section in self.sections)

    @property
    def ids(self) -> tuple[str, ...]:
        """`section/spot` of each row."""
        return tuple(name for section in self.sections for name in section.ids)

    def frame(self) -> pd.DataFrame:
        """Return one row a tile: see `Section.frame`."""
        return pd.concat([section.frame() for section in self.sections])

    def subset(self, rows: Int[np.ndarray, " rows"]) -> "Tiles":
        """Return these tiles alone; rows are counted through all sections and kept in section order."""
        chosen, start = [], 0
        for section in self.sections:
            mine = rows[(rows >= start) & (rows < start + len(section))] - start
            if len(mine):
                chosen.append(section.subset(mine))
            start += len(section)
        return Tiles(tuple(chosen), self.spec)

    def read(self, row: int) -> Tile:
        """Cut one tile."""
        for section in self.sections:
            if row < len(section):
                return cut(section, row, self.spec)
            row -= len(section)
        raise IndexError(row)


def cut(section: Section, row: int, spec: TileSpec) -> Tile:
    """Cut the windows around one spot: RGB, channels first, each resized to `spec.pixels`."""
    x, y = section.xy[row]
    windows = []
    for microns in spec.microns:
        side = max(round(microns / section.mpp), 1)
        box = section.slide.region(round(x - side / 2), round(y - side / 2), side, spec.padding)
        windows.append(resize(box, spec.pixels).transpose(2, 0, 1))
    return np.ascontiguousarray(np.stack(windows))
