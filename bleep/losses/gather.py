"""Gathering over processes with gradients, so that a loss over all spots is the same on one process or many."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, local.contiguous())
        ctx.rows = len(local)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Every process computes the whole loss, and DistributedDataParallel later takes the mean over processes:
        # the sum here makes that mean the gradient of the one loss.
        total = gradients[0].contiguous()
        dist.all_reduce(total)
        start = dist.get_rank() * ctx.rows
        return total[start : start + ctx.rows]


def gather_rows(local: Float[Tensor, "batch dim"]) -> Float[Tensor, "all dim"]:
    """Return the rows of every process, in order of rank; with one process, the rows as they are.

    Every process must bring the same number of rows. Gradients flow back to the process a row came from.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return local
    gathered: Tensor = _Gather.apply(local)
    return gathered


def gather_numbers(local: Int[Tensor, " batch"]) -> Int[Tensor, " all"]:
    """Return the whole numbers of every process, in order of rank, as `gather_rows` does rows."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return local
    parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, local.contiguous())
    return torch.cat(parts)
