"""Tiles as datasets of torch, counts and places of their spots; how whole batches are turned, shifted, sheared and zoomed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt8
from scipy import sparse
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample
from torch.utils.data import Dataset, Sampler

from bleep.config import OptimConfig
from bleep.data.panel import GenePanel
from bleep.data.section import Section
from bleep.data.tiles import Tiles
from bleep.errors import DataError
from bleep.records import Batch

Tile = UInt8[Tensor, "*many 3 pixels pixels"]


@lru_cache(maxsize=2)
def draws(seed: int, epoch: int, spots: int) -> Int[np.ndarray, " spots"]:
    """Return for every spot the number of one of the square's eight symmetries, drawn anew each epoch."""
    drawn: np.ndarray = np.random.default_rng([seed, epoch]).integers(8, size=spots)
    return drawn


def turned(tile: Tile, symmetry: int) -> Tile:
    """Return a tile, or several, under a symmetry, all windows alike; it may share memory with what was given.

    Bit 0 mirrors left and right, bit 1 up and down, bit 2 swaps rows and columns: together the eight.
    """
    axes = [axis for bit, axis in ((1, -1), (2, -2)) if symmetry & bit]
    # A tile at a time stays in the processor's cache; a whole batch at once took six times as long.
    mirrored = torch.flip(tile, axes) if axes else tile
    return mirrored.transpose(-2, -1) if symmetry & 4 else mirrored


ROOM = 8
"""How many times the tables of a training must fit into a GPU's free memory to be kept there."""


@final
class TileDataset(Dataset[Batch]):
    """Training tiles, read a whole batch at a time: `dataset[(epoch, rows)]` is a Batch."""

    def __init__(self, tiles: Tiles, expression: Float32[np.ndarray, "spots genes"], seed: int, *, augment: bool) -> None:
        self.tiles, self.expression, self.seed, self.augment = tiles, torch.from_numpy(expression), seed, augment

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, key: tuple[int, Sequence[int]]) -> Batch:
        epoch, rows = key
        images = torch.empty((len(rows), *self.tiles.shape), dtype=torch.uint8)
        symmetries = draws(self.seed, epoch, len(self)) if self.augment else None
        for at, row in enumerate(rows):
            tile = torch.from_numpy(self.tiles.read(row))
            images[at] = tile if symmetries is None else turned(tile, int(symmetries[row]))
        where = torch.as_tensor(rows)
        return Batch(images, self.expression[where], where)


@final
class FeatureDataset(Dataset[Batch]):
    """The features of a frozen trunk: `dataset[(epoch, rows)]` is a Batch."""

    def __init__(self, features: Float[Tensor, "spots features"], expression: Float32[np.ndarray, "spots genes"]) -> None:
        self.features, self.expression = features, torch.from_numpy(expression)

    def on(self, device: torch.device) -> "FeatureDataset":
        """Return the same on a GPU that has room for it many times over, so that no step has to be brought there."""
        size = sum(table.nbytes for table in (self.features, self.expression))
        if device.type != "cuda" or size * ROOM > torch.cuda.mem_get_info(device)[0]:
            return self
        there = FeatureDataset(self.features.to(device), np.empty((0, 0), np.float32))
        there.expression = self.expression.to(device)
        return there

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, key: tuple[int, Sequence[int]]) -> Batch:
        where = torch.as_tensor(key[1]).to(self.features.device, non_blocking=True)
        return Batch(self.features[where], self.expression[where], where)


@final
class Steps(Sampler[range]):
    """The rows of each step, in order."""

    def __init__(self, rows: range, batch: int) -> None:
        self.rows, self.batch = rows, batch

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch)

    def __iter__(self) -> Iterator[range]:
        for start in range(0, len(self.rows), self.batch):
            yield self.rows[start : start + self.batch]


@final
class TileImages(Dataset[Tile]):
    """Tiles as they are, a whole step at a time: `images[rows]`."""

    def __init__(self, tiles: Tiles) -> None:
        self.tiles = tiles

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, rows: range) -> Tile:
        return torch.from_numpy(self.tiles.images(rows))


_AFFINE = 0xAFF1
"""Keeps these draws apart from those of other augmentations of the same seed."""


