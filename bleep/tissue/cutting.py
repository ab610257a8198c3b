"""The square of tissue around a spot, in microns, cut out of a slide as pixels."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import UInt8

from bleep.settings import PaddingName, TilesConfig
from bleep.tissue.section import Section
from bleep.tissue.slides import resize

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


def cut(section: Section, row: int, spec: TileSpec) -> Tile:
    """Cut the windows around one spot: RGB, channels first, each resized to `spec.pixels`."""
    x, y = section.xy[row]
    windows = []
    for microns in spec.microns:
        side = max(round(microns / section.mpp), 1)
        box = section.slide.region(round(x - side / 2), round(y - side / 2), side, spec.padding, spec.pixels)
        windows.append(resize(box, spec.pixels).transpose(2, 0, 1))
    return np.ascontiguousarray(np.stack(windows))
