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


def processes() -> tuple[int, int]:
    """Return the number of this process, from 0, and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def joined(mine: Any) -> list[Any]:
    """Return what every process has, in their order; all must call it."""
    count = processes()[1]
    if count == 1:
        return [mine]
    found: list[Any] = [None] * count
    dist.all_gather_object(found, mine)
    return found


def of_main(mine: Any) -> Any:
    """Return what the main process has; all must call it."""
    if processes()[1] == 1:
        return mine
    held = [mine]
    dist.broadcast_object_list(held, src=0)
    return held[0]


def share(steps: int) -> range:
    """Return which of so many steps, in order, fall to this process."""
    rank, count = processes()
    return range(steps * rank // count, steps * (rank + 1) // count)
