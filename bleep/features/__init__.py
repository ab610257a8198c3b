"""What a trunk says of tiles: computed once, kept on disk by weights, tile spec and picture."""

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, final
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float32, Int, UInt8
from torch import Tensor

from bleep.collectives import joined, of_main, processes, share
from bleep.config import FLOOR, Config
from bleep.data.datasets import Steps, TileImages, turned
from bleep.data.loading import loaded, read
from bleep.data.section import Section
from bleep.data.slides.base import picture_key
from bleep.data.stain import brought, map_of, source_of
from bleep.data.tiles import Tiles, TileSpec
from bleep.features.cache import BLOCK, FeatureCache
from bleep.features.ready import ReadyFolder
from bleep.features.regions import of_windows, strips
from bleep.features.surroundings import around
from bleep.models.fingerprint import behaviour, check_finite, device_of
from bleep.models.heads import RunningStats, Standardizer, limit_of
from bleep.models.image import ReadyTrunk
from bleep.models.stored import Trunk
from bleep.progress import Progress

__all__ = ["BLOCK", "FEW", "FeatureReader", "Features", "trunk_digest"]


log = logging.getLogger(__name__)

Features = Float32[np.ndarray, "tiles features"]
Images = UInt8[Tensor, "batch windows 3 height width"]

STRIP = 16 * BLOCK
"""Tiles of shared regions that are computed before they are kept."""
SECONDS = 20.0
"""What is computed in about this time is kept together, so that no more is lost where a command is stopped."""
FEW = 50
"""A section of fewer tiles has no mean and spread of its own worth dividing by."""

_digests: WeakKeyDictionary[torch.nn.Module, tuple[tuple[tuple[int, int], ...], str]] = WeakKeyDictionary()
"""The digests of frozen trunks, with where their weights were and how often they had been changed."""
_running_stats: dict[str, RunningStats] = {}
"""Mean and spread of whole sections whose blocks are being read, the last few."""


def trunk_digest(trunk: Trunk) -> str:
    """Return a sha256 of the trunk's weights, their names, and what is read of them."""
    state = sorted(trunk.state_dict().items())
    marks = tuple((value.data_ptr(), value._version) for _, value in state)
    kept = None if trunk.learns else _digests.get(trunk)
    if kept is not None and kept[0] == marks:
        return kept[1]
    hashed = hashlib.sha256(trunk.reads.encode())
    for name, value in state:
        hashed.update(name.encode())
        hashed.update(value.detach().cpu().contiguous().numpy().tobytes())
    if not trunk.learns:
        _digests[trunk] = marks, hashed.hexdigest()
    return hashed.hexdigest()


