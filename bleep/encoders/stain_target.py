"""How the training tiles are stained, kept with the trunk, so that other tiles can be brought to it."""

from typing import final

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from bleep.settings import StainName

NUMBERS: dict[StainName, int] = {"none": 0, "reinhard": 6, "macenko": 8}
"""How many numbers say how tiles are stained: see `bleep.tissue.staining`."""


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
