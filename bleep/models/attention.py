"""Attention on a CPU in bf16, some heads at a time: there, PyTorch's own takes half as long again (docs/log.md)."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, final

import torch
from jaxtyping import BFloat16
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

SCORES = 1 << 21
"""Products of queries and keys that are held at a time, 4 MB of them, so that they stay in the processor's cache."""
FEW = 64
"""Tokens below which PyTorch's own attention is the faster one."""

Heads = BFloat16[Tensor, "batch heads tokens channels"]


@final
class HeadsInTurn(TorchFunctionMode):
    """While it is entered, `scaled_dot_product_attention` of `suited` heads is computed by `attended`."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call what was asked for, or `attended` in its place."""
        kwargs = kwargs or {}
        if func is scaled_dot_product_attention and len(args) == 3 and not any(map(_asks, kwargs.values())) and suited(*args):
            return attended(*args)
        return func(*args, **kwargs)


def attention(device: torch.device) -> AbstractContextManager[object]:
    """Return what to enter around a network that reads without learning on this device."""
    wanted = device.type == "cpu" and not torch.compiler.is_compiling() and _bf16_without_amx()
    return HeadsInTurn() if wanted else nullcontext()


def suited(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Return whether these are heads of one shape in bf16 on a CPU, of so many tokens that it pays, and not too many."""
    plain = query.dtype == torch.bfloat16 and query.device.type == "cpu" and query.ndim == 4
    alike = query.shape == key.shape == value.shape
    if not (plain and alike and len(query)) or torch.is_grad_enabled():
        return False
    return query.shape[2] >= FEW and query.shape[2] ** 2 <= SCORES


def attended(query: Heads, key: Heads, value: Heads) -> Heads:
    """Return softmax(query key^T / sqrt(channels)) value, as `scaled_dot_product_attention` does, but for rounding.

    Scores and their softmax are rounded to bf16, sums are in float32.
    """
    batch, heads, tokens, channels = query.shape
    few = max(SCORES // tokens**2, 1)
    out = torch.empty_like(query, memory_format=torch.contiguous_format)
    with torch.autocast("cpu", enabled=False):
        query = query * channels**-0.5
        for tile in range(batch):
            for at in range(0, heads, few):
                some = slice(at, at + few)
                scores = torch.bmm(query[tile, some], key[tile, some].transpose(1, 2))
                torch.bmm(scores.softmax(-1), value[tile, some], out=out[tile, some])
    return out


def _asks(option: object) -> bool:
    return isinstance(option, Tensor) or bool(option)


@cache
def _bf16_without_amx() -> bool:
    """Return whether the processor has units for bf16, but no AMX, for which PyTorch's own attention is written.

    Without such units the products of matrices in bf16 are many times as slow as PyTorch's own attention. Where torch does
    not tell of either, there are units and no AMX.
    """
    amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)()) and not amx
