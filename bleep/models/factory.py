"""Models as the settings ask for them, and the precision that fits the machine."""

import logging
import math
import time
from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from bleep import registry
from bleep.config import Config, ImageConfig, PrecisionName
from bleep.errors import ConfigError, WeightsError
from bleep.models.backbones import (
    FOUNDATION,
    GIVEN,
    Backbone,
    clear_errors,
    clear_weights,
    from_package,
    given,
    help_with_weights,
    page,
    textures,
)
from bleep.models.backbones import small as small_nets
from bleep.models.backbones import torchvision as torchvision_trunks
from bleep.models.fingerprint import try_out
from bleep.models.heads import Standardizer, limit_of
from bleep.models.image import READY, FusedTrunk, ImageTrunk, ReadyTrunk, StainTarget, reads_of
from bleep.models.models import Classifier, DualEncoder, Model, Regressor
from bleep.models.own import called, clear_own, is_own
from bleep.models.stored import StoredTrunk, Trunk

FASTER = 1.5
"""How many times the speed of float32 bf16 must reach before it is taken."""
ROUNDS = 5
"""Measurements of each precision, of which the best counts: other work on the machine only ever slows one down."""

log = logging.getLogger(__name__)


def resolve_precision(config: ImageConfig, device: torch.device) -> PrecisionName:
    """Return what `image.precision` comes to on a device: itself, or for `auto` the choice, which is logged.

    A trunk that learns stays in float32, since accelerate decides what it trains in.
    """
    if config.precision != "auto":
        return config.precision
    if config.train != "frozen":
        return "float32"
    return "bf16" if fast_bf16(device.type) else "float32"


@lru_cache(maxsize=4)
def fast_bf16(device: str) -> bool:
    """Return whether the device has units for bf16, and a layer of a vision transformer runs on them much faster."""
    if not _has_units(device):
        log.info("image.precision auto: float32, since this %s has no units for bf16", device)
        return False
    ratio = _seconds(device, torch.float32) / _seconds(device, torch.bfloat16)
    chosen = "bf16" if ratio >= FASTER else "float32"
    log.info("image.precision auto: %s, since bf16 was measured at %.1f times the speed of float32", chosen, ratio)
    return ratio >= FASTER


