"""The optimizer, and the rates of its groups."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.optim import SGD, Adadelta, Adagrad, Adam, AdamW, Optimizer, RMSprop

from bleep.config import OptimConfig, OptimizerName
from bleep.models.image import ImageTrunk, ParameterSchedule

OPTIMIZERS: Mapping[OptimizerName, Callable[[list[dict[str, Any]], float], Optimizer]] = {
    "adamw": lambda groups, momentum: AdamW(groups),
    "adam": lambda groups, momentum: Adam(groups),
    "sgd": lambda groups, momentum: SGD(groups, momentum=momentum),
    "rmsprop": lambda groups, momentum: RMSprop(groups, momentum=momentum),
    "adagrad": lambda groups, momentum: Adagrad(groups),
    "adadelta": lambda groups, momentum: Adadelta(groups),
}
"""What makes each optimizer from its groups, which hold rate and decay, and the momentum."""


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
