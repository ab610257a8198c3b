"""One step's gradients, in pieces: the loss is over the whole batch, memory over a chunk of it.

Encode every chunk without gradients, take the loss over all of them together and its gradients at the encodings, then
encode each chunk again and send those gradients through it (Gao et al., RepL4NLP 2021). The result is that of one pass over
the whole batch, for any loss.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor, nn

from bleep.records import Batch

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
