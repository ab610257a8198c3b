"""The image encoder: any trunk of timm or torchvision, with its own normalisation inside, cut at any depth."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, final

import torch
from jaxtyping import Float, Float32, UInt8
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import interpolate

from bleep import registry
from bleep.config import ImageConfig, StainName
from bleep.errors import ConfigError, MismatchError, WeightsError
from bleep.models.backbones import small as small_nets
from bleep.models.backbones import timm as timm_trunks
from bleep.models.backbones import torchvision as torchvision_trunks
from bleep.models.backbones.base import MARK, Backbone, check_reached, clear_errors, clear_weights, from_package, given
from bleep.models.backbones.foundation import help_with_weights

log = logging.getLogger(__name__)

NUMBERS: dict[StainName, int] = {"none": 0, "reinhard": 6, "macenko": 8, "stretch": 4}
"""How many numbers say how tiles are stained: see `bleep.data.stain`."""


@final
class StainTarget(nn.Module):
    """Remembers the numbers; under `none` there are none, and nothing of it is among the weights."""

    def __init__(self, kind: StainName) -> None:
        super().__init__()
        self.kind = kind
        if kind != "none":
            self.register_buffer("numbers", torch.zeros(NUMBERS[kind]))

    def fit(self, numbers: Float32[Tensor, " numbers"]) -> None:
        """Remember how the training tiles are stained."""
        self.get_buffer("numbers").copy_(numbers)


PRECISIONS = {"auto": torch.float32, "float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What a trunk may compute in while it does not learn, by name; `auto`, before training has resolved it, is float32."""


class ParameterSchedule(NamedTuple):
    """How one parameter learns, beside the others."""

    rate: float
    """Factor of the trunk's learning rate."""
    start: float
    """Share of the training after which it begins to learn."""


