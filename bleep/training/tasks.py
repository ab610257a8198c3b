"""A task joins a model and a loss: called with spots it encodes them, and from all that a step encoded it tells the loss.

So the loop, which knows neither, can encode a step in chunks and still take the loss over the whole of it.
"""

from typing import NamedTuple, final

from jaxtyping import Float
from torch import Tensor, nn

from bleep.encoders.dual import DualEncoder, Pair
from bleep.encoders.regressor import Regressor
from bleep.losses.contrastive import TARGETS, Sides, clip_loss
from bleep.losses.gather import gather_rows
from bleep.losses.regression import squared_error
from bleep.records import Batch
from bleep.settings import LossConfig


class Predicted(NamedTuple):
    """What a regression head says, and what was measured."""

    values: Float[Tensor, "batch genes"]
    measured: Float[Tensor, "batch genes"]


@final
class ContrastiveTask(nn.Module):
    """CLIP over the tiles and spots of all processes together."""

    def __init__(self, model: DualEncoder, config: LossConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(self, batch: Batch) -> Pair:
        return self.model(batch.inputs, batch.expression)

    def loss(self, pair: Pair) -> Float[Tensor, ""]:
        """Return the loss over the spots of all processes."""
        sides = Sides(*(gather_rows(side) for side in pair[:4]))
        targets = TARGETS[self.config.targets](sides, pair.scale, self.config.target_temperature)
        return clip_loss(sides, pair.scale, targets)


@final
class RegressionTask(nn.Module):
    """Squared error of the predicted values; processes hold equal parts, so their mean is the loss of all."""

    def __init__(self, model: Regressor) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Predicted:
        return Predicted(self.model(batch.inputs), batch.expression)

    def loss(self, predicted: Predicted) -> Float[Tensor, ""]:
        """Return the loss over this process's spots."""
        return squared_error(*predicted)


def task_of(model: DualEncoder | Regressor, config: LossConfig) -> ContrastiveTask | RegressionTask:
    """Return the task that trains this model."""
    return ContrastiveTask(model, config) if isinstance(model, DualEncoder) else RegressionTask(model)
