"""What simple members see of a tile: numbers that are standardised over the tile's own section.

A slide that is stained or scanned otherwise as a whole so looks alike. They are the trunk's features, the texture of the two
stains, or mean and spread of the colours or of the stains.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from bleep.config import FLOOR, ImageConfig
from bleep.data.section import Section
from bleep.data.slides.base import picture_key
from bleep.data.stain import glass, optical_density
from bleep.data.tiles import Tiles
from bleep.features import FeatureReader, Features
from bleep.models.backbones import textures
from bleep.models.factory import build_trunk
from bleep.models.heads import RunningStats, Standardizer, floored
from bleep.records import UNMIX
from bleep.runs import Run

Moments = Float32[np.ndarray, "2 features"]
"""Mean and spread of the training tiles' features, which a section of few tiles is standardised by."""
Describe = Callable[[Run, Tiles, Moments | None], Features]

CLIP = 6.0
"""Standardised numbers are clipped to this many standard deviations: a feature that hardly varies cannot decide alone."""
FEW = 20
"""Tiles below which a section's features are standardised by the training tiles', not its own: fewer than heads ask for, as
neighbours are misled more by a section on another footing than by an uncertain mean and spread."""
LOOKED_AT = 2000
"""Tiles of a section, evenly taken, that its mean and spread of colours and stains are measured on."""
COLOURS = 6
"""Numbers of colour; those of the stains follow."""
_known: dict[str, Features] = {}
"""Numbers of the tiles of the last few sections and blocks: a rehearsal asks for them again and again."""


def section_features(run: Run, tiles: Tiles, moments: Moments | None = None) -> Features:
    """Return the trunk's features, each section's brought to mean 0 and spread 1 over its own tiles, and clipped."""
    reader = FeatureReader.to_predict(run.model.trunk, run.model.standardize, run.config)
    reader = replace(reader, cache=run.config.cache / "features", per_section=True, few=FEW)
    return np.clip(reader.read(tiles), -CLIP, CLIP)


def section_textures(run: Run, tiles: Tiles, moments: Moments | None = None) -> Features:
    """Return the texture of the stains in all windows and their middles, standardised over each section and clipped.

    What gives them is `texture_trunk`.
    """
    usual = Standardizer(0 if moments is None else moments.shape[1])
    if moments is not None:
        usual.mean.copy_(torch.from_numpy(moments[0]))
        usual.spread.copy_(torch.from_numpy(moments[1]))
    reader = replace(_texture_reader(run, texture_trunk(run, moments)), per_section=True, few=FEW, usual=usual)
    return np.clip(reader.read(tiles), -CLIP, CLIP)


def texture_trunk(run: Run, moments: Moments | None) -> str:
    """Return what gives the textures that a member sees: the trunk `centred-textures`.

    Members of before saw no middles, which is told by their moments: those are as wide as what the trunk `textures` gives, or
    there are none.
    """
    trunk, _ = build_trunk(ImageConfig(trunk=textures.NAME, precision="float32"), run.spec.pixels)
    whole = trunk.width * len(run.spec.microns)
    return textures.NAME if moments is None or moments.shape[1] == whole else textures.CENTRED


def share_textures(run: Run, tiles: Tiles, trunk: str) -> None:
    """Put the textures of these tiles into the cache, each process computing a part; all must call it."""
    _texture_reader(run, trunk).share(tiles)


def texture_moments(run: Run, tiles: Tiles) -> Moments:
    """Return mean and spread of the textures of training tiles."""
    found = RunningStats.of((_texture_reader(run).read(alone) for alone in tiles.alone()), FLOOR)
    return np.stack([found.mean, found.spread]).astype(np.float32)


def _texture_reader(run: Run, name: str = textures.CENTRED) -> FeatureReader:
    trunk, _ = build_trunk(ImageConfig(trunk=name, precision="float32"), run.spec.pixels)
    config = run.config
    return FeatureReader(trunk.to(run.device), config.cache / "features", config.query.batch, config.optim.workers)


def section_colours(run: Run, tiles: Tiles, moments: Moments | None = None) -> Features:
    """Return mean and spread of R, G, B in the smallest window, standardised over each section and clipped."""
    return _by_section(tiles)[:, :COLOURS]


def section_stains(run: Run, tiles: Tiles, moments: Moments | None = None) -> Features:
    """Return what the stains of the smallest window are in numbers, standardised over each section and clipped.

    They are mean and spread of haematoxylin, of eosin and of optical density (Ruifrok and Johnston 2001), and the share of
    glass. Standardising does what a stretch of each stain between its own extremes would do.
    """
    return _by_section(tiles)[:, COLOURS:]


def _numbers(tile: UInt8[np.ndarray, "3 height width"]) -> np.ndarray:
    """Return the numbers of colour, then those of the stains."""
    pixels, density = tile.reshape(3, -1).astype(np.float32), optical_density(tile).reshape(3, -1)
    strength, total = UNMIX.T.astype(np.float32) @ density, density.mean(axis=0)
    stains = (*strength.mean(axis=1), *strength.std(axis=1), total.mean(), total.std(), glass(tile).mean())
    return np.array([*pixels.mean(axis=1), *pixels.std(axis=1), *stains], np.float32)


def _by_section(tiles: Tiles) -> Features:
    tables = []
    for alone in tiles.alone():
        section, whole = alone.sections[0], (alone.whole or alone.sections)[0]
        table = _read(alone, section, len(section))
        # A block is standardised by tiles evenly taken from its whole section, as that is itself.
        mean, spread = _mean_spread(_read(replace(alone, sections=(whole,), whole=()), whole, LOOKED_AT))
        tables.append(np.clip((table - mean) / spread, -CLIP, CLIP).astype(np.float32))
    return np.concatenate(tables)


def _read(alone: Tiles, section: Section, most: int) -> Features:
    """Return the numbers of a section's tiles, or of `most` of them evenly taken; remembered for the last few sections."""
    place = hashlib.sha256(np.ascontiguousarray(section.xy).tobytes()).hexdigest()
    rows = alone.evenly(most)
    key = f"{picture_key(section.slide)} {section.mpp} {alone.spec} {place} {len(rows)}"
    if key not in _known:
        while len(_known) > 32:
            del _known[next(iter(_known))]
        smallest = int(np.argmin(alone.spec.microns))
        _known[key] = np.stack([_numbers(alone.read(row)[smallest]) for row in rows.tolist()])
    return _known[key]


def _mean_spread(table: Features) -> tuple[np.ndarray, np.ndarray]:
    spread = table.std(axis=0)
    # Colours are levels of 0 to 255, stains are densities: each kind has a floor of its own.
    return table.mean(axis=0), np.concatenate([floored(spread[:COLOURS]), floored(spread[COLOURS:])])