def _has_units(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device != "cpu":
        return False
    if not hasattr(torch.cpu, "get_capabilities"):
        return True  # An older torch does not tell: the measurement alone decides.
    facts = torch.cpu.get_capabilities()
    return bool(facts.get("amx_bf16") or facts.get("avx512_bf16") or facts.get("bf16"))


def _seconds(device: str, dtype: torch.dtype) -> float:
    """Return the least seconds that the two linear layers of one block take for eight tiles of 256 tokens."""
    tokens = torch.ones(8 * 256, 384, device=device)
    block = torch.nn.Sequential(torch.nn.Linear(384, 1536), torch.nn.GELU(), torch.nn.Linear(1536, 384)).to(device)
    best = float("inf")
    with torch.inference_mode(), torch.autocast(device, dtype, enabled=dtype != torch.float32):
        for _ in range(1 + ROUNDS):
            _wait(device)
            start = time.perf_counter()
            block(tokens)
            _wait(device)
            best = min(best, time.perf_counter() - start)
    return best


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


READ = (
    "layer",
    "output",
    "train",
    "unfreeze",
    "freeze",
    "layer_decay",
    "stain",
    "precision",
    "halo",
    "region",
    "channels_last",
)
"""Settings of `image` that a trunk takes as they are."""


def build_model(trunk: Trunk, genes: int, config: Config, classes: int = 0) -> Model:
    """Return the untrained model of `loss.task` on a trunk, for a panel of so many columns; and `classes` under `loss.labels`.

    Raises:
        ConfigError: a tile has fewer features than `head.components`.

    """
    image, head, loss = config.image, config.head, config.loss
    parts = 1 + len(image.context)
    limit = limit_of(image.floor, learns=trunk.learns) if image.standardize == "train" else math.inf
    standardize = Standardizer(
        trunk.width * len(config.tiles.microns) * parts,
        applied=image.standardize != "section",
        floor=image.floor,
        limit=limit,
    )
    if loss.task == "classify":
        return Classifier(
            trunk,
            standardize,
            genes,
            parts=parts,
            components=head.components,
            floor=image.floor,
            hidden=head.hidden,
            dropout=head.dropout,
            before=head.before,
            layers=head.layers,
        )
    if loss.task == "regression":
        counts = loss.nb > 0
        return Regressor(trunk, standardize, genes, hidden=head.hidden, dropout=head.dropout, before=head.before, counts=counts)
    return DualEncoder(
        trunk,
        standardize,
        genes,
        dim=head.dim,
        dropout=head.dropout,
        layers=config.expression.hidden,
        layer_dropout=config.expression.dropout,
        gene_dropout=config.optim.gene_dropout,
        temperature=loss.temperature,
        learn_temperature=loss.learn_temperature,
        unit=head.norm == "l2",
        siglip=loss.form == "siglip",
        regress=loss.task == "both",
        hidden=head.hidden,
        before=head.before,
        classes=classes,
    )


def build_trunk(config: ImageConfig, pixels: int, own: nn.Module | None = None) -> tuple[ImageTrunk, str]:
    """Build `image.trunk` alone, or around a network of one's own; return it with the name it can be built again by.

    Raises:
        ConfigError: neither timm nor torchvision knows such a model, it cannot take tiles of that size, or it has no such
            layer or no logits.
        WeightsError: the weights cannot be fetched, or do not fit the trunk in every name and shape.

    """
    from bleep.models.backbones import timm as timm_trunks

    name = config.trunk
    run = Path(config.weights) if own is None and Path(config.weights).is_dir() else None
    config = config if run is None else config.model_copy(update={"weights": "random"})
    if own is not None:
        backbone = given(own, config)
    elif name in registry.names("trunks"):
        backbone = from_package(config, pixels)
    elif small_nets.knows(name):
        backbone = small_nets.build(config, pixels)
    elif name in textures.NAMES:
        backbone = textures.build(config, pixels)
    elif not name.startswith(torchvision_trunks.PREFIX) and timm_trunks.knows(name):
        backbone = timm_trunks.build(config, pixels)
    elif torchvision_trunks.knows(name):
        backbone = torchvision_trunks.build(config, pixels)
    else:
        small = small_nets.near() if name.startswith(small_nets.PREFIX) else []
        small += get_close_matches(name.lower(), textures.NAMES, 2, 0.7)
        near = [*small, *registry.names("trunks"), *timm_trunks.near(name), *torchvision_trunks.near(name)]
        raise ConfigError(
            f"image.trunk: timm knows no model {name!r}, nor does torchvision; near it: {', '.join(near) or 'nothing'}"
        )
    if run is not None:
        take_weights(backbone, run)
    plain = {key: getattr(config, key) for key in READ}
    if is_own(backbone.name):
        with clear_own(backbone.name, pixels):
            trunk = ImageTrunk(backbone, pixels, **plain, shares=config.sharing == "tokens")
            try_out(trunk, pixels)
        return trunk, backbone.name
    with clear_errors(config, pixels, help_with_weights(name)):
        return ImageTrunk(backbone, pixels, **plain, shares=config.sharing == "tokens"), backbone.name


def take_weights(backbone: Backbone, run: Path) -> None:
    """Load the trunk of another run into a network, in place.

    Raises:
        WeightsError: the folder is no finished run, or its trunk is another.

    """
    path = run / "model.safetensors"
    with clear_weights(path, backbone.name):
        state = load_file(path)
        start = "trunk.model."
        trunk = {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
        backbone.model.load_state_dict(trunk, strict=True)


JOIN = " + "
"""Stands between the names of fused trunks."""


def build_trunks(config: ImageConfig, pixels: int, windows: int, own: nn.Module | None = None) -> tuple[Trunk, str]:
    """Build `image.trunk` and those of `image.also`; return them as one, with their names as they are resolved.

    A network of one's `own` stands alone, instead of `image.trunk`.

    Raises:
        ConfigError, WeightsError: see `build_trunk`.

    """
    if own is not None:
        if config.also or config.per_window != "shared":
            raise ConfigError("a trunk given in Python stands alone: empty image.also, and set image.per_window to shared")
        return build_trunk(config, pixels, own)
    if config.trunk.startswith(f"{READY}:"):
        _, width, encoder = config.trunk.split(":", 2)
        return ReadyTrunk(int(width), encoder), config.trunk
    if not config.also and config.per_window == "shared":
        return build_trunk(config, pixels)
    numbers = range(1 + len(config.also))
    built = [
        [_build_one(config, number, pixels) for number in numbers]
        for _ in range(windows if config.per_window == "separate" else 1)
    ]
    members = [[trunk for trunk, _ in row] for row in built]
    fused = FusedTrunk(members, separate=config.per_window == "separate", stain=config.stain)
    return fused, JOIN.join(name for _, name in built[0])


def _build_one(config: ImageConfig, number: int, pixels: int) -> tuple["ImageTrunk", str]:
    """Build one of several trunks; what is wrong with it is said by the setting that names it."""
    try:
        return build_trunk(_alone(config, number), pixels)
    except WeightsError as error:
        if number == 0:
            raise
        raise WeightsError(str(error).replace("image.weights", "image.also_weights")) from None
    except ConfigError as error:
        if number == 0:
            raise
        raise ConfigError(str(error).replace("image.trunk", "image.also", 1)) from None


def stored_trunk(config: ImageConfig, pixels: int, width: int, source: str) -> StoredTrunk | None:
    """Return the trunk of a trained run that need not be built while all features are cached; none: it must be at once.

    Args:
        config: settings that build it without fetching weights: see `without_weights`.
        pixels: side of a window.
        width: features of one window.
        source: where its weights are from, for messages.

    """
    alone = not config.also and config.per_window == "shared" and not config.trunk.startswith(f"{READY}:")
    # What a network of another package does must be seen, as its weights do not tell.
    if config.train != "frozen" or config.sharing == "tokens" or not alone or config.trunk in registry.names("trunks"):
        return None
    return StoredTrunk(
        lambda: build_trunk(config, pixels)[0],
        width=width,
        reads=reads_of(config.layer, config.output, config.precision, config.stain),
        layer=config.layer,
        stain=StainTarget(config.stain),
        source=source,
    )


def started_from(config: ImageConfig) -> tuple[str, ...]:
    """Return what each trunk's weights are taken from: the first one's, then the others'."""
    return (config.weights, *(config.also_weights or ("hub",) * len(config.also)))


def licence_of(name: str) -> str:
    """Return the licence of the weights published for a trunk, as its page or timm says; empty where neither is known."""
    if name in registry.names("trunks"):
        return ""
    from bleep.models.backbones import timm as timm_trunks

    found = FOUNDATION.get(page(name))
    return timm_trunks.licence_of(page(name)) if found is None else found.licence


def trunk_licence(names: str, weights: Sequence[str]) -> str:
    """Return under what terms the weights that training began with are, trunk by trunk, as far as bleep and timm know."""
    said = []
    for name, source in zip(names.split(JOIN), weights, strict=False):
        published = licence_of(name) or "unknown"
        if name.startswith((GIVEN, f"{READY}:")):
            said.append(f"{called(name)}: unknown")
        elif name in textures.NAMES:
            said.append(f"{name}: none, it has no weights")
        elif source == "random":
            said.append(f"{name}: none, it began with random weights")
        elif source == "hub":
            said.append(f"{name}: {published}")
        else:
            said.append(f"{name}: unknown, its weights came from a file (those published by that name: {published})")
    return "; ".join(said)


def without_weights(config: ImageConfig, names: str) -> ImageConfig:
    """Return settings that build the same trunks, by the names they were resolved to, without fetching weights."""
    first, *also = names.split(JOIN)
    weights = ("random",) * len(also)
    return config.model_copy(update={"trunk": first, "weights": "random", "also": tuple(also), "also_weights": weights})


def _alone(config: ImageConfig, number: int) -> ImageConfig:
    """Return the settings of one trunk by itself: 0 is `image.trunk`."""
    plain = {"also": (), "also_weights": (), "also_layers": (), "per_window": "shared", "stain": "none"}
    if number == 0:
        return config.model_copy(update=plain)
    layers = config.also_layers or (None,) * len(config.also)
    weights = started_from(config)[1:]
    own = {"trunk": config.also[number - 1], "weights": weights[number - 1], "layer": layers[number - 1]}
    return config.model_copy(update=plain | own)
