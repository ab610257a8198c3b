"""Spots as torch reads them: tiles cut on the way, or the features a frozen trunk has already given."""

from collections.abc import Sequence
from functools import lru_cache
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from bleep.data.tiles import Tiles
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

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, key: tuple[int, Sequence[int]]) -> Batch:
        where = torch.as_tensor(key[1])
        return Batch(self.features[where], self.expression[where], where)
