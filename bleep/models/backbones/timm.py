"""Trunks from timm, and histology foundation models that timm can build: the only door to timm."""

import sys
from difflib import SequenceMatcher, get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, final

import timm
import torch
from jaxtyping import Float
from timm.data.config import resolve_data_config
from timm.layers.mlp import SwiGLUPacked
from timm.models import group_parameters, load_checkpoint
from torch import Tensor, nn

from bleep.config import ImageConfig
from bleep.errors import ConfigError
from bleep.models.backbones import (
    FOUNDATION,
    OTHERS,
    Backbone,
    add_adapters,
    clear_errors,
    clear_weights,
    help_with_weights,
    line,
    page,
    whole_blocks,
)

Pixels = Float[Tensor, "batch 3 height width"]
Read = Float[Tensor, "batch channels"]


def knows(name: str) -> bool:
    """Return whether timm, or the table of foundation models, has this trunk.

    Raises:
        ConfigError: it is a foundation model that timm cannot build.

    """
    bare = page(name)
    if bare in OTHERS:
        raise ConfigError(
            f"image.trunk {name}: {OTHERS[bare]}; choose one of {', '.join(FOUNDATION)}, "
            "or compute its features with TRIDENT and read them by image.trunk: features"
        )
    try:
        return bare in FOUNDATION or (timm.is_model(_timm_name(bare)) and bool(timm.get_pretrained_cfg(_timm_name(bare))))
    except RuntimeError:
        return False


def near(name: str) -> list[str]:
    """Return names that are much like one that is not known: other weights of the same network, else other networks."""
    bare = _timm_name(page(name))
    architecture = bare.partition(".")[0]
    weights = [found for found in timm.list_pretrained(f"{architecture}.*") if found.partition(".")[0] == architecture]
    if weights:
        return sorted(weights, key=lambda found: -SequenceMatcher(None, found, bare).ratio())[:4]
    alike = get_close_matches(bare, timm.list_models(), 4, 0.7)
    return alike or list(timm.list_models(f"*{architecture.split('_')[0]}*")[:4])


def build(config: ImageConfig, pixels: int) -> Backbone:
    """Build a trunk that `knows` has found.

    Raises:
        ConfigError: it cannot take tiles of that size, has no such layer, no logits, or no attention for adapters.
        WeightsError: the weights cannot be fetched, or do not fit in every name and shape.

    """
    bare = page(config.trunk)
    architecture, options = _options(bare, pixels)
    if config.output == "pooled":
        options["num_classes"] = 0
    with clear_errors(config, pixels, help_with_weights(config.trunk)):
        model: Any = timm.create_model(architecture, pretrained=config.weights == "hub", **options)
    if config.output == "logits" and model.num_classes == 0:
        raise ConfigError(f"image.output is logits, but {config.trunk} has no classifier: use pooled")
    if config.weights not in ("hub", "random"):
        _load_file(model, Path(config.weights), keep_head=config.output == "logits")
    if config.layer is not None:
        _cut(model, config)
    if config.train == "lora":
        add_adapters(model, config.trunk, config.lora_rank)
    colours = resolve_data_config({}, model=model)
    found = FOUNDATION.get(bare)
    mean, std = found.colours if found is not None else (colours["mean"], colours["std"])
    blocks, grid = _blocks(model, config), None if config.layer is None else partial(_map_at_depth, layer=config.layer)
    return Backbone(model, _reader(config, bare), tuple(mean), tuple(std), blocks, _full_name(model, bare), grid)


def _timm_name(bare: str) -> str:
    return bare.removeprefix("timm/")


def _options(bare: str, pixels: int) -> tuple[str, dict[str, Any]]:
    """Return timm's name for a trunk, and what it is built with."""
    found = FOUNDATION.get(bare)
    if found is None:
        name = _timm_name(bare)
        known = timm.get_pretrained_cfg(name)
        return name, {"img_size": pixels} if known is not None and known.fixed_input_size else {}
    overlay = {"hf_hub_id": found.hub or bare, "url": "", "num_classes": 0, "mean": found.colours[0], "std": found.colours[1]}
    options = {"img_size": pixels, **found.options, "pretrained_cfg_overlay": overlay}
    if found.swiglu:
        options |= {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU}
    if found.stem == "convolutions":
        options["embed_layer"] = ConvolutionStem
    return found.architecture, options


