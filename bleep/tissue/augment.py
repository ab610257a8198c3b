"""Turning and mirroring of training tiles, the same for a spot in an epoch on any number of processes."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

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
