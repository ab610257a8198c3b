"""How gradients are made and applied: optimisers, schedules, and gradients in chunks."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, final

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import SGD, Adadelta, Adagrad, Adam, AdamW, Optimizer, RMSprop

from bleep.config import Config, OptimConfig, OptimizerName, ScheduleName
from bleep.data.splits import HOLD_OUT
from bleep.errors import ConfigError
from bleep.models.image import ImageTrunk, ParameterSchedule
from bleep.records import Batch
from bleep.training.checkpoint import Progress

OPTIMIZERS: Mapping[OptimizerName, Callable[[list[dict[str, Any]], float], Optimizer]] = {
    "adamw": lambda groups, momentum: AdamW(groups, fused=_has_fused(groups) or None),
    "adam": lambda groups, momentum: Adam(groups),
    "sgd": lambda groups, momentum: SGD(groups, momentum=momentum),
    "rmsprop": lambda groups, momentum: RMSprop(groups, momentum=momentum),
    "adagrad": lambda groups, momentum: Adagrad(groups),
    "adadelta": lambda groups, momentum: Adadelta(groups),
}
"""What makes each optimizer from its groups, which hold rate and decay, and the momentum."""


def _has_fused(groups: list[dict[str, Any]]) -> bool:
    """Return whether all that learns is where a fused kernel is the fastest step: on a CPU or a GPU of CUDA."""
    return all(parameter.device.type in ("cpu", "cuda") for group in groups for parameter in group["params"])


def build_optimizer(model: nn.Module, config: OptimConfig) -> Optimizer:
    """Return the optimizer with a rate for the trunk and one for the rest; vectors and scalars have no weight decay.

    Within a trunk, each parameter's rate and the share of the training at which it starts to learn are the trunk's to say.
    """
    parameter_schedules = {
        f"{name}.{inner}": pace
        for name, module in model.named_modules()
        if isinstance(module, ImageTrunk)
        for inner, pace in module.parameter_schedules().items()
    }
    groups: dict[tuple[float, float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            pace = parameter_schedules.get(name, ParameterSchedule(1.0, 0.0))
            rate = (config.trunk_lr if ".trunk." in f".{name}" else config.lr) * pace.rate
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay, pace.start), []).append(parameter)
    made = [
        {"params": found, "lr": rate, "weight_decay": decay, "peak": rate, "start": start}
        for (rate, decay, start), found in groups.items()
    ]
    return OPTIMIZERS[config.name](made, config.momentum)


def clip(parameters: list[nn.Parameter], most: float, accelerator: Accelerator) -> None:
    """Scale gradients down together until their joint norm is at most this."""
    if accelerator.device.type != "cpu":
        accelerator.clip_grad_norm_(parameters, most)
        return
    # On a CPU the norm can be looked at for nothing, and mostly nothing is to be scaled.
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if norm + 1e-6 > most:
        nn.utils.clip_grads_with_norm_(parameters, most, norm)


def set_rate(optimizer: Optimizer, factor: float, share: float, least: float = 0.0) -> float:
    """Set every group to this factor of its peak rate, but not below `least` or that peak, and return the largest rate.

    A group that starts after this share of the training has none yet.
    """
    for group in optimizer.param_groups:
        rate = max(group["peak"] * factor, min(least, group["peak"]))
        group["lr"] = rate if share >= group["start"] else 0.0
    return max(float(group["lr"]) for group in optimizer.param_groups)


def drop_not_started(optimizer: Optimizer, share: float) -> None:
    """Drop the gradients of groups that have not started, so that neither they nor the clipping of others feels them."""
    for group in optimizer.param_groups:
        if share < group["start"]:
            for parameter in group["params"]:
                parameter.grad = None


def _cosine(share: float, falls: int, config: OptimConfig) -> float:
    return (1 + math.cos(math.pi * share)) / 2


def _plateau(share: float, falls: int, config: OptimConfig) -> float:
    return config.plateau_factor**falls


def _constant(share: float, falls: int, config: OptimConfig) -> float:
    return 1.0


SCHEDULES: dict[ScheduleName, Callable[[float, int, OptimConfig], float]] = {
    "cosine": _cosine,
    "plateau": _plateau,
    "constant": _constant,
}
"""Factor of the peak rate, from the share of the steps after the warm-up that are done and the falls so far."""


def factor(config: OptimConfig, step: int, steps: int, falls: int) -> float:
    """Return what the peak rates are multiplied by at a step: a linear rise over the warm-up's share, then the schedule."""
    rise = _rise(config, steps)
    if step < rise:
        return (step + 1) / rise
    return SCHEDULES[config.schedule](max(step - rise, 0) / max(steps - rise, 1), falls, config)


