"""Trunks from torchvision, for what timm lacks (AlexNet, SqueezeNet, GoogLeNet, MNASNet, ShuffleNet v2): the only door to it.

Convolutional networks alone, and of them those that go through their parts one after another, so that any depth can be read.
"""

from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from bleep.config import ImageConfig
from bleep.errors import ConfigError
from bleep.models.backbones import Backbone, add_adapters, clear_errors, clear_weights, whole_blocks

PREFIX = "torchvision/"
FAMILIES: dict[str, tuple[str, ...]] = {
    "alexnet": ("features",),
    "vgg": ("features",),
    "squeezenet": ("features",),
    "densenet": ("features",),
    "efficientnet_b": ("features",),
    "mobilenet": ("features",),
    "mnasnet": ("layers",),
    "regnet": ("stem", "trunk_output"),
    "googlenet": (),
    "shufflenet": (),
    "resnet": (),
    "resnext": (),
    "wide_resnet": (),
}
"""Where a family keeps the parts that give its last map: inside these modules, or on its top level."""
HALF = ("googlenet", "inception")
"""Families whose weights expect mean and spread of one half."""
_ENDS = ("avgpool", "fc", "dropout", "aux")
_NORMS = (nn.modules.batchnorm._BatchNorm,)
Pixels = Float[Tensor, "batch 3 height width"]
Read = Float[Tensor, "batch channels"]


@cache
def names() -> tuple[str, ...]:
    """Return the trunks there are."""
    from torchvision import models

    return tuple(name for name in models.list_models(module=models) if name.startswith(tuple(FAMILIES)))


def knows(name: str) -> bool:
    """Return whether there is such a trunk, with or without `torchvision/` before its name."""
    return name.removeprefix(PREFIX) in names()


def near(name: str) -> list[str]:
    """Return names that begin alike."""
    start = name.removeprefix(PREFIX)[:4]
    return [f"{PREFIX}{found}" for found in names() if start and found.startswith(start)][:3]


def build(config: ImageConfig, pixels: int) -> Backbone:
    """Build a trunk that `knows` has found.

    Raises:
        ConfigError: it has no such layer, or no attention for adapters.
        WeightsError: the weights cannot be fetched, or do not fit in every name and shape.

    """
    from torchvision import models

    name = config.trunk.removeprefix(PREFIX)
    plain: dict[str, Any] = {"init_weights": False} if name == "googlenet" else {}
    if name == "googlenet" and config.weights != "hub":
        plain["aux_logits"] = False
    weights = models.get_model_weights(name).DEFAULT
    with clear_errors(config, pixels, "with no network, set image.weights to a local file, or to random"):
        model: Any = models.get_model(name, weights=weights if config.weights == "hub" else None, **plain)
    if name == "googlenet":
        # Its colours are brought to one half here, as everywhere, and not once more inside.
        model.transform_input, model.aux_logits, model.aux1, model.aux2 = False, False, None, None
    if config.weights not in ("hub", "random"):
        _load_file(model, Path(config.weights), name, keep_head=config.output == "logits")
    if config.output == "pooled":
        _drop_last_layer(model)
    if config.train == "lora":
        add_adapters(model, config.trunk, config.lora_rank)
    groups = _groups(model, name)
    if config.layer is not None:
        model = _cut(groups, config)
    colours = weights.transforms()
    mean, std = ((0.5,) * 3, (0.5,) * 3) if name.startswith(HALF) else (tuple(colours.mean), tuple(colours.std))
    read = _whole if config.layer is None else _mean_of_map
    grid = None if config.layer is None else _whole_map
    return Backbone(model, read, mean, std, _blocks(model, groups), PREFIX + name, grid)


def _whole(model: Any, pixels: Pixels) -> Read:
    return model(pixels)


def _whole_map(model: Any, pixels: Pixels) -> Float[Tensor, "batch channels rows columns"]:
    return model(pixels)


def _mean_of_map(model: Any, pixels: Pixels) -> Read:
    return model(pixels).mean(dim=(2, 3))


def _load_file(model: nn.Module, path: Path, name: str, *, keep_head: bool) -> None:
    with clear_weights(path, PREFIX + name):
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
        state = {key: value for key, value in state.items() if not key.startswith("aux")}
        last = _last_layer(model)
        own = {key for key in model.state_dict() if not key.startswith(f"{last}.")} if not keep_head else None
        if own is not None:
            # Whatever the last layer in the file was trained for, it is not read.
            state = {key: value for key, value in state.items() if not key.startswith(f"{last}.")}
            state |= {key: value for key, value in model.state_dict().items() if key not in own}
        model.load_state_dict(state, strict=True)


def _last_layer(model: nn.Module) -> str:
    """Return the path of what gives the logits: the last linear layer, or SqueezeNet's last convolution."""
    linear = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    return linear[-1] if linear else "classifier.1"


def _drop_last_layer(model: nn.Module) -> None:
    """Let a network give what its last layer reads; of SqueezeNet, whose last layer is a convolution, the pooled map."""
    path = _last_layer(model)
    if path == "classifier.1" and isinstance(model.get_submodule(path), nn.Conv2d):
        model.classifier = nn.AdaptiveAvgPool2d(1)
        return
    parent, _, child = path.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Identity())


def _groups(model: nn.Module, name: str) -> list[list[tuple[str, nn.Module]]]:
    """Return the blocks up to the last map, each a convolution or larger part with what has no weights after it."""
    family = next(FAMILIES[start] for start in sorted(FAMILIES, key=len, reverse=True) if name.startswith(start))
    parts: list[tuple[str, nn.Module]] = []
    for path in family or ("",):
        inside = model.get_submodule(path)
        if path == "stem":
            parts.append((path, inside))
            continue
        parts += [
            (f"{path}.{child}".lstrip("."), module)
            for child, module in inside.named_children()
            if family or not child.startswith(_ENDS)
        ]
    groups: list[list[tuple[str, nn.Module]]] = []
    for path, module in parts:
        begins = any(True for _ in module.parameters()) and not isinstance(module, _NORMS)
        if begins or not groups:
            groups.append([])
        groups[-1].append((path, module))
    return groups


def _cut(groups: list[list[tuple[str, nn.Module]]], config: ImageConfig) -> nn.Module:
    """Return the blocks up to the one that is read."""
    assert config.layer is not None
    if config.layer >= len(groups):
        raise ConfigError(
            f"image.layer: {config.trunk} has no layer {config.layer} to read (it has {len(groups)}, the first is 0)"
        )
    kept = [part for group in groups[: config.layer + 1] for part in group]
    return nn.Sequential(OrderedDict((path.replace(".", "_"), module) for path, module in kept))


def _blocks(model: nn.Module, groups: list[list[tuple[str, nn.Module]]]) -> list[list[str]]:
    """Return the names of each block's parameters; what follows the last map is a block too."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    blocks, seen = [], set()
    for group in groups:
        found = [names[id(p)] for _, module in group for p in module.parameters() if id(p) in names]
        seen |= set(found)
        if found:
            blocks.append(found)
    rest = [name for name in names.values() if name not in seen]
    return whole_blocks([*blocks, rest] if rest else blocks, model)
