"""Turning and mirroring of training tiles, the same for a spot in an epoch on any number of processes."""

import numpy as np

from bleep.tissue.tiles import Tile


def turned(tile: Tile, key: tuple[int, int, int]) -> Tile:
    """Return one of the eight symmetries of the square, drawn from (seed, epoch, row); all windows turn together."""
    draw = int(np.random.default_rng(key).integers(8))
    tile = np.rot90(tile, draw % 4, axes=(2, 3))
    return np.ascontiguousarray(tile[..., ::-1] if draw >= 4 else tile)
