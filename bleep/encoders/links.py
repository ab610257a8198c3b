"""From what a head says to scaled values, where the head speaks of counts."""

from typing import final

import torch
from jaxtyping import Float, Float64
from numpy import ndarray
from torch import Tensor, nn
from torch.nn.functional import softplus

LEAST = 1e-3
"""Mean of the normalised values that a gene seen less is taken to have, when the head starts."""


@final
class CountLink(nn.Module):
    """From the logarithm of an expected rate to log1p of that rate, scaled as the panel scales.

    A rate is the counts expected when a spot's total is the panel's `target`. Until `fit`, nothing is shifted or scaled.
    """

    start: Tensor
    shift: Tensor
    factor: Tensor

    def __init__(self, genes: int) -> None:
        super().__init__()
        for name, value in (("start", 0.0), ("shift", 0.0), ("factor", 1.0)):
            self.register_buffer(name, torch.full((genes,), value))

    def fit(
        self, mean: Float64[ndarray, " genes"], shift: Float64[ndarray, " genes"], factor: Float64[ndarray, " genes"]
    ) -> None:
        """Take over the panel's scaling, and let a head that says 0 predict each gene's training mean."""
        self.shift.copy_(torch.from_numpy(shift))
        self.factor.copy_(torch.from_numpy(factor))
        self.start.copy_(torch.from_numpy(mean.clip(min=LEAST)).expm1().log())

    def log_rate(self, said: Float[Tensor, "batch genes"]) -> Float[Tensor, "batch genes"]:
        """Return the logarithm of the expected rate."""
        return said + self.start

    def forward(self, said: Float[Tensor, "batch genes"]) -> Float[Tensor, "batch genes"]:
        # log1p(exp(x)) is softplus(x).
        return (softplus(self.log_rate(said)) - self.shift) / self.factor
