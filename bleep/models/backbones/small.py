"""Small convolution nets for patches, trained from nothing: one recipe of blocks, and the nets of the seeds as its values."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from bleep.config import ImageConfig
from bleep.errors import ConfigError
from bleep.models.backbones import Backbone, clear_weights

PREFIX = "small/"
"""Stands before the names of these nets."""


@final
@dataclass(frozen=True, slots=True)
class Recipe:
    """A net of blocks; a block is some layers of one width, then pooling by 2 and dropout."""

    blocks: tuple[tuple[int, int], ...]
    """Channels and number of layers of each block."""
    kernel: int = 3
    separable: bool = True
    """Each convolution is one in each channel and one across them (Chollet, CVPR 2017)."""
    dropout: float = 0.25
    """After each block."""


CANCER_NET = ((32, 1), (64, 2), (128, 3))
RECIPES: Mapping[str, Recipe] = {
    "cancernet": Recipe(CANCER_NET),
    "cancernet-k2": Recipe(CANCER_NET, kernel=2),
    "cancernet-k5": Recipe(CANCER_NET, kernel=5),
    "cancernet-deep": Recipe((*CANCER_NET, (256, 3))),
    "cancernet-32-64-128": Recipe(((32, 1), (64, 1), (128, 1))),
    "cancernet-32-64": Recipe(((32, 1), (64, 1))),
    "cancernet-no-dropout": Recipe(CANCER_NET, dropout=0.0),
    "vgg5": Recipe(((32, 1), (64, 1), (128, 1), (128, 1), (256, 1)), separable=False),
}
"""CancerNet as the student team described it, its variants, and the five-block net in the manner of VGG."""


def knows(name: str) -> bool:
    """Return whether this is one of these nets."""
    return name.removeprefix(PREFIX) in RECIPES and name.startswith(PREFIX)


def near() -> list[str]:
    """Return all their names."""
    return [PREFIX + name for name in RECIPES]


@final
class SmallNet(nn.Module):
    """Convolution, ReLU and BatchNorm, block by block; the last map, flattened, is the features."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        channels, blocks = 3, []
        for width, layers in recipe.blocks:
            parts: list[nn.Module] = []
            for _ in range(layers):
                parts += [*_convolution(channels, width, recipe), nn.ReLU(), nn.BatchNorm2d(width)]
                channels = width
            blocks.append(nn.Sequential(*parts, nn.MaxPool2d(2), nn.Dropout(recipe.dropout)))
        self.blocks = nn.Sequential(*blocks)

    def forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch features"]:
        return self.blocks(pixels).flatten(1)


def _convolution(channels: int, width: int, recipe: Recipe) -> list[nn.Module]:
    size = recipe.kernel
    # An even kernel has one more pixel to the right and below, as in Keras; torch's own rule copies the input for that.
    pad = nn.ZeroPad2d(((size - 1) // 2, size // 2) * 2)
    if not recipe.separable:
        return [pad, nn.Conv2d(channels, width, size)]
    return [pad, nn.Conv2d(channels, channels, size, groups=channels, bias=False), nn.Conv2d(channels, width, 1)]


def build(config: ImageConfig, pixels: int) -> Backbone:
    """Build a net that `knows` has found; its BatchNorm learns, since there is nothing it could keep.

    Raises:
        ConfigError: tiles are too small to be halved so often, there are no weights to fetch, or what is asked of other
            trunks is not there.
        WeightsError: a file does not fit.

    """
    name = config.trunk.removeprefix(PREFIX)
    recipe = RECIPES[name]
    if config.weights == "hub":
        raise ConfigError(f"image.trunk {config.trunk}: no hub has weights of it; set image.weights to random, or to a run")
    if config.layer is not None or config.output == "logits" or config.train == "lora":
        raise ConfigError(
            f"image.trunk {config.trunk} has no image.layer, logits or attention to choose; leave these as they are"
        )
    if pixels < 2 ** len(recipe.blocks):
        raise ConfigError(
            f"image.trunk {config.trunk} halves its tiles {len(recipe.blocks)} times, and they have {pixels} pixels: "
            "raise tiles.pixels"
        )
    model = SmallNet(recipe)
    if config.weights != "random":
        with clear_weights(Path(config.weights), config.trunk):
            model.load_state_dict(load_file(config.weights))
    blocks = [[f"blocks.{at}.{path}" for path, _ in block.named_parameters()] for at, block in enumerate(model.blocks)]
    return Backbone(model, _whole, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), blocks, config.trunk, norms_learn=True)


def _whole(model: Any, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch features"]:
    return model(pixels)
