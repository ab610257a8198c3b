"""A trunk without weights: numbers of the two stains and of their texture, from cells to a third of the window."""

import math
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from bleep.config import ImageConfig
from bleep.errors import ConfigError
from bleep.models.backbones import Backbone
from bleep.records import UNMIX

NAME, CENTRED = "textures", "centred-textures"
"""What `image.trunk` calls it, and what it calls the form that looks at the middle of each window, too."""
NAMES = (NAME, CENTRED)
MIDDLES = (1.0, 0.7071, 0.5, 0.25)
"""Shares of a window's side that `centred-textures` looks at."""
BANDS = 4
"""Bands of a picture that are looked at, each an octave coarser than the one before."""
LEAST = 2**BANDS
"""Pixels of the side that the last band needs."""
LARGE = 128
"""Pixels of the side above which a window is halved first: finer structure says little, and costs most."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
EVERY = 7
"""Of the pixels, quantiles are taken over every seventh."""
FLAT = 2.5e-4
"""Optical density whose logarithm stands for a band in which nothing varies."""
FLAT_ENERGY = 6e-5
"""The same of squared densities."""


@final
class Textures(nn.Module):
    """Numbers of haematoxylin and of eosin (Ruifrok and Johnston 2001), whose optical densities are taken apart.

    Of each stain: five quantiles; in each band of a Laplacian pyramid (Burt and Adelson, IEEE Transactions on Communications
    31:532, 1983) the logarithm of its spread, how peaked it is, and how unevenly its energy lies; the mean and spread of what
    is left. Of both: their correlation in each band. Spreads are logarithms, so a section that is stained more strongly as a
    whole differs by a constant, which standardising by section takes away.

    Args:
        middles: shares of the window's side; the numbers of the whole window and of its middles stand side by side.

    """

    def __init__(self, middles: tuple[float, ...] = (1.0,)) -> None:
        super().__init__()
        self.middles = middles
        if middles != (1.0,):
            # Among what a cache of features goes by: other middles are other numbers.
            self.register_buffer("shares", torch.tensor(middles))
        self.unmix = nn.Parameter(torch.from_numpy(UNMIX.T.astype(np.float32)), requires_grad=False)

    def forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch numbers"]:
        # Differences of densities need the digits that half precision lacks.
        with torch.autocast(pixels.device.type, enabled=False):
            density = 8 * math.log10(2) - torch.log10(pixels.float() * 255 + 1)
            return torch.cat([self._of(_middle(density, share)) for share in self.middles], dim=1)

    def _of(self, density: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch numbers"]:
        while min(density.shape[-2:]) > LARGE:
            density = avg_pool2d(density, 2)
        return _numbers(torch.einsum("sc,bchw->bshw", self.unmix, density))


def _middle(maps: Float[Tensor, "batch 3 height width"], share: float) -> Float[Tensor, "batch 3 high wide"]:
    """Return the middle of a picture: `share` of each side, to a whole number of pixels on either side of the centre."""
    rows, columns = (slice(side // 2 - _half(side, share), side // 2 + _half(side, share)) for side in maps.shape[-2:])
    return maps if share == 1 else maps[..., rows, columns]


def _half(side: int, share: float) -> int:
    return round(side * share / 2)


def _numbers(stains: Float[Tensor, "batch 2 height width"]) -> Float[Tensor, "batch numbers"]:
    levels = torch.tensor(QUANTILES, device=stains.device)
    found = [torch.quantile(stains.flatten(2)[..., ::EVERY], levels, dim=2).permute(1, 0, 2).flatten(1)]
    for _ in range(BANDS):
        stains = stains[..., : stains.shape[-2] // 2 * 2, : stains.shape[-1] // 2 * 2]
        coarser = avg_pool2d(stains, 2)
        band = stains - interpolate(coarser, scale_factor=2)
        spread = _spread(band)
        together = (band[:, 0] * band[:, 1]).mean((1, 2)) / (spread[:, 0] * spread[:, 1] + FLAT**2)
        energy = avg_pool2d(band**2, 4) if min(band.shape[-2:]) >= 8 else band**2
        uneven = torch.log(_spread(energy) + FLAT_ENERGY) - 2 * torch.log(spread + FLAT)
        found += [torch.log(spread + FLAT), band.abs().mean((2, 3)) / (spread + FLAT), together[:, None], uneven]
        stains = coarser
    return torch.cat([*found, torch.log(_spread(stains) + FLAT), stains.mean((2, 3))], dim=1)


def _spread(maps: Float[Tensor, "batch 2 height width"]) -> Float[Tensor, "batch 2"]:
    return maps.std((2, 3), correction=0)


def build(config: ImageConfig, pixels: int) -> Backbone:
    """Build the form of it that `image.trunk` names.

    Raises:
        ConfigError: weights, a layer, logits or adapters are asked for, or tiles are too small to be halved so often.

    """
    name = config.trunk
    if config.weights not in ("hub", "random"):
        raise ConfigError(f"image.trunk {name} has no weights to load: leave image.weights out")
    if config.layer is not None or config.output == "logits" or config.train != "frozen":
        raise ConfigError(
            f"image.trunk {name} has no layers, logits or weights that learn: set image.layer to none (of a trunk in "
            "image.also, its entry of image.also_layers), image.output to pooled and image.train to frozen"
        )
    if pixels < LEAST:
        raise ConfigError(
            f"image.trunk {name} halves its tiles {BANDS} times, and they have {pixels} pixels: raise tiles.pixels to "
            f"{LEAST} or more"
        )
    # A middle of too few pixels to be halved so often is left out.
    middles = (
        tuple(share for share in MIDDLES if share == 1 or 2 * _half(pixels, share) >= LEAST) if name == CENTRED else (1.0,)
    )
    return Backbone(Textures(middles), _read, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), [["unmix"]], name)


def _read(model: Any, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch numbers"]:
    return model(pixels)