@final
class ImageTrunk(nn.Module):
    """Tiles in, features out: mean and spread of the colours are handled here, so no caller can forget or double it.

    Every window of a tile passes through the same trunk; their features stand side by side. BatchNorm layers keep their
    pretrained statistics, so that results do not depend on how a batch is spread over processes; only the small nets that
    start from nothing learn them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, config: ImageConfig, pixels: int) -> None:
        super().__init__()
        self.model, self.layer, self._config = backbone.model, config.layer, config
        self._read, self._blocks, self._grid = backbone.read, backbone.blocks, backbone.grid
        self.shares = config.sharing == "tokens"
        self._norms_learn, self._least = backbone.norms_learn, least_pixels(backbone.name, pixels)
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
            side = max(pixels, self._least)
            blank = torch.zeros(1, 3, side, side).contiguous(memory_format=self._format)
            output = self._read(self.model, blank)
        self.width = int(output.shape[1])
        if config.train == "lora":
            check_reached(self.model, config.trunk, output)

    @property
    def reads(self) -> str:
        """What decides its features beside its weights: depth, output, precision, stains."""
        more = (self._config.output, self._config.precision, self._config.stain, "tokens" if self.shares else "none")
        return " ".join([str(self.layer), *(word for word in more if word not in ("pooled", "auto", "float32", "none"))])

    def forward(self, images: UInt8[Tensor, "batch windows 3 height width"]) -> Float[Tensor, "batch features"]:
        batch, windows = images.shape[:2]
        features = self._cast(self._read, images)
        return features.reshape(batch, windows * features.shape[-1])

    @property
    def has_grid(self) -> bool:
        """Whether the features are the mean of a grid of positions that can be had: see `grid`."""
        return self._grid is not None

    def grid(self, images: UInt8[Tensor, "batch 1 3 height width"]) -> Float[Tensor, "batch channels rows columns"]:
        """Return the features of each position of larger pictures, one window each.

        Raises:
            ConfigError: the trunk gives no grid where it is read.

        """
        if self._grid is None:
            raise ConfigError(
                f"image.sharing tokens: the trunk {self._config.trunk} gives no grid of positions; set image.sharing to none"
            )
        return self._cast(self._grid, images)

    def _cast(self, read: Callable[[Any, Tensor], Tensor], images: UInt8[Tensor, "batch windows 3 height width"]) -> Tensor:
        """Read normalised pixels in the precision that was asked for."""
        pixels = (images.flatten(0, 1).float() / 255 - self.mean) / self.std
        if pixels.shape[-1] < self._least:
            pixels = interpolate(pixels, size=(self._least, self._least), mode="bilinear", antialias=True)
        pixels, dtype = pixels.contiguous(memory_format=self._format), PRECISIONS[self._config.precision]
        if self.training or dtype == torch.float32:
            return read(self.model, pixels)
        check_precision(dtype, pixels.device)
        with torch.autocast(pixels.device.type, dtype):
            return read(self.model, pixels).float()

    def parameter_schedules(self) -> dict[str, ParameterSchedule]:
        """Return how each parameter that learns does, by its name here.

        A block's rate is `layer_decay` times that of the next one above it. Under `gradual`, the j-th block from the end
        begins to learn after j / (blocks that learn + 1) of the training, and the heads are alone before.
        """
        learning = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        if self._config.train != "gradual" and self._config.layer_decay == 1:
            return {f"model.{name}": ParameterSchedule(1.0, 0.0) for name in learning}
        blocks = sum(1 for names in self._blocks if learning & set(names))
        parameter_schedules: dict[str, ParameterSchedule] = {}
        for below, names in enumerate(reversed(self._blocks)):
            start = (below + 1) / (blocks + 1) if self._config.train == "gradual" else 0.0
            pace = ParameterSchedule(self._config.layer_decay**below, start)
            parameter_schedules |= {f"model.{name}": pace for name in names if name in learning}
        return parameter_schedules

    def _learning(self) -> set[str]:
        """Return the names of the parameters that learn."""
        names = {name for name, _ in self.model.named_parameters()}
        if self._config.train in ("full", "frozen"):
            return names - self._frozen_layers() if self._config.train == "full" else set()
        if self._config.train == "lora":
            return {name for name in names if MARK in name}
        return {name for block in self._blocks[-self._config.unfreeze :] for name in block} & names

    def _frozen_layers(self) -> set[str]:
        """Return the parameters of the first `freeze` layers that have some of their own.

        Raises:
            ConfigError: the trunk has no more layers than that.

        """
        layers = [
            [f"{path}.{name}" if path else name for name, _ in module.named_parameters(recurse=False)]
            for path, module in self.model.named_modules()
        ]
        layers = [names for names in layers if names]
        if self._config.freeze and self._config.freeze >= len(layers):
            raise ConfigError(
                f"image.freeze is {self._config.freeze}, but {self._config.trunk} has {len(layers)} layers with weights, so "
                "none would learn: lower it, or set image.train to frozen"
            )
        return {name for names in layers[: self._config.freeze] for name in names}

    def train(self, mode: bool = True) -> "ImageTrunk":
        """Set the mode; a frozen trunk stays as in evaluation, and so does every BatchNorm that came with statistics."""
        if not self.learns and not self.training:
            return self
        super().train(mode and self.learns)
        if self._norms_learn:
            return self
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self


def build_trunk(config: ImageConfig, pixels: int, own: nn.Module | None = None) -> tuple[ImageTrunk, str]:
    """Build `image.trunk` alone, or around a network of one's own; return it with the name it can be built again by.

    Raises:
        ConfigError: neither timm nor torchvision knows such a model, it cannot take tiles of that size, or it has no such
            layer or no logits.
        WeightsError: the weights cannot be fetched, or do not fit the trunk in every name and shape.

    """
    name = config.trunk
    run = Path(config.weights) if own is None and Path(config.weights).is_dir() else None
    config = config if run is None else config.model_copy(update={"weights": "random"})
    if own is not None:
        backbone = given(own, config)
    elif name in registry.names("trunks"):
        backbone = from_package(config, pixels)
    elif small_nets.knows(name):
        backbone = small_nets.build(config, pixels)
    elif not name.startswith(torchvision_trunks.PREFIX) and timm_trunks.knows(name):
        backbone = timm_trunks.build(config, pixels)
    elif torchvision_trunks.knows(name):
        backbone = torchvision_trunks.build(config, pixels)
    else:
        small = small_nets.near() if name.startswith(small_nets.PREFIX) else []
        near = [*small, *registry.names("trunks"), *timm_trunks.near(name), *torchvision_trunks.near(name)]
        raise ConfigError(
            f"image.trunk: timm knows no model {name!r}, nor does torchvision; near it: {', '.join(near) or 'nothing'}"
        )
    if run is not None:
        take_weights(backbone, run)
    with clear_errors(config, pixels, help_with_weights(name)):
        return ImageTrunk(backbone, config, pixels), backbone.name


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


LEAST = {"xception": 71, "inception_v3": 75, "inception_resnet_v2": 75, "inception_v4": 75, "nasnetalarge": 96}
"""Pixels that a trunk cannot do with fewer of, by the start of its name; legacy and other weights have the same."""


def least_pixels(name: str, pixels: int) -> int:
    """Return the side to which tiles are enlarged before a trunk sees them, and say so; 0: they are not."""
    bare = name.removeprefix("hf-hub:").removeprefix("timm/").removeprefix(torchvision_trunks.PREFIX).removeprefix("legacy_")
    found = next((least for start, least in LEAST.items() if bare.split(".")[0] == start), 0)
    if pixels >= found:
        return 0
    log.info("image.trunk %s takes tiles of %d pixels or more: those of %d are enlarged to that", name, found, pixels)
    return found


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


JOIN = " + "
"""Stands between the names of fused trunks."""


@final
class FusedTrunk(nn.Module):
    """Tiles in, the features of every trunk out: window by window under `separate`, else trunk by trunk."""

    def __init__(self, members: list[list[ImageTrunk]], config: ImageConfig) -> None:
        """Take the trunks of each window; a single row of them looks at all windows."""
        super().__init__()
        self.members = nn.ModuleList(nn.ModuleList(row) for row in members)
        self.stain = StainTarget(config.stain)
        self.separate = config.per_window == "separate"
        self.width = sum(member.width for member in members[0])
        self.shares = config.sharing == "tokens"
        self.learns = any(member.learns for row in members for member in row)
        self.layer = config.layer
        self.reads = "; ".join([*(member.reads for member in members[0]), config.per_window, config.stain])

    def forward(self, images: UInt8[Tensor, "batch windows 3 height width"]) -> Float[Tensor, "batch features"]:
        rows: list[list[nn.Module]] = [list(row) for row in self.members if isinstance(row, nn.ModuleList)]
        if not self.separate:
            return torch.cat([member(images) for member in rows[0]], dim=1)
        seen = [member(images[:, at : at + 1]) for at, row in enumerate(rows) for member in row]
        return torch.cat(seen, dim=1)


READY = "features"
"""Name of the trunk whose features are ready-made, and of `READY:WIDTH:ENCODER`, by which it is built again."""


@final
class ReadyTrunk(nn.Module):
    """Stands for a trunk whose features were computed elsewhere and are read from files: see `bleep.features.ready`."""

    def __init__(self, width: int, encoder: str) -> None:
        """Note the width, and what computed the features; empty where nobody says."""
        super().__init__()
        self.width, self.encoder = width, encoder
        self.learns, self.layer, self.reads = False, None, f"{READY}:{width}:{encoder}"
        self.stain = StainTarget("none")

    def forward(self, images: UInt8[Tensor, "batch windows 3 height width"]) -> Float[Tensor, "batch features"]:
        """Refuse tiles.

        Raises:
            MismatchError: always.

        """
        raise MismatchError("this run reads ready-made features (image.trunk: features), so no tile can be passed through it")


Trunk = ImageTrunk | FusedTrunk | ReadyTrunk
"""What stands below the heads; its `width` is that of one window."""


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
    return FusedTrunk(members, config), JOIN.join(name for _, name in built[0])


def _build_one(config: ImageConfig, number: int, pixels: int) -> tuple["ImageTrunk", str]:
    """Build one of several trunks; what is wrong with its weights is said by the setting that names them."""
    try:
        return build_trunk(_alone(config, number), pixels)
    except WeightsError as error:
        if number == 0:
            raise
        raise WeightsError(str(error).replace("image.weights", "image.also_weights")) from None


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
    weights = config.also_weights or ("hub",) * len(config.also)
    own = {"trunk": config.also[number - 1], "weights": weights[number - 1], "layer": layers[number - 1]}
    return config.model_copy(update=plain | own)