def least_rate(config: OptimConfig, step: int, steps: int) -> float:
    """Return what no rate falls below at a step; there is no such bound but under `schedule: plateau`, after the warm-up."""
    return config.plateau_min_lr if config.schedule == "plateau" and step >= _rise(config, steps) else 0.0


def _rise(config: OptimConfig, steps: int) -> int:
    return max(round(config.warmup * steps), 1)


def after_epoch(progress: Progress, score: float, config: OptimConfig) -> Progress:
    """Count epochs without a better score, and a fall of the rate once there were more than `plateau_patience`.

    Only `schedule: plateau` looks at it. The rule is that of torch's ReduceLROnPlateau for a score that shall rise. The counts
    are part of the state, so a resumed training falls at the same epochs.
    """
    if config.schedule != "plateau":
        return progress
    if _better(score, progress.mark, config):
        stale, mark = 0, score
    else:
        stale, mark = progress.stale + 1, progress.mark
    cooling = progress.cooling
    if cooling:
        stale, cooling = 0, cooling - 1
    if stale > config.plateau_patience:
        return replace(progress, falls=progress.falls + 1, stale=0, cooling=config.plateau_cooldown, mark=mark)
    return replace(progress, stale=stale, cooling=cooling, mark=mark)


def _better(score: float, mark: float, config: OptimConfig) -> bool:
    if config.plateau_mode == "abs":
        return score > mark + config.plateau_threshold
    return score > mark * (1 + config.plateau_threshold)


def check_schedule(config: Config) -> None:
    """Refuse a schedule that has nothing to look at.

    Raises:
        ConfigError: the rate is to fall with the validation score, and nothing is held out for one.

    """
    if config.optim.schedule == "plateau" and config.data.val == "none":
        raise ConfigError(
            f"optim.schedule is plateau, which follows the validation score, but data.val is none: {HOLD_OUT}; or set "
            "optim.schedule to cosine"
        )


@final
class WeightAverage:
    """The average of what a model's parameters have been, later steps counting more; a decay of 0 keeps none.

    Early on the decay is less, (1 + step) / (10 + step), so that the first, random weights are soon forgotten
    (Polyak and Juditsky, SIAM J. Control Optim. 1992).
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


Encoded = Any
"""What a task's forward gives: a named tuple of tensors with a row a spot each, and of scalars."""


def backward(
    task: nn.Module,
    loss_of: Callable[[Encoded], Float[Tensor, ""]],
    batch: Batch,
    chunk: int | None,
    accelerator: Accelerator,
) -> Float[Tensor, ""]:
    """Add the gradients of `loss_of(task(batch))` to the task's parameters, and return the loss.

    `task` may be wrapped for several processes, which then exchange gradients once.
    """
    if chunk is None or chunk >= len(batch.rows):
        loss: Tensor = loss_of(task(batch))
        accelerator.backward(loss)
        return loss.detach()
    parts = [Batch(*(field[at : at + chunk] for field in batch)) for at in range(0, len(batch.rows), chunk)]
    states, encoded = [], []
    with torch.no_grad():
        for part in parts:
            states.append(_random_state(accelerator.device))
            encoded.append(task(part))
    leaves = [_leaf(_joined(pieces)) for pieces in zip(*encoded, strict=True)]
    loss = loss_of(type(encoded[0])(*leaves))
    loss.backward()
    for number, (part, state) in enumerate(zip(parts, states, strict=True)):
        last = number == len(parts) - 1
        with contextlib.nullcontext() if last else accelerator.no_sync(task), _random(state, accelerator.device):
            accelerator.backward(_carried(task(part), leaves, number * chunk, last=last))
    return loss.detach()


def _joined(pieces: tuple[Tensor, ...]) -> Tensor:
    """Put chunks side by side; a scalar is the same in each."""
    return torch.cat(pieces) if pieces[0].ndim else pieces[0].clone()


def _leaf(tensor: Tensor) -> Tensor:
    """Let a tensor gather gradients; whole numbers, such as row numbers, have none."""
    return tensor.detach().requires_grad_(tensor.is_floating_point())


def _carried(encoded: tuple[Tensor, ...], leaves: list[Tensor], start: int, *, last: bool) -> Float[Tensor, ""]:
    """Return a number whose gradient at the parameters is the loss's; a scalar's share counts once, with the last chunk."""
    total = encoded[0].new_zeros(())
    for here, leaf in zip(encoded, leaves, strict=True):
        if not here.requires_grad:
            continue
        gradient = leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)
        mine = gradient[start : start + len(here)] if here.ndim else gradient * last
        total = total + (here * mine).sum()
    return total


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@contextlib.contextmanager
def _random(state: tuple[Tensor, Tensor | None], device: torch.device) -> Iterator[None]:
    """Draw the same dropout as when the chunk was encoded first, and leave the generators where they stand."""
    cpu, cuda = state
    with torch.random.fork_rng(devices=[device] if cuda is not None else []):
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, device)
        yield
