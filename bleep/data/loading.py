"""Steps of a data set, read ahead by processes of their own where an accelerator would wait for them."""

import multiprocessing
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from bleep.data.slides import Slide, hold_decoded
from bleep.errors import one_sentence

MOST = 16
"""Processes that read for one device, at most, where nobody asked for a number."""
AHEAD = 2
"""Steps that each of them reads ahead."""
SHARED = Path("/dev/shm")
"""Memory through which Linux gives a step from one process to another; in a container it may be small."""


def readers(asked: int | None, device: torch.device, steps: int, step_bytes: int) -> int:
    """Return how many processes read: as many as were asked for; where nobody did, what suits the device.

    A CPU computes with the cores that would read, so there are none for it. For an accelerator there is one for each core
    but one, as many as shared memory has room for the steps of, and no more than there are steps.

    >>> readers(None, torch.device("cpu"), 100, 1)
    0
    >>> readers(3, torch.device("cpu"), 100, 1)
    3

    """
    if asked is not None:
        return asked
    if device.type == "cpu" or steps < 2 or "fork" not in multiprocessing.get_all_start_methods() or not SHARED.is_dir():
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    room = shutil.disk_usage(SHARED).free // 2 // beside // max((AHEAD + 1) * step_bytes, 1)
    return max(min(cores // beside - 1, MOST, steps, room), 0)


def loaded(
    data: Dataset[Any],
    steps: Sampler[Any] | Sequence[Any],
    device: torch.device,
    *,
    workers: int | None,
    step_bytes: int,
    slides: tuple[Slide, ...],
    stays: bool = False,
) -> DataLoader[Any]:
    """Return what reads a data set step by step for a device: `data[step]` for each of the steps, in order.

    Args:
        data: gives a whole step at a time.
        steps: what a step is asked for by.
        device: where steps are to go; for CUDA they lie in pinned memory.
        workers: processes that read, none: as `readers` says.
        step_bytes: about how large a step is.
        slides: what is read. Pictures that are decoded whole are decoded here, once for all processes.
        stays: whether the processes go on from one pass to the next.

    """
    count = readers(workers, device, len(steps), step_bytes)  # type: ignore[arg-type]
    own = bool(count) and workers is None
    # Without room to hold them all decoded, each process would decode pictures for itself, over and over.
    if own and not hold_decoded(slides):
        count, own = 0, False
    return DataLoader(
        data,
        sampler=steps,
        batch_size=None,
        collate_fn=as_it_is,
        num_workers=count,
        pin_memory=device.type == "cuda",
        persistent_workers=stays and count > 0,
        prefetch_factor=AHEAD if count else None,
        multiprocessing_context="fork" if own else None,
        # Else each pass would draw from the numbers that dropout is drawn from, and how often would depend on who reads.
        generator=torch.Generator(),
    )


def as_it_is(step: Any) -> Any:
    """Return a step unchanged."""
    return step


def read(loader: DataLoader[Any]) -> Iterator[Any]:
    """Yield the steps; what a process that reads ran into is said in its own sentence."""
    with one_sentence():
        with warnings.catch_warnings():
            # These processes only read files: what Python warns of are the locks of others.
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
            steps = iter(loader)
        yield from steps