@final
@dataclass(frozen=True, slots=True)
class FeatureReader:
    """Gives the features of tiles under one trunk, from the cache where they are known."""

    trunk: Trunk
    cache: Path | None
    """Folder of the cache; none: everything is computed."""
    batch: int = 64
    """Tiles passed through the trunk at a time."""
    workers: int | None = None
    """Processes that cut tiles; none: as `bleep.data.loading.readers` says."""
    per_section: bool = False
    """Bring each section's features to mean 0 and spread 1 over its own tiles."""
    floor: float = FLOOR
    """Share of the median feature's spread that every feature's over a section counts at least as."""
    usual: Standardizer | None = None
    """What a section of few tiles is standardised by instead; none: every section by itself."""
    few: int = FEW
    """Tiles below which a section has few."""
    views: int = 1
    """Over how many of the square's eight symmetries features are averaged; the first is the tile as it is."""
    ready: ReadyFolder | None = None
    """Where ready-made features are read from; none: the trunk computes them."""
    context: tuple[float, ...] = ()
    """Widths, in microns, of the Gaussians over whose weights a section's features are averaged, beside each tile's own."""
    stains: Float32[np.ndarray, "3 4"] | None = None
    """Map that brings the stains of the section being read to the training tiles'; none: not asked for, or not yet known."""

    @classmethod
    def of(cls, trunk: Trunk, usual: Standardizer, config: Config) -> "FeatureReader":
        """Return the reader of training tiles; only a frozen trunk's features are kept."""
        return cls(
            trunk,
            cache=None if trunk.learns else config.cache / "features",
            batch=config.query.batch,
            workers=config.optim.workers,
            per_section=config.image.standardize == "section",
            floor=config.image.floor,
            usual=usual,
            ready=_ready_folder(trunk, config),
            context=config.image.context,
        )

    @classmethod
    def to_predict(cls, trunk: Trunk, usual: Standardizer, config: Config) -> "FeatureReader":
        """Return the reader of tiles to predict, which averages `query.views` views."""
        return replace(cls.of(trunk, usual, config), views=config.query.views)

    def read(self, tiles: Tiles) -> Features:
        """Return one row of features a tile, sections one after another.

        Blocks of a section (`Tiles.blocks`) are standardised as the whole section is.
        """
        return np.concatenate([self._with_context(alone) for alone in tiles.alone()])

    def share(self, tiles: Tiles) -> None:
        """Compute what the cache lacks of these tiles, each process a part; the main process keeps it.

        All processes must call it; afterwards `read` finds everything. Without a cache nothing is done.
        """
        for alone in tiles.alone() if self.cache is not None and self.ready is None else ():
            here = self._stained(alone)
            kept = here._kept(alone)
            here._fill(alone, kept, of_main(np.flatnonzero(kept.rows_of(alone.sections[0].xy) < 0)), shared=True)

    def raw(self) -> "FeatureReader":
        """Return the reader that leaves features as the trunk gives them."""
        return replace(self, per_section=False)

    def _with_context(self, alone: Tiles) -> Features:
        own = self._standard(self._section(alone), alone)
        if not self.context:
            return own
        (section,), (whole,) = alone.sections, alone.whole or alone.sections
        every = own
        if alone.whole:
            every = np.concatenate([self._standard(self._section(block), block) for block in _blocks_of(alone)])
        xy = alone.xy_in_whole[0] if alone.xy_in_whole else section.xy
        return np.concatenate([own, *(around(xy, whole, every, sigma) for sigma in self.context)], axis=1)

    def _standard(self, table: Features, alone: Tiles) -> Features:
        if not self.per_section:
            return table
        moments, (section,) = self._stats_of(table, alone), alone.whole or alone.sections
        if len(section) < self.few and self.usual is not None:
            few = f"section {section.name}: has {len(section)} tiles, fewer than the {self.few} "
            few += "that mean and spread can be taken from"
            if self.usual.fitted:
                # Under `context` those of the surroundings follow; these are averaged once they are standardised.
                own = slice(table.shape[1])
                mean, spread = (moment.cpu().numpy()[own] for moment in (self.usual.mean, self.usual.spread))
                _say(f"{few}; its features are standardised by the training tiles'")
                return self._clipped((table - mean) / spread)
            _say(f"{few}; its own are used all the same, since the run holds no others: train again")
        return self._clipped(moments.standard(table))

    def _clipped(self, standard: Features) -> Features:
        limit = limit_of(self.floor, learns=self.trunk.learns)
        return standard.clip(-limit, limit) if limit < np.inf else standard

    def _stats_of(self, table: Features, alone: Tiles) -> RunningStats:
        """Return mean and spread over the section these tiles are, or are a block of, without ever holding it all."""
        if not alone.whole:
            return RunningStats.of((table[at : at + BLOCK] for at in range(0, len(table), BLOCK)), self.floor)
        (section,) = alone.whole
        place = hashlib.sha256(np.ascontiguousarray(section.xy).tobytes()).hexdigest()
        key = f"{self.floor} {self._key(section, alone.spec)} {place}"
        if key not in _running_stats:
            while len(_running_stats) > 16:
                del _running_stats[next(iter(_running_stats))]
            blocks = replace(alone, sections=alone.whole, whole=(), xy_in_whole=()).blocks(BLOCK)
            _running_stats[key] = RunningStats.of((self._section(block) for block in blocks), self.floor)
        return _running_stats[key]

    def _stained(self, tiles: Tiles) -> "FeatureReader":
        """Return the reader for one section, which knows how its stains are brought to those of the training tiles."""
        target = self.trunk.stain
        if target.kind == "none" or self.stains is not None:
            return self
        wanted = target.get_buffer("numbers").cpu().numpy()
        return replace(self, stains=map_of(target.kind, source_of(target.kind, tiles), wanted))

    def _section(self, tiles: Tiles) -> Features:
        if self.ready is not None:
            return self.ready.read(tiles.sections[0])
        return self._stained(tiles)._found(tiles)

    def _found(self, tiles: Tiles) -> Features:
        if self.cache is None:
            return check_finite(self._compute(tiles, range(len(tiles)), None), self.trunk, tiles.sections[0].name)
        (section,) = tiles.sections
        kept = self._kept(tiles)
        rows = kept.rows_of(section.xy)
        if (rows < 0).any():
            # Regions are shared by all of a section, so none is computed block by block.
            asked = (
                replace(tiles, sections=tiles.whole, whole=(), xy_in_whole=()) if self.trunk.shares and tiles.whole else tiles
            )
            missing = np.flatnonzero(kept.rows_of(asked.sections[0].xy) < 0)
            kept = self._fill(asked, kept, missing, shared=False)
            rows = kept.rows_of(section.xy)
        if (rows < 0).any():
            # Another process has kept something else under the same name meanwhile.
            return check_finite(self._compute(tiles, range(len(tiles)), None), self.trunk, tiles.sections[0].name)
        return kept.take(rows)

    def _fill(self, tiles: Tiles, kept: FeatureCache, missing: Int[np.ndarray, " tiles"], *, shared: bool) -> FeatureCache:
        """Compute tiles in blocks and keep each as soon as it is there."""
        (section,) = tiles.sections
        name = f"features of {section.name}"
        with Progress(total=len(missing), desc=name, unit="tile", leave=False, disable=not len(missing)) as bar:
            for rows in self._blocks(tiles, missing):
                start = bar.n
                block, steps = tiles.subset(rows), -(-len(rows) // self.batch)
                mine = share(steps) if shared else range(steps)
                mine = range(mine.start * self.batch, min(mine.stop * self.batch, len(rows)))
                found = self._compute(block, mine, bar)
                if shared:
                    parts = joined(found)
                    found = np.concatenate([part for part in parts if len(part)])
                    bar.update(start + len(rows) - bar.n)
                check_finite(found, self.trunk, section.name)
                if not shared or processes()[0] == 0:
                    kept = kept.add(section.xy[rows], found)
        return kept

    def _blocks(self, tiles: Tiles, missing: Int[np.ndarray, " tiles"]) -> Iterator[Int[np.ndarray, " rows"]]:
        """Yield the rows that are computed and kept together: of one process, what it computes in `SECONDS` or so."""
        if self.trunk.shares:
            yield from strips(tiles, missing, STRIP)
            return
        # Several processes share one block, whose size must not depend on anybody's clock.
        alone = processes()[1] == 1
        at, size = 0, min(self.batch, BLOCK) if alone else BLOCK
        while at < len(missing):
            began = time.monotonic()
            yield missing[at : at + size]
            at += size
            if alone:
                steps = int(size / self.batch * SECONDS / max(time.monotonic() - began, 1e-3))
                size = max(min(steps * self.batch, BLOCK // self.batch * self.batch), min(self.batch, BLOCK))

    def _kept(self, tiles: Tiles) -> FeatureCache:
        assert self.cache is not None
        return FeatureCache.open(self.cache, self._key(tiles.sections[0], tiles.spec))

    def _key(self, section: Section, spec: TileSpec) -> str:
        parts = [trunk_digest(self.trunk), picture_key(section.slide), section.mpp, spec.pixels, spec.microns, spec.padding]
        # One view adds nothing, so that what was kept before there were views is still found.
        parts += [self.views] * (self.views > 1)
        # The trunk that stands for them is the same whatever the files hold.
        parts += [] if self.ready is None else [self.ready.digest(section)]
        # What networks of others do is not in their weights alone.
        parts += [] if self.trunk.learns else behaviour(self.trunk, spec.pixels)
        if self.stains is not None:
            parts.append(self.stains.tobytes().hex())
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def _compute(self, tiles: Tiles, rows: range, bar: Any) -> Features:
        """Pass these of the tiles through the trunk."""
        device = device_of(self.trunk)
        self.trunk.eval()
        if self.trunk.shares:
            some = tiles.subset(np.arange(rows.start, rows.stop))
            found = of_windows(self.trunk, some, self.batch, self._brought, self.workers) if len(rows) else None
            if bar is not None:
                bar.update(len(rows))
            return np.empty((0, self.trunk.width * len(tiles.spec.microns)), np.float32) if found is None else found
        if not len(rows):
            return np.empty((0, self.trunk.width * len(tiles.spec.microns)), np.float32)
        steps, step_bytes = Steps(rows, self.batch), self.batch * tiles.tile_bytes
        batches = loaded(TileImages(tiles), steps, device, workers=self.workers, step_bytes=step_bytes, slides=tiles.cut_from)
        out: list[Tensor] = []
        for images in read(batches):
            with torch.no_grad() if self.trunk.learns else torch.inference_mode():
                # Left on the device till all are there: fetching one would wait for it, and the next would not be begun.
                out.append(self._averaged(self._brought(images.to(device, non_blocking=True))))
            if bar is not None:
                bar.update(len(images))
        table: Features = torch.cat(out).cpu().numpy()
        return table

    def _brought(self, images: Images) -> Images:
        if self.stains is None:
            return images
        maps = torch.from_numpy(self.stains).to(images.device).expand(len(images), 3, 4)
        return brought(self.trunk.stain.kind, images, maps)

    def _averaged(self, images: Images) -> Float32[Tensor, "batch features"]:
        seen = self.trunk(images).float()
        for view in range(1, self.views):
            seen += self.trunk(turned(images, view)).float()
        return seen / self.views


def _ready_folder(trunk: Trunk, config: Config) -> ReadyFolder | None:
    if not isinstance(trunk, ReadyTrunk) or config.data.features is None:
        return None
    return ReadyFolder(config.data.features, trunk.width, trunk.encoder, config.data.features_limit)


def _blocks_of(part: Tiles) -> Iterator[Tiles]:
    """Yield the blocks of the whole section that some tiles are a part of."""
    return replace(part, sections=part.whole, whole=(), xy_in_whole=()).blocks(BLOCK)


@lru_cache(maxsize=256)
def _say(words: str) -> None:
    """Say it, but not again each time the same section is looked at."""
    log.warning(words)
