"""The expression encoder, and the hiding of genes from it while it learns."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bleep.settings import ExpressionConfig


@final
class GeneDropout(nn.Module):
    """In training, set a share of each spot's values to the genes' training means; otherwise change nothing.

    Nothing is scaled up in return, unlike in torch's dropout: a value that is the mean says nothing of the spot.
    """

    mean: Tensor

    def __init__(self, genes: int, share: float) -> None:
        super().__init__()
        self.share = share
        # Measured again whenever training begins, and of no use after it: so it is not among the weights.
        self.register_buffer("mean", torch.zeros(genes), persistent=False)

    def fit(self, values: Float[Tensor, "spots genes"]) -> None:
        """Measure the means of the scaled training values; until then they are 0, which is the mean under `zscore`."""
        self.mean.copy_(values.mean(dim=0))

    def forward(self, values: Float[Tensor, "batch genes"]) -> Float[Tensor, "batch genes"]:
        # With nothing to hide, torch's generator is not touched, so that other dropout draws what it always did.
        if not self.training or self.share == 0:
            return values
        return torch.where(torch.rand_like(values) < self.share, self.mean.to(values.dtype), values)


@final
class ExpressionEncoder(nn.Module):
    """A perceptron over the panel's scaled values; with no hidden layer it hands them on as they are."""

    def __init__(self, genes: int, config: ExpressionConfig, hidden_share: float = 0.0) -> None:
        """Build it; `hidden_share` of a spot's values are hidden at each step of training."""
        super().__init__()
        self.hide = GeneDropout(genes, hidden_share)
        layers: list[nn.Module] = []
        width = genes
        for hidden in config.hidden:
            layers += [nn.Linear(width, hidden), nn.GELU(), nn.Dropout(config.dropout)]
            width = hidden
        self.layers = nn.Sequential(*layers)
        self.width = width

    def forward(self, expression: Float[Tensor, "batch genes"]) -> Float[Tensor, "batch width"]:
        return self.layers(self.hide(expression))
