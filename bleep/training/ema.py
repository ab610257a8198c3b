"""A running average of the weights that learn (Polyak and Juditsky, SIAM J. Control Optim. 1992)."""

import contextlib
from collections.abc import Iterator
from typing import final

import torch
from torch import Tensor, nn


@final
class WeightAverage:
    """The average of what a model's parameters have been, later steps counting more; a decay of 0 keeps none.

    Early on the decay is less, (1 + step) / (10 + step), so that the first, random weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad} if decay > 0 else {}
        self.values: dict[str, Tensor] = {name: p.detach().clone() for name, p in self._parameters.items()}

    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 0 over the whole training."""
        if self.values:
            new = 1 - min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(self.values.values()), [p.detach() for p in self._parameters.values()], new)

    @contextlib.contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Let the model hold the average, and give it back its own weights afterwards."""
        kept = {name: p.detach().clone() for name, p in self._parameters.items()}
        self.keep()
        try:
            yield
        finally:
            _copy(kept, self._parameters)

    def keep(self) -> None:
        """Let the model hold the average from now on."""
        _copy(self.values, self._parameters)


def _copy(values: dict[str, Tensor], parameters: dict[str, nn.Parameter]) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(values[name])
