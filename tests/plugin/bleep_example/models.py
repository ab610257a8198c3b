"""A trunk and two losses."""

import torch
from torch import Tensor, nn


class Colours(nn.Module):
    """Mean and spread of red, green and blue over a grid of cells, through a matrix of weights."""

    def __init__(self, cells: int = 2) -> None:
        super().__init__()
        self.cells = nn.AdaptiveAvgPool2d(cells)
        self.mix = nn.Linear(3 * cells**2 + 3, 16)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return [batch, 16] for [batch, 3, height, width] of 0 to 1."""
        means = self.cells(pixels).flatten(1)
        return self.mix(torch.cat([means, pixels.flatten(2).std(dim=2)], dim=1))


def colours(weights: str, pixels: int) -> nn.Module:
    """Make the trunk; `weights` is `random`, or the path of a file of them."""
    trunk = Colours()
    if weights not in ("hub", "random"):
        trunk.load_state_dict(torch.load(weights, weights_only=True))
    return trunk


def absolute(predicted: Tensor, measured: Tensor) -> Tensor:
    """Return the mean absolute error: a loss of regression, for `loss.more`."""
    return (predicted - measured).abs().mean()


def pull(sides: object, scale: Tensor) -> Tensor:
    """Return how far tiles and spots of a step are apart, less how far each is from the mean: for `loss.form`."""
    image, expression = sides.image, sides.expression
    apart = (image - expression).square().sum(dim=1).mean()
    return apart - (image.var(dim=0).sum() + expression.var(dim=0).sum()) / 2
