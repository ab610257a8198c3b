"""Jitter of the stains of training tiles, on the device they are on, the same for a spot in an epoch however it is batched.

A tile's optical density is taken apart into haematoxylin, eosin and DAB (Ruifrok & Johnston, Anal Quant Cytol Histol 2001),
each is multiplied by a factor and moved by a shift, and the picture is put together again (Tellez et al., Medical Image
Analysis 2019). The third is not in the tissue: it takes what the other two leave over. All of it is linear in the density,
so a spot's jitter is one affine map of its pixels' three densities.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from bleep.records import Batch
from bleep.tissue.checks.stain import VECTORS

DAB = (0.27, 0.57, 0.78)
"""Optical density of diaminobenzidine in red, green and blue (Ruifrok & Johnston 2001)."""
HED = np.array([*VECTORS, DAB]) / np.linalg.norm([*VECTORS, DAB], axis=1, keepdims=True)
"""The three stains, each of unit length."""
PIECE = 32
"""Spots worked on at a time: bounds the memory of what lies between, and stays in a processor's cache."""
_STAIN = 0x57A1
"""Told to the generator beside seed and epoch, so that it repeats neither the order of the spots nor their turns."""

Images = UInt8[Tensor, "batch windows 3 height width"]
Maps = Float32[Tensor, "batch 3 4"]
"""For each spot and new colour: the weight of each old one's density, and what is added."""


@final
@dataclass(frozen=True, slots=True)
class StainJitter:
    """Gives the stains of each training spot a new strength in each epoch."""

    seed: int
    spots: int
    """Training spots there are."""
    strength: float
    """Factors are drawn from 1 - strength to 1 + strength, shifts from -strength to strength (decadic optical density)."""

    def __call__(self, batch: Batch, epoch: int) -> Batch:
        """Return the batch with its tiles jittered; strength 0 returns it as it is."""
        if self.strength == 0:
            return batch
        maps = _all_maps(self.seed, epoch, self.spots, self.strength, batch.inputs.device)
        return batch._replace(inputs=jittered(batch.inputs, maps[batch.rows]))


def drawn(seed: int, epoch: int, spots: int, strength: float) -> Float[np.ndarray, "spots 2 3"]:
    """Draw factor and shift of each stain for every spot; a spot's do not depend on how many others there are."""
    jitter = np.random.default_rng([seed, epoch, _STAIN]).uniform(-strength, strength, (spots, 2, 3))
    jitter[:, 0] += 1
    return jitter


def maps_of(jitter: Float[np.ndarray, "spots 2 3"]) -> Maps:
    """Return the affine map of each spot's optical densities that its factors and shifts amount to."""
    weights = np.einsum("rs,ns,sc->ncr", np.linalg.inv(HED), jitter[:, 0], HED)
    return torch.from_numpy(np.concatenate([weights, (jitter[:, 1] @ HED)[:, :, None]], axis=2).astype(np.float32))


def jittered(images: Images, maps: Maps) -> Images:
    """Return tiles whose optical densities went through their spots' maps, all windows of a spot alike.

    Density is -log10 of (grey + 1) / 256, as in `bleep.tissue.checks.stain`; what becomes brighter than white is white.
    """
    out = torch.empty_like(images)
    for at in range(0, len(images), PIECE):
        out[at : at + PIECE] = _piece(images[at : at + PIECE], maps[at : at + PIECE])
    return out


def _piece(images: Images, maps: Maps) -> Images:
    # Powers of 2 are faster than those of 10; the weights are the same for any base, and the shift is brought to it.
    light = torch.log2(images.float() + 1) - 8
    weights, shift = maps[:, :, :3, None, None, None], maps[:, :, 3, None, None, None] / np.log10(2)
    old = light.unbind(2)
    # One colour after another, number by number: a product of matrices may round otherwise in a batch of another size.
    new = [sum((w * o for w, o in zip(weights[:, c].unbind(1), old, strict=True)), -shift[:, c]) for c in range(3)]
    return (torch.exp2(torch.stack(new, 2) + 8) - 1).round_().clamp_(0, 255).to(torch.uint8)


@lru_cache(maxsize=2)
def _all_maps(seed: int, epoch: int, spots: int, strength: float, device: torch.device) -> Float32[Tensor, "spots 3 4"]:
    """Return every spot's map of an epoch where the tiles are, so that a step moves nothing and waits for nothing."""
    return maps_of(drawn(seed, epoch, spots, strength)).to(device)
