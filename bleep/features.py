"""What a trunk says of tiles: computed once, kept on disk by weights, tile spec and picture.

A file holds the features of one slide under one trunk and spec, with the positions they were cut at; any subset of its
spots is answered from it, and new positions are added.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from bleep.encoders.heads import Standardizer
from bleep.encoders.image import ImageTrunk
from bleep.errors import one_sentence
from bleep.files import write_tensors
from bleep.settings import Config
from bleep.tissue.augment import turned
from bleep.tissue.section import Section
from bleep.tissue.tiles import Tiles, TileSpec

log = logging.getLogger(__name__)

Features = Float32[np.ndarray, "tiles features"]
Images = UInt8[Tensor, "batch windows 3 height width"]

FEW = 50
"""A section of fewer tiles has no mean and spread of its own worth dividing by."""


def trunk_digest(trunk: ImageTrunk) -> str:
    """Return a sha256 of the trunk's weights, their names, and the layer read."""
    joined = hashlib.sha256(str(trunk.layer).encode())
    for name, value in sorted(trunk.state_dict().items()):
        joined.update(name.encode())
        joined.update(value.detach().cpu().contiguous().numpy().tobytes())
    return joined.hexdigest()


@final
@dataclass(frozen=True, slots=True)
class FeatureReader:
    """Gives the features of tiles under one trunk, from the cache where they are known."""

    trunk: ImageTrunk
    cache: Path | None
    """Folder of the cache; none: everything is computed."""
    batch: int = 64
    """Tiles passed through the trunk at a time."""
    workers: int = 0
    """Processes that cut tiles."""
    per_section: bool = False
    """Bring each section's features to mean 0 and spread 1 over its own tiles."""
    usual: Standardizer | None = None
    """What a section of few tiles is standardised by instead; none: every section by itself."""
    views: int = 1
    """Over how many of the square's eight symmetries features are averaged; the first is the tile as it is."""

    @classmethod
    def of(cls, trunk: ImageTrunk, usual: Standardizer, config: Config) -> "FeatureReader":
        """Return the reader of training tiles; only a frozen trunk's features are kept."""
        return cls(
            trunk,
            cache=None if trunk.learns else config.cache / "features",
            batch=config.query.batch,
            workers=config.optim.workers,
            per_section=config.image.standardize == "section",
            usual=usual,
        )

    @classmethod
    def to_predict(cls, trunk: ImageTrunk, usual: Standardizer, config: Config) -> "FeatureReader":
        """Return the reader of tiles to predict, which averages `query.views` views."""
        return replace(cls.of(trunk, usual, config), views=config.query.views)

    def read(self, tiles: Tiles) -> Features:
        """Return one row of features a tile, sections one after another."""
        tables = [self._section(alone) for alone in tiles.alone()]
        if self.per_section:
            tables = [self._standard(table, section) for table, section in zip(tables, tiles.sections, strict=True)]
        return np.concatenate(tables)

    def raw(self) -> "FeatureReader":
        """Return the reader that leaves features as the trunk gives them."""
        return replace(self, per_section=False)

    def _standard(self, table: Features, section: Section) -> Features:
        mean, spread = table.mean(axis=0), np.maximum(table.std(axis=0), 1e-6)
        if len(table) < FEW and self.usual is not None:
            few = f"section {section.name}: has {len(table)} tiles, fewer than the {FEW} that mean and spread can be taken from"
            if self.usual.fitted:
                mean, spread = (moment.cpu().numpy() for moment in (self.usual.mean, self.usual.spread))
                _say(f"{few}; its features are standardised by the training tiles'")
            else:
                _say(f"{few}; its own are used all the same, since the run holds no others: train again")
        return (table - mean) / spread

    def _section(self, tiles: Tiles) -> Features:
        if self.cache is None:
            return self._compute(tiles)
        (section,) = tiles.sections
        path = self.cache / f"{self._key(section, tiles.spec)}.safetensors"
        known_xy, known = _load(path)
        places = {tuple(place): row for row, place in enumerate(known_xy.tolist())}
        new = [row for row, place in enumerate(section.xy.tolist()) if tuple(place) not in places]
        if new:
            fresh = self._compute(tiles.subset(np.array(new)))
            places |= {tuple(place): len(known) + row for row, place in enumerate(section.xy[new].tolist())}
            known = np.concatenate([known.reshape(-1, fresh.shape[1]), fresh])
            write_tensors(path, {"xy": np.concatenate([known_xy, section.xy[new]]), "features": known})
        return known[[places[tuple(place)] for place in section.xy.tolist()]]

    def _key(self, section: Section, spec: TileSpec) -> str:
        parts = [trunk_digest(self.trunk), section.slide.digest(), section.mpp, spec.pixels, spec.microns, spec.padding]
        # One view adds nothing, so that what was kept before there were views is still found.
        return hashlib.sha256(json.dumps(parts + [self.views] * (self.views > 1)).encode()).hexdigest()[:32]

    def _compute(self, tiles: Tiles) -> Features:
        device = next(self.trunk.parameters()).device
        self.trunk.eval()
        out = []
        name = tiles.sections[0].name
        batches = DataLoader(_Images(tiles), sampler=_Steps(len(tiles), self.batch), batch_size=None, num_workers=self.workers)
        with one_sentence(), tqdm(total=len(tiles), desc=f"features of {name}", unit="tile", leave=False) as bar:
            for images in batches:
                with torch.no_grad():
                    out.append(self._averaged(images.to(device, non_blocking=True)).cpu().numpy())
                bar.update(len(images))
        return np.concatenate(out)

    def _averaged(self, images: Images) -> Float32[Tensor, "batch features"]:
        seen = self.trunk(images).float()
        for view in range(1, self.views):
            seen += self.trunk(turned(images, view)).float()
        return seen / self.views


@final
class _Steps(Sampler[range]):
    """The rows of each step, in order."""

    def __init__(self, tiles: int, batch: int) -> None:
        self.tiles, self.batch = tiles, batch

    def __len__(self) -> int:
        return -(-self.tiles // self.batch)

    def __iter__(self) -> Iterator[range]:
        for start in range(0, self.tiles, self.batch):
            yield range(start, min(start + self.batch, self.tiles))


@final
class _Images(Dataset[Images]):
    """Tiles as they are, a whole step at a time: `images[rows]`."""

    def __init__(self, tiles: Tiles) -> None:
        self.tiles = tiles

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, rows: range) -> Images:
        return torch.from_numpy(self.tiles.images(rows))


@lru_cache(maxsize=256)
def _say(words: str) -> None:
    """Say it, but not again each time the same section is looked at."""
    log.warning(words)


def _load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if path.exists():
        try:
            kept = load_file(path)
            return kept["xy"], kept["features"]
        except (SafetensorError, KeyError, OSError):
            log.warning("%s: is damaged; its features are computed again", path)
    return np.empty((0, 2)), np.empty((0, 0), np.float32)