@final
@dataclass(frozen=True, slots=True)
class AffineJitter:
    """Gives each training tile a new affine map in each epoch; what it shows beyond the tile is mirrored."""

    seed: int
    spots: int
    """Training spots there are."""
    rotate: float
    """Degrees, at most, to either side."""
    shift: float
    """Share of the side, at most, in x and in y."""
    shear: float
    """Slope, at most."""
    zoom: float
    """Share, at most, by which a tile is enlarged or shrunk."""

    @classmethod
    def of(cls, config: OptimConfig, seed: int, spots: int) -> "AffineJitter | None":
        """Return what the settings ask for; None: nothing."""
        asked = (config.rotate, config.shift, config.shear, config.zoom)
        return cls(seed, spots, *asked) if any(asked) else None

    def __call__(self, batch: Batch, epoch: int) -> Batch:
        """Return the batch with its tiles moved, all windows of a tile alike."""
        maps = _maps(self, epoch)[batch.rows.cpu()].to(batch.inputs.device)
        return batch._replace(inputs=moved(batch.inputs, maps))


@lru_cache(maxsize=2)
def _maps(jitter: AffineJitter, epoch: int) -> Float[Tensor, "spots 2 3"]:
    """Draw the map from a place on the new tile to one on the old, in halves of the side, of every spot."""
    draw = np.random.default_rng([jitter.seed, epoch, _AFFINE]).uniform(-1, 1, (jitter.spots, 5))
    angle = np.deg2rad(jitter.rotate) * draw[:, 0]
    cosine, sine, one, none = np.cos(angle), np.sin(angle), np.ones(len(draw)), np.zeros(len(draw))
    turn = np.stack([np.stack([cosine, -sine], axis=1), np.stack([sine, cosine], axis=1)], axis=1)
    slope = np.stack([np.stack([one, jitter.shear * draw[:, 1]], axis=1), np.stack([none, one], axis=1)], axis=1)
    linear = turn @ slope * (1 + jitter.zoom * draw[:, 2])[:, None, None]
    return torch.from_numpy(np.concatenate([linear, 2 * jitter.shift * draw[:, 3:, None]], axis=2).astype(np.float32))


def moved(
    images: UInt8[Tensor, "batch windows 3 height width"], maps: Float[Tensor, "batch 2 3"]
) -> UInt8[Tensor, "batch windows 3 height width"]:
    """Return tiles under their maps, bilinear between pixels; the identity gives every tile back to the bit."""
    batch, windows, channels, height, width = images.shape
    flat = images.reshape(batch, windows * channels, height, width).float()
    grid = affine_grid(maps, [batch, 1, height, width], align_corners=False)
    seen = grid_sample(flat, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return seen.round().clamp(0, 255).to(torch.uint8).reshape(images.shape)


class Counts(NamedTuple):
    """What was counted in every training spot."""

    counts: Float[Tensor, "spots genes"]
    """Of the panel's genes."""
    log_exposure: Float[Tensor, " spots"]
    """Logarithm of a spot's total over the panel's target: what a rate is multiplied by to be a count."""


def counts_of(sections: Sequence[Section], panel: GenePanel) -> Counts:
    """Return the counts of the spots of these sections.

    Raises:
        DataError: a section holds values that are not whole numbers.

    """
    tables, totals = [], []
    for section in sections:
        every = sparse.csr_matrix(section.counts.X, dtype=np.float64)
        odd = every.data[every.data != np.round(every.data)]
        if len(odd):
            raise DataError(
                f"section {section.name}: holds {odd[0]:g}, which is no whole number, but loss.nb is a likelihood of counts: "
                "give counts, or set loss.nb to 0"
            )
        table = every[:, panel.columns(section)].toarray()
        tables.append(table)
        totals.append(table.sum(axis=1) if panel.denominator == "panel" else np.asarray(every.sum(axis=1)).ravel())
    # A spot without counts is taken to have one: its counts are all 0 whatever its total is.
    exposure = np.log(np.maximum(np.concatenate(totals), 1.0) / panel.target)
    return Counts(torch.from_numpy(np.concatenate(tables)).float(), torch.from_numpy(exposure).float())


class Places(NamedTuple):
    """Where every training spot lies."""

    place: Float[Tensor, "spots 2"]
    """In microns, x first."""
    section: Int[Tensor, " spots"]
    """Number of its section."""


def places_of(sections: Sequence[Section]) -> Places:
    """Return where the spots of these sections lie, in microns.

    Raises:
        DataError: a section is of ready-cut tiles, which have no known places.

    """
    for section in sections:
        if not section.has_positions:
            raise DataError(
                f"section {section.name}: its ready-cut tiles have no known places, so none is near another: "
                "set loss.near to 0, or use loss.alike"
            )
    place = np.concatenate([section.xy * section.mpp for section in sections])
    number = np.concatenate([np.full(len(section), which) for which, section in enumerate(sections)])
    return Places(torch.from_numpy(place).float(), torch.from_numpy(number))
