"""Losses that are not bleep's own: which task each is for, the one place where they are called, and a call before training."""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, final, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from bleep import registry
from bleep.config import FormName, LossConfig
from bleep.errors import BleepError, ConfigError
from bleep.models.losses import Sides

OwnLoss = Callable[..., Tensor]
"""A loss of somebody else: of regression, of (predicted, measured); contrastive, of (`Sides`, inverse temperature).

Either is called with the spots of a whole step, those of all processes, and returns one number to be made small.
"""

OTHER_KIND = {
    False: "as a loss of regression with predicted and measured values, [spots, genes] both: mend it, or if it is a "
    "contrastive loss use it as one (loss.form, with loss.task contrastive or both)",
    True: "as a contrastive loss with bleep.models.losses.Sides and the inverse temperature: mend it, or if it is a loss of "
    "predicted and measured values use it as one (loss.more, with loss.task regression or both)",
}
"""How a loss was called, and what it may be instead, by whether it was taken for a contrastive one."""


def check_own_losses(config: LossConfig, given: OwnLoss | None = None) -> None:
    """Refuse a loss that the task would never call.

    Raises:
        ConfigError: a loss that settings name, or that was given in Python, has no part in the task, or one stands in the
            place of another.

    """
    task = config.task
    more = next((name for name, weight in config.more.items() if weight > 0), None)
    form = config.form if config.form not in get_args(FormName) else None
    if more is not None and task not in ("regression", "both"):
        raise ConfigError(
            f"loss.more names {more}, a loss of predicted and measured values, but loss.task is {task}, which has none: set "
            f"loss.task to regression or both, or the weight of {more} to 0"
        )
    if form is not None and task not in ("contrastive", "both"):
        raise ConfigError(
            f"loss.form is {form}, which is called as a contrastive loss, but loss.task is {task}, which has none: set "
            "loss.task to contrastive or both, or leave loss.form out"
        )
    if task == "both" and config.regression == 0 and (more is not None or given is not None):
        raise ConfigError(
            f"{more or 'the loss given in Python'} is a loss of regression, but loss.regression is 0, so that it would change "
            "nothing: set loss.regression above 0, or loss.task to contrastive and leave it out"
        )
    if given is None:
        return
    CheckedLoss(given, contrastive=task == "contrastive")
    if task == "classify":
        raise ConfigError(
            "a loss was given in Python, but loss.task is classify, which learns labels by a loss of its own: set loss.task to "
            "contrastive, regression or both, or leave it out"
        )
    replaced = f"loss.form {form}" if task == "contrastive" and form else f"{more} of loss.more" if more else ""
    if replaced:
        raise ConfigError(
            f"a loss was given in Python, which takes the place of {replaced}, so that this would never be called: leave one "
            "of the two out"
        )


