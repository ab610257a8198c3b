"""Training tiles turned, shifted, sheared and zoomed, on whole batches; drawn anew each epoch, never at prediction."""

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from bleep.config import OptimConfig
from bleep.records import Batch

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
