"""The image encoder: any trunk of timm or torchvision, with its own normalisation inside, cut at any depth."""

import logging
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, final

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn.functional import interpolate

from bleep.config import PrecisionName, StainName, TrainName
from bleep.errors import ConfigError, MismatchError
from bleep.models.attention import attention
from bleep.models.backbones import MARK, Backbone, check_reached
from bleep.models.backbones import torchvision as torchvision_trunks
from bleep.models.own import checked
from bleep.models.precision import PRECISIONS, check_precision, in_float32

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


PIECE = 16 * 224**2
"""Pixels that pass through a trunk on a CPU at a time, so that what lies between its layers stays in the cache."""


class ParameterSchedule(NamedTuple):
    """How one parameter learns, beside the others."""

    rate: float
    """Factor of the trunk's learning rate."""
    start: float
    """Share of the training after which it begins to learn."""


PLACELESS = "without places"
"""In what a trunk reads: of shared regions, tokens that were all given the same position."""

HALOS = {1: 1 / 16, 2: 1 / 8}
"""What is left away on each side of regions of one or two windows' side, as a share of it: a token or two where it matters."""


def shared_reads(halo: float, region: int, *, placeless: bool) -> str:
    """Return what `reads_of` says of shared regions."""
    said = f"tokens {PLACELESS}" if placeless else "tokens"
    said += "" if region == 2 else f" region {region}"
    return said if halo == HALOS[region] else f"{said} halo {halo:g}"


def reads_of(layer: int | None, output: str, precision: str, stain: str, shared: str = "none") -> str:
    """Return what decides a trunk's features beside its weights, as it stands in the digest that features are cached by."""
    more = (output, precision, stain, shared)
    return " ".join([str(layer), *(word for word in more if word not in ("pooled", "auto", "float32", "none"))])


