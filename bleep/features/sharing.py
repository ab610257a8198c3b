"""Work divided among the processes of one launch, and its results joined."""

from typing import Any

import torch.distributed as dist


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
