"""The regression loss: a weighted sum of terms that compare scaled values, or a loss of somebody else."""

from collections.abc import Callable
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from bleep import registry
from bleep.collectives import gather_rows
from bleep.config import LossConfig
from bleep.data.panel import GenePanel
from bleep.errors import ConfigError
from bleep.models.losses import OVER_STEP, TERMS, Rules

OwnLoss = Callable[..., Tensor]
"""A loss of somebody else: of regression, of (predicted, measured); contrastive, of (`Sides`, inverse temperature).

Either is called with the spots of a whole step, those of all processes, and returns one number to be made small.
"""


@final
class Terms(nn.Module):
    """The weighted sum of the terms that compare scaled values; no weight of it learns.

    An `own` loss takes the place of all of them.

    Raises:
        ConfigError: a term is of the panel's best genes, and no panel was given.

    """

    heg: Tensor
    hvg: Tensor

    def __init__(self, config: LossConfig, panel: GenePanel | None = None, own: OwnLoss | None = None) -> None:
        super().__init__()
        self.weights, self.delta = ({} if own is not None else config.terms), config.delta
        more = {} if own is not None else {name: weight for name, weight in config.more.items() if weight > 0}
        self.others = [(own, 1.0)] if own is not None else [(registry.load("losses", n), w) for n, w in more.items()]
        asked = [name for name in ("heg_mse", "hvg_mse") if name in self.weights]
        if asked and panel is None:
            raise ConfigError(f"loss.{asked[0]} is of genes chosen on training spots, but no panel was given to choose from")
        for name, by in (("heg", "mean"), ("hvg", config.hvg)):
            columns = np.zeros(0, np.int64) if panel is None else panel.top(config.top, by)
            # Not persistent: the panel knows them.
            self.register_buffer(name, torch.from_numpy(columns.astype(np.int64)), persistent=False)

    def forward(self, predicted: Float[Tensor, "batch genes"], measured: Float[Tensor, "batch genes"]) -> Float[Tensor, ""]:
        """Return the sum over this process's spots; terms that are no means over spots are over those of all processes.

        Processes hold equal parts, so that the mean over them is the loss of the whole step.
        """
        rules = Rules(self.delta, self.heg, self.hvg)
        total = predicted.new_zeros(())
        for name, weight in self.weights.items():
            if name in OVER_STEP:
                value = TERMS[name](gather_rows(predicted), gather_rows(measured), rules)
            else:
                value = TERMS[name](predicted, measured, rules)
            total = total + weight * value
        if self.others:
            # Nobody knows whether another's loss is a mean over spots, so it is given all of them.
            step = gather_rows(predicted), gather_rows(measured)
            total = total + sum(weight * checked(loss(*step), loss) for loss, weight in self.others)
        return total


def checked(value: Tensor, loss: OwnLoss) -> Float[Tensor, ""]:
    """Refuse what another's loss returned if nothing can be learnt from it.

    Raises:
        ConfigError: it is no single number that depends on the model.

    """
    name = getattr(loss, "__name__", type(loss).__name__)
    if not isinstance(value, Tensor) or value.shape != ():
        given = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ConfigError(f"the loss {name} returned {given}; expected one number, as a tensor of no dimensions")
    if torch.is_grad_enabled() and not value.requires_grad:
        raise ConfigError(f"the loss {name} does not depend on the model, so nothing is learnt; is something detached?")
    return value
