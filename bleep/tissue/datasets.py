"""Spots as torch reads them: tiles cut on the way, or the features a frozen trunk has already given."""

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.utils.data import Dataset

from bleep.records import Batch
from bleep.tissue.augment import draws, turned
from bleep.tissue.tiles import Tiles


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