@final
class ImageTrunk(nn.Module):
    """Tiles in, features out: mean and spread of the colours are handled here, so no caller can forget or double it.

    Every window of a tile passes through the same trunk; their features stand side by side. BatchNorm layers keep their
    pretrained statistics, so that results do not depend on how a batch is spread over processes; only the small nets that
    start from nothing learn them.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        pixels: int,
        *,
        layer: int | None = None,
        output: Literal["pooled", "logits"] = "pooled",
        train: TrainName = "frozen",
        unfreeze: int = 1,
        freeze: int = 0,
        layer_decay: float = 1.0,
        stain: StainName = "none",
        precision: PrecisionName = "float32",
        shares: bool = False,
        halo: float | None = None,
        region: int | None = None,
        channels_last: bool = True,
    ) -> None:
        """Take a network and how it is read and trained; see `ImageConfig`, where each of these is a setting.

        Args:
            backbone: the network, and what reads features from it.
            pixels: side of a window.
            layer: depth the features are read at; none: the pooled last layer.
            output: what is read of the last layer.
            train: which weights learn.
            unfreeze: number of last blocks that learn under `last` and `gradual`.
            freeze: number of first layers that do not under `full`.
            layer_decay: factor of a block's learning rate to that of the next one above it.
            stain: what tiles' stains are brought to those of the training tiles by.
            precision: what it computes in while it does not learn.
            shares: whether windows read the tokens of regions that they share.
            halo: share of a region's side that is left away on each side; none: as `HALOS` says.
            region: side of a region, in sides of a window; none: 1 of a vision transformer with tokens enough, else 2.
            channels_last: how pixels lie in memory.

        Raises:
            ConfigError: none would learn, or adapters reach no part that is read.

        """
        super().__init__()
        self.model, self.layer, self.shares = backbone.model, layer, shares
        # Attention costs more the larger a region is, and was trained on a window; convolutions only lose at borders.
        self.region = region or (1 if tokens_across(backbone.model, pixels) >= ENOUGH else 2)
        self.halo = HALOS[self.region] if halo is None else halo
        self.name, self._output, self._precision = backbone.name, output, precision
        self._train, self._unfreeze, self._freeze, self._layer_decay = train, unfreeze, freeze, layer_decay
        self._read, self._blocks, self._grid = backbone.read, backbone.blocks, backbone.grid
        self.norms_learn, self.least = backbone.norms_learn, least_pixels(backbone.name, pixels)
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.model.to(memory_format=self.format)
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(backbone.std).view(1, 3, 1, 1))
        self.stain = StainTarget(stain)
        learning = self._learning()
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name in learning)
        self.learns = bool(learning)
        self.eval()
        with torch.set_grad_enabled(train == "lora"):
            side = max(pixels, self.least)
            blank = torch.zeros(1, 3, side, side).contiguous(memory_format=self.format)
            features = self.read(self.model, blank)
        self.width = int(features.shape[1])
        if train == "lora":
            check_reached(self.model, backbone.name, features)

    @property
    def reads(self) -> str:
        """What decides its features beside its weights: depth, output, precision, stains."""
        shared = shared_reads(self.halo, self.region, placeless=self.learnt_places is not None) if self.shares else "none"
        return reads_of(self.layer, self._output, self._precision, self.stain.kind, shared)

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in while it does not learn."""
        return PRECISIONS[self._precision]

    @property
    def learnt_places(self) -> Tensor | None:
        """The learnt position of each token, `Float[1 tokens channels]`, of a transformer that can be resized; else none."""
        learnt = getattr(self.model, "pos_embed", None)
        resized = hasattr(self.model, "set_input_size") and isinstance(learnt, Tensor) and learnt.ndim == 3
        return learnt if resized else None

    def read(self, model: Any, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels"]:
        """Return the features that a network of this trunk's kind gives of normalised pixels; see `checked`."""
        return checked(self._read(model, pixels), self.name, len(pixels), getattr(self, "width", None))

    def forward(self, images: UInt8[Tensor, "batch windows 3 height width"]) -> Float[Tensor, "batch features"]:
        batch, windows = images.shape[:2]
        features = self._cast(self.read, images)
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
                f"image.sharing tokens: the trunk {self.name} gives no grid of positions; set image.sharing to none"
            )
        return self._cast(self._grid, images)

    def _cast(self, read: Callable[[Any, Tensor], Tensor], images: UInt8[Tensor, "batch windows 3 height width"]) -> Tensor:
        """Read normalised pixels in the precision that was asked for; on a CPU that does not train, piece by piece."""
        flat = images.flatten(0, 1)
        if flat.device.type != "cpu" or self.training or torch.is_grad_enabled() or not len(flat):
            return self._read_pixels(read, flat)
        piece = max(PIECE // (flat.shape[-2] * flat.shape[-1]), 1)
        return torch.cat([self._read_pixels(read, part) for part in flat.split(piece)])

    def _read_pixels(self, read: Callable[[Any, Tensor], Tensor], images: UInt8[Tensor, "windows 3 height width"]) -> Tensor:
        pixels = images.float().div_(255).sub_(self.mean).div_(self.std)
        if pixels.shape[-1] < self.least:
            pixels = interpolate(pixels, size=(self.least, self.least), mode="bilinear", antialias=True)
        pixels, dtype = pixels.contiguous(memory_format=self.format), self.dtype
        if self.training:
            return read(self.model, pixels)
        if dtype == torch.float32:
            with in_float32(pixels.device):
                return read(self.model, pixels)
        check_precision(dtype, pixels.device)
        with torch.autocast(pixels.device.type, dtype), attention(pixels.device):
            return read(self.model, pixels).float()

    def parameter_schedules(self) -> dict[str, ParameterSchedule]:
        """Return how each parameter that learns does, by its name here.

        A block's rate is `layer_decay` times that of the next one above it. Under `gradual`, the j-th block from the end
        begins to learn after j / (blocks that learn + 1) of the training, and the heads are alone before.
        """
        learning = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        if self._train != "gradual" and self._layer_decay == 1:
            return {f"model.{name}": ParameterSchedule(1.0, 0.0) for name in learning}
        blocks = sum(1 for names in self._blocks if learning & set(names))
        parameter_schedules: dict[str, ParameterSchedule] = {}
        for below, names in enumerate(reversed(self._blocks)):
            start = (below + 1) / (blocks + 1) if self._train == "gradual" else 0.0
            pace = ParameterSchedule(self._layer_decay**below, start)
            parameter_schedules |= {f"model.{name}": pace for name in names if name in learning}
        return parameter_schedules

    def _learning(self) -> set[str]:
        """Return the names of the parameters that learn."""
        names = {name for name, _ in self.model.named_parameters()}
        if self._train in ("full", "frozen"):
            return names - self._frozen_layers() if self._train == "full" else set()
        if self._train == "lora":
            return {name for name in names if MARK in name}
        return {name for block in self._blocks[-self._unfreeze :] for name in block} & names

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
        if self._freeze and self._freeze >= len(layers):
            raise ConfigError(
                f"image.freeze is {self._freeze}, but {self.name} has {len(layers)} layers with weights, so "
                "none would learn: lower it, or set image.train to frozen"
            )
        return {name for names in layers[: self._freeze] for name in names}

    def train(self, mode: bool = True) -> "ImageTrunk":
        """Set the mode; a frozen trunk stays as in evaluation, and so does every BatchNorm that came with statistics."""
        if not self.learns and not self.training:
            return self
        super().train(mode and self.learns)
        if self.norms_learn:
            return self
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self


ENOUGH = 8
"""Tokens across a window from which a region of its own size has borders to leave away."""


def tokens_across(model: nn.Module, pixels: int) -> int:
    """Return how many tokens a plain transformer of timm cuts a window's side into; 0 for other networks.

    Those of several stages, such as Swin, attend to a few tokens around each, and gain nothing by smaller regions.
    """
    patch: Any = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    plain = hasattr(model, "set_input_size") and hasattr(model, "blocks")
    return pixels // int(patch[0] if isinstance(patch, tuple) else patch) if plain and patch else 0


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


@final
class FusedTrunk(nn.Module):
    """Tiles in, the features of every trunk out: window by window under `separate`, else trunk by trunk."""

    def __init__(self, members: list[list[ImageTrunk]], *, separate: bool = False, stain: StainName = "none") -> None:
        """Take the trunks of each window; a single row of them looks at all windows."""
        super().__init__()
        self.members = nn.ModuleList(nn.ModuleList(row) for row in members)
        self.stain, self.separate = StainTarget(stain), separate
        first = members[0]
        self.width, self.shares, self.layer = sum(member.width for member in first), first[0].shares, first[0].layer
        self.learns = any(member.learns for row in members for member in row)
        self.reads = "; ".join([*(member.reads for member in first), "separate" if separate else "shared", stain])

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