@final
class CheckedLoss(nn.Module):
    """A loss of somebody else, by the name that it is told by; what it gives is looked at each time.

    Raises:
        ConfigError: it is none: nothing that can be called, a class, or a module with weights of its own to learn, which no
            run would keep.

    """

    def __init__(self, loss: Any, *, contrastive: bool, name: str = "") -> None:
        super().__init__()
        self.name = name or getattr(loss, "__name__", type(loss).__name__)
        if isinstance(loss, type):
            raise ConfigError(f"the loss {self.name} is a class; expected an instance of it, as {self.name}() makes one")
        if not callable(loss):
            raise ConfigError(
                f"the loss is {loss!r}, a {type(loss).__name__}; expected a function that returns one number (a name of an "
                "installed loss goes into loss.more or loss.form)"
            )
        if isinstance(loss, nn.Module) and any(weight.requires_grad for weight in loss.parameters()):
            raise ConfigError(
                f"the loss {self.name} has weights of its own that learn, which no run would keep: freeze them by "
                "requires_grad_(False)"
            )
        self.loss, self.contrastive = loss, contrastive

    def forward(self, *step: Any) -> Float[Tensor, ""]:
        """Return what the loss says of a step.

        Raises:
            ConfigError: it fails, or gives no single real number that depends on the model.

        """
        try:
            value = self.loss(*step)
        except (BleepError, torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # whatever another's loss raises
            raise ConfigError(self._failed(error)) from error
        if not isinstance(value, Tensor) or value.shape != ():
            given = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise ConfigError(f"the loss {self.name} returned {given}; expected one number, as a tensor of no dimensions")
        if value.is_complex():
            raise ConfigError(
                f"the loss {self.name} returned a complex number; expected a real one: take its real part, or abs()"
            )
        if torch.is_grad_enabled() and not value.requires_grad:
            raise ConfigError(
                f"the loss {self.name} does not depend on the model, so nothing is learnt; is something detached?"
            )
        return value

    def rehearse(self, *step: Any, inputs: list[Tensor], seed: int | None = None) -> tuple[float, ...]:
        """Call the loss once, and what gives its gradient to these inputs; neither it nor random numbers are the worse for it.

        With a `seed` it draws the random numbers of that. What it gives is returned, with two numbers of each gradient: its
        length, and how far it goes in a direction that is the same each time.

        Raises:
            ConfigError: see `forward`.

        """
        trial = self
        with contextlib.suppress(Exception):  # what cannot be copied is called as it is
            trial = copy.deepcopy(self)
        with _unmoved(inputs[0].device, seed):
            value = trial(*step)
            try:
                gradients = torch.autograd.grad(value, inputs, allow_unused=True)
            except RuntimeError as error:
                raise ConfigError(self._failed(error)) from error
        told = [value.detach(), *(number for gradient in gradients for number in _numbers(gradient))]
        return tuple(float(f"{float(number):.6g}") for number in told)

    def _failed(self, error: Exception) -> str:
        said = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        return f"the loss {self.name} failed ({said}), called {OTHER_KIND[self.contrastive]}"


def rehearse(
    values: Float[Tensor, "spots genes"],
    config: LossConfig,
    contrastive: CheckedLoss | None,
    of_values: list[CheckedLoss],
    widths: tuple[int, int],
    *,
    unit: bool = True,
    seed: int | None = None,
) -> list[tuple[float, ...]]:
    """Call losses that are not bleep's own with a made-up step, as large as those to come, before anything is written.

    Measured values are those of the spots; embeddings and features, whose widths are given, and predictions are drawn, the
    embeddings of unit length where the model's are. Returns what `CheckedLoss.rehearse` says of each, those of values by name.

    Raises:
        ConfigError: one of them fails, or gives no single real number that depends on the model.

    """
    random = torch.Generator().manual_seed(0)

    def drawn(width: int) -> Tensor:
        return torch.randn((len(values), width), generator=random).to(values.device)

    found: list[tuple[float, ...]] = []
    if contrastive is not None:
        image, expression, features = (drawn(width).requires_grad_() for width in (widths[0], *widths))
        scale = torch.full((), 1 / config.temperature, device=values.device, requires_grad=config.learn_temperature)
        shown, spoken = (normalize(side, dim=1) if unit else side * 1 for side in (image, expression))
        # Multiplied, since what is to be derived by may not be changed in place, as a loss may do with what a model gave.
        sides = Sides(shown, spoken, features * 1, values.clone())
        leaves = [image, expression, features, *([scale] if scale.requires_grad else [])]
        found.append(contrastive.rehearse(sides, scale * 1, inputs=leaves, seed=seed))
    for loss in sorted(of_values, key=lambda one: one.name):
        predicted = drawn(values.shape[1]).requires_grad_()
        found.append(loss.rehearse(predicted * 1, values.clone(), inputs=[predicted], seed=seed))
    return found


def same_losses(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> bool:
    """Return whether losses do the same, by what `rehearse` returned of each; of what says nothing, nobody knows."""
    if not one or not other:
        return True
    return len(one) == len(other) and all(
        not a or not b or (len(a) == len(b) and np.allclose(a, b, rtol=1e-3, atol=1e-5 * np.abs(a).max()))
        for a, b in zip(one, other, strict=True)
    )


def _numbers(gradient: Float[Tensor, "..."] | None) -> tuple[Tensor, Tensor]:
    if gradient is None:
        return torch.zeros(()), torch.zeros(())
    flat = gradient.detach().double().cpu().ravel() * gradient.numel() ** 0.5
    towards = torch.randn(flat.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return flat.norm(), flat @ towards


@contextlib.contextmanager
def _unmoved(device: torch.device, seed: int | None) -> Iterator[None]:
    """Leave the random numbers of torch and NumPy as they were; until then, those of the seed are drawn, if there is one."""
    state = np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        if seed is not None:
            torch.manual_seed(seed)
            np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)


def registered(name: str, *, contrastive: bool) -> CheckedLoss:
    """Return a loss that a package lists, or that was registered.

    Raises:
        ConfigError: nothing has this name, or it is no loss.

    """
    return CheckedLoss(registry.load("losses", name), contrastive=contrastive, name=name)