def _full_name(model: Any, bare: str) -> str:
    if bare in FOUNDATION:
        return f"hf-hub:{bare}"
    cfg = model.pretrained_cfg
    return str(cfg["architecture"] + (f".{cfg['tag']}" if cfg.get("tag") else ""))


def _reader(config: ImageConfig, bare: str) -> Any:
    if config.layer is not None:
        return partial(_at_depth, layer=config.layer)
    found = FOUNDATION.get(bare)
    return _class_and_patches if found is not None and found.tokens == "class and patches" else _whole


def _whole(model: Any, pixels: Pixels) -> Read:
    return model(pixels)


def _at_depth(model: Any, pixels: Pixels, layer: int) -> Read:
    return _map_at_depth(model, pixels, layer).mean(dim=(2, 3))


def _map_at_depth(model: Any, pixels: Pixels, layer: int) -> Float[Tensor, "batch channels rows columns"]:
    maps = model.forward_intermediates(
        pixels, indices=[layer], stop_early=True, norm=False, output_fmt="NCHW", intermediates_only=True
    )
    found: Tensor = maps[0]
    return found


def _class_and_patches(model: Any, pixels: Pixels) -> Read:
    tokens = model(pixels)
    return torch.cat([tokens[:, 0], tokens[:, model.num_prefix_tokens :].mean(dim=1)], dim=1)


def _load_file(model: Any, path: Path, *, keep_head: bool) -> None:
    family = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    heads = () if keep_head else model.pretrained_cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)

    def fitted(state: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
        state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
        if family is not None:
            state = family(state, model)
        return {key: value for key, value in state.items() if key.rpartition(".")[0] not in heads}

    with clear_weights(path, model.pretrained_cfg["architecture"]):
        load_checkpoint(model, str(path), strict=True, filter_fn=fitted, weights_only=True)


def _cut(model: Any, config: ImageConfig) -> None:
    """Drop the layers above the one that is read, so that they cost neither time nor memory."""
    try:
        model.prune_intermediate_layers([config.layer], prune_norm=True, prune_head=True)
    except (AssertionError, AttributeError, IndexError, TypeError) as error:
        raise ConfigError(f"image.layer: {config.trunk} has no layer {config.layer} to read ({line(error)})") from None


def licence_of(name: str) -> str:
    """Return the licence of the weights of a model, as timm notes it; empty where it knows none."""
    try:
        found = timm.models.get_pretrained_cfg(name)
    except RuntimeError:
        # It knows the architecture, and no such weights of it.
        return ""
    return str(found.license or "") if found is not None else ""


def _blocks(model: Any, config: ImageConfig) -> list[list[str]]:
    """Return the names of each block's parameters as timm groups them, the stem first; all in one where it does not."""
    if not hasattr(model, "group_matcher"):
        if config.train in ("last", "gradual") or config.layer_decay < 1:
            what = f"image.train {config.train}" if config.train in ("last", "gradual") else "image.layer_decay"
            raise ConfigError(
                f"{what} needs a trunk's blocks, and timm does not name those of {config.trunk}; "
                "use image.train frozen or full, or another trunk"
            )
        return [[name for name, _ in model.named_parameters()]]
    groups = group_parameters(model, model.group_matcher(coarse=False))
    return whole_blocks([groups[key] for key in sorted(groups)], model)


@final
class ConvolutionStem(nn.Module):
    """CTransPath's way from pixels to tokens (Wang et al., Medical Image Analysis 2022): two halvings and a projection."""

    def __init__(
        self, img_size: Any = 224, patch_size: int = 4, in_chans: int = 3, embed_dim: int = 96, **ignored: Any
    ) -> None:
        super().__init__()
        width, height = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.grid_size = (width // patch_size, height // patch_size)
        first, second = embed_dim // 8, embed_dim // 4
        self.proj = nn.Sequential(
            nn.Conv2d(in_chans, first, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
            nn.Conv2d(first, second, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(second),
            nn.ReLU(inplace=True),
            nn.Conv2d(second, embed_dim, 1),
        )
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, pixels: Pixels) -> Float[Tensor, "batch rows columns channels"]:
        return self.norm(self.proj(pixels).permute(0, 2, 3, 1))
