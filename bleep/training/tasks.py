"""A task joins a model and a loss: the loop gives it a batch and gets one number."""

from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from bleep.encoders.dual import DualEncoder
from bleep.encoders.regressor import Regressor
from bleep.losses.contrastive import TARGETS, Sides, clip_loss
from bleep.losses.gather import gather_rows
from bleep.losses.regression import squared_error
from bleep.records import Batch
from bleep.settings import LossConfig


@final
class ContrastiveTask(nn.Module):
    """CLIP over the tiles and spots of all processes together."""

    def __init__(self, model: DualEncoder, config: LossConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        pair = self.model(batch.inputs, batch.expression)
        sides = Sides(*(gather_rows(side) for side in pair[:4]))
        targets = TARGETS[self.config.targets](sides, pair.scale, self.config.target_temperature)
        return clip_loss(sides, pair.scale, targets)


@final
class RegressionTask(nn.Module):
    """Squared error of the predicted values; processes hold equal parts, so their mean is the loss of all."""

    def __init__(self, model: Regressor) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        return squared_error(self.model(batch.inputs), batch.expression)


def task_of(model: DualEncoder | Regressor, config: LossConfig) -> ContrastiveTask | RegressionTask:
    """Return the task that trains this model."""
    return ContrastiveTask(model, config) if isinstance(model, DualEncoder) else RegressionTask(model)
