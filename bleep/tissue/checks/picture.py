"""What the tiles of a section show: glass, blur, padding, stain, and whether the spots lie on the tissue at all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float64, Int
from scipy import ndimage

from bleep.tissue.checks.stain import glass, optical_density, stains
from bleep.tissue.section import Section
from bleep.tissue.slides import MosaicSlide
from bleep.tissue.tiles import TileSpec, cut

SAMPLE = 200
"""Most tiles of a section that are looked at."""
BLANK = 0.9
"""A tile with at least this share of glass is blank."""
SHARP = 15.0
"""Variance of the Laplacian below which a tile is blurred whatever the others are."""
DULL = 0.1
"""A tile is blurred, too, below this share of the section's median."""
SMALLEST = 32
"""Tiles of fewer pixels a side have no detail that could be called sharp or blurred."""
MISPLACED = 0.08
"""Share of blank tiles above which other places for the spots are tried."""

Places = Float64[np.ndarray, "spots 2"]
MOVES: Mapping[str, Callable[[Places, tuple[int, int]], Places]] = {
    "x and y swapped": lambda xy, size: xy[:, ::-1].copy(),
    "the picture mirrored left to right": lambda xy, size: np.abs([size[0] - 1, 0] - xy),
    "the picture mirrored top to bottom": lambda xy, size: np.abs([0, size[1] - 1] - xy),
    "the picture turned by 180 degrees": lambda xy, size: np.abs(np.array(size) - 1 - xy),
}
"""Mistakes in the places of spots that keep them on the slide."""


@final
@dataclass(frozen=True, slots=True)
class PictureMeasures:
    """Measures of a sample of a section's tiles, of the first window; shares run from 0 to 1."""

    tiles: int
    """Tiles looked at."""
    blank: float
    """Share that show glass and next to nothing else."""
    blurred: float
    """Share of the others that are out of focus; not a number where tiles are too small to tell."""
    sharpness: float
    """Median variance of the Laplacian over the tissue of a tile (Pech-Pacheco et al., ICPR 2000)."""
    haematoxylin: float
    """Mean optical density of haematoxylin over the tissue; not a number where there is none."""
    eosin: float
    """The same of eosin."""
    better: str = ""
    """A mistake in the places which, undone, would put the spots on tissue; empty: none was found."""
    better_blank: float = 0.0
    """Share of blank tiles then."""


class _Seen(NamedTuple):
    glass: float
    tissue: int
    stain: np.ndarray
    sharpness: float


def look(section: Section, spec: TileSpec, seed: int = 0) -> PictureMeasures | None:
    """Look at a sample of the tiles, no larger than the slide shows them; none where a tile is larger than the slide.

    Raises:
        DataError: a picture is damaged.

    """
    side = source_side(section, spec.microns[0])
    if side > longest(section):
        return None
    own = TileSpec(min(spec.pixels, side), spec.microns[:1], spec.padding)
    rows = np.sort(np.random.default_rng(seed).permutation(len(section))[:SAMPLE])
    seen = [_see(section, int(row), own) for row in rows]
    blank = np.array([one.glass >= BLANK for one in seen])
    sharpness = np.array([one.sharpness for one in seen])[~blank]
    known = own.pixels >= SMALLEST and len(sharpness) > 0
    middle = float(np.median(sharpness)) if known else float("nan")
    tissue = sum(one.tissue for one in seen)
    strength = np.sum([one.stain for one in seen], axis=0) / tissue if tissue else np.full(2, np.nan)
    better, share = _elsewhere(section, rows, own, float(blank.mean()))
    return PictureMeasures(
        tiles=len(rows),
        blank=float(blank.mean()),
        blurred=float((sharpness < max(SHARP, DULL * middle)).mean()) if known else float("nan"),
        sharpness=middle,
        haematoxylin=float(strength[0]),
        eosin=float(strength[1]),
        better=better,
        better_blank=share,
    )


def source_side(section: Section, microns: float) -> int:
    """Return how many pixels of the slide a window is wide."""
    return max(round(microns / section.mpp), 1)


def longest(section: Section) -> int:
    """Return the longer side of the slide, or the side of its ready-cut tiles, in pixels."""
    return section.slide.side if isinstance(section.slide, MosaicSlide) else max(section.slide.size)


def padded(section: Section, microns: float) -> Float64[np.ndarray, " spots"]:
    """Return the share of each window that lies beyond the slide."""
    side = source_side(section, microns)
    if isinstance(section.slide, MosaicSlide):
        return np.full(len(section), 1 - min(section.slide.side / side, 1.0) ** 2)
    inside = np.minimum(section.xy + side / 2, section.slide.size) - np.maximum(section.xy - side / 2, 0.0)
    return np.asarray(1 - (inside / side).clip(0, 1).prod(axis=1))


def _see(section: Section, row: int, spec: TileSpec) -> _Seen:
    tile = cut(section, row, spec)[0]
    clear = glass(tile)
    tissue = ~clear
    if not tissue.any():
        return _Seen(1.0, 0, np.zeros(2), 0.0)
    edges = ndimage.laplace(tile.mean(axis=0, dtype=np.float32))
    strength = stains(optical_density(tile)[:, tissue]).sum(axis=1, dtype=np.float64)
    return _Seen(float(clear.mean()), int(tissue.sum()), strength, float(edges[tissue].var()))


def _elsewhere(section: Section, rows: Int[np.ndarray, " rows"], spec: TileSpec, blank: float) -> tuple[str, float]:
    """Return the mistake that best explains spots on glass, if undoing it takes away three quarters of the blank tiles."""
    if blank < MISPLACED or isinstance(section.slide, MosaicSlide):
        return "", 0.0
    shares = {}
    for name, move in MOVES.items():
        xy = move(section.xy, section.slide.size)
        if (xy >= section.slide.size).any():
            continue
        moved = replace(section, xy=xy)
        shares[name] = float(np.mean([glass(cut(moved, int(row), spec)[0]).mean() >= BLANK for row in rows]))
    best = min(shares, key=shares.__getitem__)
    return (best, shares[best]) if shares[best] <= blank / 4 else ("", 0.0)
