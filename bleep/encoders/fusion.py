"""Several trunks as one: on the same windows, or one for each window, their features side by side."""

from typing import final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from bleep.encoders.image import ImageTrunk, build_trunk
from bleep.encoders.stain_target import StainTarget
from bleep.settings import ImageConfig

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
        self.learns = any(member.learns for row in members for member in row)
        self.layer = config.layer
        self.reads = "; ".join([*(member.reads for member in members[0]), config.per_window, config.stain])

    def forward(self, images: UInt8[Tensor, "batch windows 3 height width"]) -> Float[Tensor, "batch features"]:
        rows: list[list[nn.Module]] = [list(row) for row in self.members if isinstance(row, nn.ModuleList)]
        if not self.separate:
            return torch.cat([member(images) for member in rows[0]], dim=1)
        seen = [member(images[:, at : at + 1]) for at, row in enumerate(rows) for member in row]
        return torch.cat(seen, dim=1)


Trunk = ImageTrunk | FusedTrunk
"""What stands below the heads; its `width` is that of one window."""


def build_trunks(config: ImageConfig, pixels: int, windows: int) -> tuple[Trunk, str]:
    """Build `image.trunk` and those of `image.also`; return them as one, with their names as they are resolved.

    Raises:
        ConfigError, WeightsError: see `build_trunk`.

    """
    if not config.also and config.per_window == "shared":
        return build_trunk(config, pixels)
    alone = [_alone(config, number) for number in range(1 + len(config.also))]
    built = [[build_trunk(each, pixels) for each in alone] for _ in range(windows if config.per_window == "separate" else 1)]
    members = [[trunk for trunk, _ in row] for row in built]
    return FusedTrunk(members, config), JOIN.join(name for _, name in built[0])


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
