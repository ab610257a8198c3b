"""The expression encoder."""

from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from bleep.settings import ExpressionConfig


@final
class ExpressionEncoder(nn.Module):
    """A perceptron over the panel's scaled values; with no hidden layer it hands them on as they are."""

    def __init__(self, genes: int, config: ExpressionConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = genes
        for hidden in config.hidden:
            layers += [nn.Linear(width, hidden), nn.GELU(), nn.Dropout(config.dropout)]
            width = hidden
        self.layers = nn.Sequential(*layers)
        self.width = width

    def forward(self, expression: Float[Tensor, "batch genes"]) -> Float[Tensor, "batch width"]:
        return self.layers(expression)
