"""What ends a training: a request, a loss or a weight that is no number; looked at after each step without a wait."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import final

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor, nn

from bleep.errors import ConfigError, ReaderError, StoppedError


@final
class TrainingGuard:
    """Looks after each step at what ends a training; every process sees the same, so all leave together.

    What a step says is read one step later, so that the device never waits for the reading.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator, self.asked = accelerator, False
        self._told: tuple[int, int, Callable[[], list[float]]] | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM, which clusters send before they take a machine back, as a request to stop, in this block alone.

        Raises:
            StoppedError: the request went to the processes that read tiles as well, and they have gone.

        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: FrameType | None) -> None:
            self.asked = True

        before = signal.signal(signal.SIGTERM, ask)
        try:
            yield
        except ReaderError:
            if not self.asked:
                raise
            raise StoppedError(
                "asked to stop; every whole epoch is kept: give the same command with --resume to go on"
            ) from None
        finally:
            # A handler that was not set from Python cannot be set again; then the system's own is the nearest.
            signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)

    def look(self, epoch: int, step: int, loss: Float[Tensor, ""]) -> None:
        """Note a step down, and say what the one before it told.

        Raises:
            StoppedError: some process was asked to stop.
            ConfigError: the loss was no number.

        """
        said = torch.stack([torch.full_like(loss, float(self.asked)), (~torch.isfinite(loss)).to(loss.dtype)])
        before, self._told = self._told, (epoch, step, _fetched(self.accelerator.reduce(said, "sum")))
        if before is not None and _asked_or_broken(*before):
            raise StoppedError(asked_in(epoch))

    def finish(self, parameters: list[nn.Parameter], epoch: int) -> bool:
        """Look at an epoch's last step and at the weights it left, and return whether some process was asked to stop.

        The epoch is whole then, so it may be saved first.

        Raises:
            ConfigError: the loss or a weight is no number.

        """
        asked = self._told is not None and _asked_or_broken(*self._told)
        self._told = None
        finite = [p.detach().isfinite().all() for p in parameters]
        if finite and not bool(torch.stack(finite).all()):
            raise ConfigError(f"weights are no numbers after epoch {epoch + 1}: {_advice(epoch)}")
        return asked


def asked_in(epoch: int) -> str:
    """Return what is said when training ends on request in or before this epoch, which is told counted from 1."""
    return f"asked to stop; every epoch before {epoch + 1} is kept: give the same command with --resume to go on"


def _advice(epoch: int) -> str:
    kept = "the state of the epoch before is kept" if epoch > 0 else "no epoch was whole, so there is nothing to go on from"
    return f"lower optim.lr, or look at the data for extreme values, and at a loss of your own ({kept})"


def _fetched(told: Tensor) -> Callable[[], list[float]]:
    """Begin to fetch numbers from a GPU, and return what waits for them alone: reading them later would wait for later work."""
    if told.device.type != "cuda":
        return told.tolist
    here = torch.empty(told.shape, dtype=told.dtype, pin_memory=True)
    here.copy_(told, non_blocking=True)
    done = torch.cuda.Event()
    done.record()

    def numbers() -> list[float]:
        done.synchronize()
        return here.tolist()

    return numbers


def _asked_or_broken(epoch: int, step: int, told: Callable[[], list[float]]) -> bool:
    """Return whether some process was asked to stop at a step."""
    asked, broken = told()
    if broken:
        raise ConfigError(f"the loss is no number in epoch {epoch + 1}, step {step + 1}: {_advice(epoch)}")
    return bool(asked)
