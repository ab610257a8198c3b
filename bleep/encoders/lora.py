"""Low-rank adapters in a transformer's attention (Hu et al., ICLR 2022), by the library peft."""

import importlib.util
import warnings
from typing import Any

from torch import nn

from bleep.errors import ConfigError, DataError

MARK = ".lora_"
"""Stands in the names of adapters, and of nothing else."""


def add_adapters(model: nn.Module, name: str, rank: int) -> None:
    """Put an adapter beside every linear layer of every attention, in place; at first they change nothing.

    Raises:
        ConfigError: the trunk has no such attention.
        DataError: peft is not installed.

    """
    places = [
        path for path, module in model.named_modules() if isinstance(module, nn.Linear) and path.split(".")[-2:-1] == ["attn"]
    ]
    if not places:
        raise ConfigError(
            f"image.train is lora, but {name} has no attention that adapters could stand beside: "
            "use a vision transformer, or set image.train to last or full"
        )
    if importlib.util.find_spec("peft") is None:
        raise DataError("image.train lora needs the extra lora: pip install 'bleep-st[lora]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import peft

    settings: Any = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=places, lora_dropout=0.0)
    peft.inject_adapter_in_model(settings, model)


def check_reached(model: nn.Module, name: str, output: Any) -> None:
    """Refuse a trunk whose attention reads its weights past the adapters, which would then never learn.

    Raises:
        ConfigError: some adapter has no part in this output.

    """
    import torch

    adapters = [parameter for path, parameter in model.named_parameters() if MARK in path]
    if any(gradient is None for gradient in torch.autograd.grad(output.sum(), adapters, allow_unused=True)):
        raise ConfigError(
            f"image.train is lora, but the attention of {name} goes past adapters: set image.train to last or full"
        )
