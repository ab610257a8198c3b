"""What stands on the encoders."""

from collections.abc import Callable, Mapping
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bleep.settings import BeforeName


@final
class ProjectionHead(nn.Module):
    """BLEEP's head (Xie et al., NeurIPS 2023): linear, then GELU, linear and dropout with a residual, then LayerNorm."""

    def __init__(self, width: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Linear(width, dim)
        self.refine = nn.Sequential(nn.GELU(), nn.Linear(dim, dim), nn.Dropout(dropout))
        self.norm = nn.LayerNorm(dim)

    def forward(self, features: Float[Tensor, "batch width"]) -> Float[Tensor, "batch dim"]:
        projected = self.project(features)
        return self.norm(projected + self.refine(projected))


@final
class Standardizer(nn.Module):
    """Subtract the training tiles' mean and divide by their spread; until `fit`, nothing changes.

    Where features come standardised by section, it is not applied, and only remembers the numbers for small sections.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, width: int, *, applied: bool = True) -> None:
        super().__init__()
        self.applied = applied
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    def fit(self, features: Float[Tensor, "spots width"]) -> None:
        """Measure mean and spread; a feature that does not vary keeps spread 1."""
        spread = features.std(dim=0, correction=0)
        self.mean.copy_(features.mean(dim=0))
        self.spread.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))

    @property
    def fitted(self) -> bool:
        """Whether it holds numbers of its own."""
        return bool((self.mean != 0).any() or (self.spread != 1).any())

    def forward(self, features: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
        return (features - self.mean) / self.spread if self.applied else features


BEFORE: Mapping[BeforeName, Callable[[float], list[nn.Module]]] = {
    "none": lambda dropout: [],
    "silu": lambda dropout: [nn.SiLU(), nn.Dropout(dropout)],
}
"""What the features go through before the first layer of the regression head, made from the dropout."""


def regression_head(width: int, genes: int, hidden: int, dropout: float, before: BeforeName = "none") -> nn.Module:
    """Return what `before` names and a linear layer, or with `hidden` a layer of that width, SiLU and dropout between."""
    parts = BEFORE[before](dropout)
    if hidden:
        parts += [nn.Linear(width, hidden), nn.SiLU(), nn.Dropout(dropout)]
    last = nn.Linear(hidden or width, genes)
    return nn.Sequential(*parts, last) if parts else last
