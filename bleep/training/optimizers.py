"""The optimizer and its learning rate, a pure function of the step."""

import math

from torch import nn
from torch.optim import AdamW, Optimizer

from bleep.settings import OptimConfig


def build_optimizer(model: nn.Module, config: OptimConfig) -> AdamW:
    """Return AdamW with a rate for the trunk and one for the rest; vectors and scalars have no weight decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = config.trunk_lr if ".trunk." in f".{name}" else config.lr
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    listed = [{"params": found, "lr": rate, "weight_decay": decay, "peak": rate} for (rate, decay), found in groups.items()]
    return AdamW(listed)


def set_rate(optimizer: Optimizer, step: int, steps: int, warmup: float) -> float:
    """Set the rate of a step, and return the largest: a linear rise over the warm-up's share, then half a cosine."""
    rise = max(round(warmup * steps), 1)
    fall = (1 + math.cos(math.pi * max(step - rise, 0) / max(steps - rise, 1))) / 2
    factor = (step + 1) / rise if step < rise else fall
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    return max(float(group["lr"]) for group in optimizer.param_groups)
