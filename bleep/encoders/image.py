"""The image encoder: any timm trunk, with its own normalisation inside, cut at any depth."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, final

import timm
import torch
from jaxtyping import Float, UInt8
from timm.data.config import resolve_data_config
from timm.models import group_parameters, load_checkpoint
from torch import Tensor, nn

from bleep.encoders.lora import MARK, add_adapters, check_reached
from bleep.errors import ConfigError, WeightsError
from bleep.settings import ImageConfig


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

    def __init__(self, model: Any, config: ImageConfig, pixels: int) -> None:
        super().__init__()
        self.model, self.layer, self._config = model, config.layer, config
        cfg = resolve_data_config({}, model=model)
        self.register_buffer("mean", torch.tensor(cfg["mean"]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(cfg["std"]).view(1, 3, 1, 1))
        learning = _learning_parameters(model, config)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in learning)
        self.learns = bool(learning)
        self.eval()
        with torch.set_grad_enabled(config.train == "lora"):
            output = self(torch.zeros(1, 1, 3, pixels, pixels, dtype=torch.uint8))
        self.width = int(output.shape[1])
        if config.train == "lora":
            check_reached(model, config.trunk, output)

    def forward(self, images: UInt8[Tensor, "batch windows 3 height width"]) -> Float[Tensor, "batch features"]:
        batch, windows = images.shape[:2]
        pixels = (images.flatten(0, 1).float() / 255 - self.mean) / self.std
        features = self._features(pixels.contiguous(memory_format=torch.channels_last))
        return features.reshape(batch, windows * features.shape[-1])

    def _features(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels"]:
        if self.layer is None:
            return self.model(pixels)
        maps = self.model.forward_intermediates(
            pixels, indices=[self.layer], stop_early=True, norm=False, output_fmt="NCHW", intermediates_only=True
        )
        return maps[0].mean(dim=(2, 3))

    def paces(self) -> dict[str, Pace]:
        """Return how each parameter that learns does, by its name here.

        A block's rate is `layer_decay` times that of the next one above it. Under `gradual`, the j-th block from the end
        begins to learn after j / (blocks that learn + 1) of the training, and the heads are alone before.
        """
        learning = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        if self._config.train != "gradual" and self._config.layer_decay == 1:
            return {f"model.{name}": Pace(1.0, 0.0) for name in learning}
        groups = _blocks(self.model)
        blocks = sum(1 for names in groups if learning & set(names))
        paces: dict[str, Pace] = {}
        for below, names in enumerate(reversed(groups)):
            start = (below + 1) / (blocks + 1) if self._config.train == "gradual" else 0.0
            pace = Pace(self._config.layer_decay**below, start)
            paces |= {f"model.{name}": pace for name in names if name in learning}
        return paces

    def train(self, mode: bool = True) -> "ImageTrunk":
        """Set the mode; a frozen trunk and every BatchNorm stay as in evaluation."""
        super().train(mode and self.learns)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self


def build_trunk(config: ImageConfig, pixels: int) -> tuple[ImageTrunk, str]:
    """Build the trunk a configuration asks for; return it with its name as timm resolves it.

    Raises:
        ConfigError: timm knows no such model, it cannot take tiles of that size, or it has no such layer.
        WeightsError: the weights cannot be fetched, or do not fit the trunk in every name and shape.

    """
    options = _options(config.trunk, pixels)
    with _clear_errors(config, pixels):
        model: Any = timm.create_model(config.trunk, pretrained=config.weights == "hub", num_classes=0, **options)
    if config.weights not in ("hub", "random"):
        _load_file(model, Path(config.weights))
    if config.layer is not None:
        _cut(model, config)
    if config.train == "lora":
        add_adapters(model, config.trunk, config.lora_rank)
    cfg = model.pretrained_cfg
    name = cfg["architecture"] + (f".{cfg['tag']}" if cfg.get("tag") else "")
    with _clear_errors(config, pixels):
        return ImageTrunk(model, config, pixels), name


def _options(name: str, pixels: int) -> dict[str, Any]:
    bare = name.partition(":")[2] or name
    try:
        known = timm.get_pretrained_cfg(bare)
    except RuntimeError:
        known = None
    if known is None or not timm.is_model(bare):
        near = timm.list_models(f"*{bare.split('.')[0].split('_')[0]}*")[:4]
        raise ConfigError(f"image.trunk: timm knows no model {name!r}; near it: {', '.join(near) or 'nothing'}")
    return {"img_size": pixels} if known.fixed_input_size else {}


@contextlib.contextmanager
def _clear_errors(config: ImageConfig, pixels: int) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("timm", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    except (AssertionError, ValueError, TypeError) as error:
        raise ConfigError(f"image.trunk {config.trunk} cannot take tiles of {pixels} pixels: {_line(error)}") from None
    except (OSError, RuntimeError) as error:
        if config.weights != "hub":
            raise ConfigError(f"image.trunk {config.trunk} cannot take tiles of {pixels} pixels: {_line(error)}") from None
        raise WeightsError(
            f"the weights of {config.trunk} could not be fetched from the model hub ({type(error).__name__}): with no network, "
            "set image.weights to a local .safetensors or .pth file, or to random"
        ) from None
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _load_file(model: Any, path: Path) -> None:
    if not path.is_file():
        raise WeightsError(f"image.weights: {path}: no such file; give a local .safetensors or .pth file, hub or random")
    family = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    heads = model.pretrained_cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)

    def fitted(state: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
        state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
        if family is not None:
            state = family(state, model)
        return {key: value for key, value in state.items() if key.rpartition(".")[0] not in heads}

    try:
        load_checkpoint(model, str(path), strict=True, filter_fn=fitted)
    except RuntimeError as error:
        details = [line.strip() for line in str(error).splitlines()[1:3]]
        if not details:
            raise WeightsError(f"{path}: cannot be read as weights ({_line(error)[:100]}); is the file whole?") from None
        raise WeightsError(
            f"{path}: does not fit the trunk {model.pretrained_cfg['architecture']}: {' '.join(details)[:300]}"
        ) from None
    except Exception as error:  # safetensors and torch raise many kinds for a damaged file
        raise WeightsError(f"{path}: cannot be read as weights ({type(error).__name__}); is the file whole?") from None


def _cut(model: Any, config: ImageConfig) -> None:
    """Drop the layers above the one that is read, so that they cost neither time nor memory."""
    try:
        model.prune_intermediate_layers([config.layer], prune_norm=True, prune_head=True)
    except (AssertionError, AttributeError, IndexError) as error:
        raise ConfigError(f"image.layer: {config.trunk} has no layer {config.layer} to read ({_line(error)})") from None


def _learning_parameters(model: Any, config: ImageConfig) -> set[str]:
    names = {name for name, _ in model.named_parameters()}
    if config.train == "full":
        return names
    if config.train == "frozen":
        return set()
    if config.train == "lora":
        return {name for name in names if MARK in name}
    return {name for block in _blocks(model)[-config.unfreeze :] for name in block} & names


def _blocks(model: Any) -> list[list[str]]:
    """Return the names of each block's parameters as timm groups them, the stem first."""
    groups = group_parameters(model, model.group_matcher(coarse=False))
    return [groups[key] for key in sorted(groups)]
