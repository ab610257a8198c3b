"""Which of the processes of a launch this is, and where it computes."""

import os
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from accelerate import PartialState

COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where torch's launcher and those of MPI say how many processes there are; Accelerate reads the same."""


def is_main_process() -> bool:
    """Return whether this process is the one that writes and prints."""
    if not _several():
        return True
    main: bool = launched().is_main_process
    return main


def best_device() -> torch.device:
    """Return the accelerator torch finds, this process's own where there are several processes, else the CPU."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        device: torch.device = launched().device
        return torch.device("cpu") if device.type == "cpu" else device
    found = torch.accelerator.current_accelerator(check_available=True)
    return found if found is not None else torch.device("cpu")


def launched() -> "PartialState":
    """Return what this process knows of its launch; several processes without accelerators are joined on the CPU.

    Accelerate would otherwise take each of them for the only one, unless it had trained before.
    """
    from accelerate import PartialState  # here, since a process alone does not need it and it takes its time

    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    asked = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "on")
    return PartialState(cpu=several and (asked or not torch.accelerator.is_available()))


def _several() -> bool:
    return any(int(os.environ.get(name, "1")) > 1 for name in COUNTS)
