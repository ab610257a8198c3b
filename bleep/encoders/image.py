"""The image encoder: any trunk of timm or torchvision, with its own normalisation inside, cut at any depth."""

from typing import NamedTuple, final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from bleep.encoders import timm_trunks, torchvision_trunks
from bleep.encoders.backbone import Backbone, clear_errors
from bleep.encoders.foundation import help_with_weights
from bleep.encoders.lora import MARK, check_reached
from bleep.encoders.stain_target import StainTarget
from bleep.errors import ConfigError
from bleep.settings import ImageConfig

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What a trunk may compute in while it does not learn, by name."""


class Pace(NamedTuple):
    """How one parameter learns, beside the others."""

    rate: float
    """Factor of the trunk's learning rate."""
    start: float
    """Share of the training after which it begins to learn."""


@final
class ImageTrunk(nn.Module):
    """Tiles in, features out: mean and spread of the colours are handled here, so no caller can forget or double it.

    Every window of a tile passes through the same trunk; their features stand side by side. BatchNorm layers keep their
    pretrained statistics, so that results do not depend on how a batch is spread over processes.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, config: ImageConfig, pixels: int) -> None:
        super().__init__()
        self.model, self.layer, self._config = backbone.model, config.layer, config
        self._read, self._blocks = backbone.read, backbone.blocks
        self._format = torch.channels_last if config.channels_last else torch.contiguous_format
        self.model.to(memory_format=self._format)
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(backbone.std).view(1, 3, 1, 1))
        self.stain = StainTarget(config.stain)
        learning = self._learning()
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name in learning)
        self.learns = bool(learning)
        self.eval()
        with torch.set_grad_enabled(config.train == "lora"):
            output = self._features(torch.zeros(1, 3, pixels, pixels))
        self.width = int(output.shape[1])
        if config.train == "lora":
            check_reached(self.model, config.trunk, output)

    @property
    def reads(self) -> str:
        """What decides its features beside its weights: depth, output, precision, stains."""
        more = (self._config.output, self._config.precision, self._config.stain)
        return " ".join([str(self.layer), *(word for word in more if word not in ("pooled", "float32", "none"))])

    def forward(self, images: UInt8[Tensor, "batch windows 3 height width"]) -> Float[Tensor, "batch features"]:
        batch, windows = images.shape[:2]
        pixels = (images.flatten(0, 1).float() / 255 - self.mean) / self.std
        dtype = PRECISIONS[self._config.precision]
        if self.training or dtype == torch.float32:
            features = self._features(pixels)
        else:
            check_precision(dtype, pixels.device)
            with torch.autocast(pixels.device.type, dtype):
                features = self._features(pixels).float()
        return features.reshape(batch, windows * features.shape[-1])

    def _features(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels"]:
        return self._read(self.model, pixels.contiguous(memory_format=self._format))

    def paces(self) -> dict[str, Pace]:
        """Return how each parameter that learns does, by its name here.

        A block's rate is `layer_decay` times that of the next one above it. Under `gradual`, the j-th block from the end
        begins to learn after j / (blocks that learn + 1) of the training, and the heads are alone before.
        """
        learning = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        if self._config.train != "gradual" and self._config.layer_decay == 1:
            return {f"model.{name}": Pace(1.0, 0.0) for name in learning}
        blocks = sum(1 for names in self._blocks if learning & set(names))
        paces: dict[str, Pace] = {}
        for below, names in enumerate(reversed(self._blocks)):
            start = (below + 1) / (blocks + 1) if self._config.train == "gradual" else 0.0
            pace = Pace(self._config.layer_decay**below, start)
            paces |= {f"model.{name}": pace for name in names if name in learning}
        return paces

    def _learning(self) -> set[str]:
        """Return the names of the parameters that learn."""
        names = {name for name, _ in self.model.named_parameters()}
        if self._config.train in ("full", "frozen"):
            return names if self._config.train == "full" else set()
        if self._config.train == "lora":
            return {name for name in names if MARK in name}
        return {name for block in self._blocks[-self._config.unfreeze :] for name in block} & names

    def train(self, mode: bool = True) -> "ImageTrunk":
        """Set the mode; a frozen trunk and every BatchNorm stay as in evaluation."""
        if not self.learns and not self.training:
            return self
        super().train(mode and self.learns)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self


def build_trunk(config: ImageConfig, pixels: int) -> tuple[ImageTrunk, str]:
    """Build `image.trunk` alone; return it with the name under which it can be built again.

    Raises:
        ConfigError: neither timm nor torchvision knows such a model, it cannot take tiles of that size, or it has no such
            layer or no logits.
        WeightsError: the weights cannot be fetched, or do not fit the trunk in every name and shape.

    """
    name = config.trunk
    if not name.startswith(torchvision_trunks.PREFIX) and timm_trunks.knows(name):
        backbone = timm_trunks.build(config, pixels)
    elif torchvision_trunks.knows(name):
        backbone = torchvision_trunks.build(config, pixels)
    else:
        near = [*timm_trunks.near(name), *torchvision_trunks.near(name)]
        raise ConfigError(
            f"image.trunk: timm knows no model {name!r}, nor does torchvision; near it: {', '.join(near) or 'nothing'}"
        )
    with clear_errors(config, pixels, help_with_weights(name)):
        return ImageTrunk(backbone, config, pixels), backbone.name


def check_precision(dtype: torch.dtype, device: torch.device) -> None:
    """Refuse half precision on a CPU, where it is neither fast nor complete.

    Raises:
        ConfigError: half precision was asked for without a GPU.

    """
    if dtype == torch.float16 and device.type == "cpu":
        raise ConfigError(
            "image.precision is fp16, which needs a GPU: set it to bf16 or float32 on a CPU "
            "(of a trained run, in its config.yaml)"
        )
