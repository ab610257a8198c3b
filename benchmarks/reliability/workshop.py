"""A toy run with all that belongs to it, and commands run in children of one process that has loaded the libraries.

So a command costs what it does, not the seconds in which Python loads PyTorch; and a child that crashes is counted.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import yaml

TEST = ("toy3", "toy4")
"""Sections of the donor that is held out."""


@final
@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    """Its exit code; below 0 the signal that ended it."""
    told: str
    """What it wrote to standard error."""

    @property
    def fault(self) -> str:
        """What is wrong with how it ended; empty: it did its work, or said in one sentence why not."""
        if self.code < 0:
            return f"ended by {signal.Signals(-self.code).name}"
        if "Traceback" in self.told:
            return f"traceback: {self.told.strip().splitlines()[-1][:200]}"
        lines = [line for line in self.told.splitlines() if line.startswith("bleep: ")]
        if self.code == 2 and len(lines) != 1:
            return f"exit code 2 and {len(lines)} sentences: {self.told[-300:]!r}"
        return "" if self.code in (0, 1, 2) else f"exit code {self.code}: {self.told[-200:]!r}"


def load() -> None:
    """Load what commands load, so that children need not."""
    import torch

    torch.set_num_threads(1)
    import accelerate  # noqa: F401
    import anndata  # noqa: F401
    import faiss  # noqa: F401
    import timm  # noqa: F401
    import zarr  # noqa: F401

    from bleep.cli.app import build_parser
    from bleep.predictors import io  # noqa: F401
    from bleep.workflows import calibrate, fit, query, stream  # noqa: F401

    build_parser()


def make(root: Path, task: str = "both") -> None:
    """Write toy tissue, train a run of it as `run`, index and calibrate it, and predict a section in every form."""
    from bleep.data.toy import toy_section, write_folder, write_st2k

    toys = [toy_section(f"toy{i + 1}", f"donor{i // 2 + 1}", 40 + i, side=256, pitch=32) for i in range(4)]
    write_st2k(toys, root / "st2k")
    write_folder(toys, root / "folder")
    recipe = {
        "data": {"source": "st2k", "root": "st2k", "mpp": 1.0, "split": "patient", "test": ["donor2"]},
        "tiles": {"pixels": 32, "microns": [64.0]},
        "panel": {"size": 12},
        "image": {"trunk": "test_resnet", "weights": "random", "precision": "float32"},
        "loss": {"task": task},
        "head": {"dim": 16},
        "optim": {"epochs": 3, "batch": 32},
        "query": {"k": 10},
        "out": "run",
        "cache": "cache",
    }
    (root / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    for words in (
        "train --config recipe.yaml",
        "index build --run run",
        "calibrate --run run",
        *(f"query --run run --images st2k/toy3 --out p{end}" for end in (".h5ad", ".zarr", ".csv", ".parquet")),
    ):
        ended = run(words.split(), root)
        if ended.code:
            raise SystemExit(f"bleep {words}: {ended.told}")


def start(words: Sequence[str], folder: Path, told: Path) -> int:
    """Begin a command in a child whose working folder is `folder` and whose standard error goes to a file."""

    def work() -> int:
        from bleep.cli.app import main

        return main(words)

    return fork(work, folder, told)


def fork(work: Callable[[], int], folder: Path, told: Path) -> int:
    """Do some work in a child, and return its process id."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        from bleep.progress import Progress

        # The bars' own lock is shared with the parent.
        Progress.set_lock(threading.RLock())
        os.setpgid(0, 0)
        os.chdir(folder)
        with told.open("ab", buffering=0) as errors:
            os.dup2(errors.fileno(), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = work()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        import traceback

        with contextlib.suppress(BaseException):
            os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def ended(child: int, told: Path) -> Ended:
    """Wait for a command."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Ended(code, told.read_text(encoding="utf-8", errors="replace") if told.exists() else "")


def run(words: Sequence[str], folder: Path) -> Ended:
    """Run a command to its end."""
    told = folder.parent / "told"
    told.unlink(missing_ok=True)
    found = ended(start(words, folder, told), told)
    told.unlink(missing_ok=True)
    return found


def kill(child: int, told: Path, seconds: float) -> Ended:
    """Kill a command, and whatever it started, after some seconds, unless it has ended by then."""
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return ended(child, told)
