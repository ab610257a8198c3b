"""Ray as the engine of an archive: workers on this machine or a cluster, each with the run open, a slide at a time."""

import logging
import os
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from bleep.errors import BleepError, ConfigError, DataError
from bleep.workflows.archive import Job, Outcome, Worker

TRIES = 3
"""Workers that a slide may cost before it counts as failed."""

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, slots=True)
class Cluster:
    """Where Ray runs, and what each worker is given."""

    address: str | None = None
    """`auto` or `ray://HOST:10001`; none: a Ray of this machine's own."""
    workers: int | None = None
    """How many; none: as many as there is room for."""
    cpus: float = 1.0
    """CPUs of each."""
    gpus: float = 0.0
    """GPUs of each; a part of one is shared."""

    def __call__(self, job: Job, slides: Mapping[str, Path]) -> Iterator[Outcome]:
        """Predict slides in any order.

        A worker that dies is replaced, and its slide is given to another.

        Raises:
            ConfigError: Ray is not installed, or the cluster has no room for a worker.
            DataError: there is no Ray at the address.
            BleepError: what opening the run raises.

        """
        ray = connected(self.address)
        try:
            yield from self._spread(ray, job, slides)
        finally:
            ray.shutdown()

    def _spread(self, ray: Any, job: Job, slides: Mapping[str, Path]) -> Iterator[Outcome]:
        actor = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_restarts=0)(_Actor)
        waiting, tries = deque(slides.items()), dict.fromkeys(slides, 0)
        idle = [actor.remote(job, self.cpus) for _ in range(min(self._room(ray), len(slides)))]
        for worker in idle:
            failure = ray.get(worker.opened.remote())
            if failure is not None:
                raise failure
        busy: dict[Any, tuple[Any, str]] = {}
        while waiting or busy:
            while waiting and idle:
                name, path = waiting.popleft()
                worker = idle.pop()
                busy[worker.predict.remote(name, path)] = (worker, name)
            (ready,), _ = ray.wait(list(busy), num_returns=1)
            worker, name = busy.pop(ready)
            try:
                outcome = ray.get(ready)
            except ray.exceptions.RayActorError:
                tries[name] += 1
                idle.append(actor.remote(job, self.cpus))
                if tries[name] < TRIES:
                    log.warning("slide %s: its worker died; another begins it anew", name)
                    waiting.append((name, slides[name]))
                    continue
                outcome = Outcome(name, failure=f"{slides[name]}: {TRIES} workers died of it, often for want of memory")
            else:
                idle.append(worker)
            yield outcome

    def _room(self, ray: Any) -> int:
        """Return how many workers there is room for, or are asked for."""
        there = ray.cluster_resources()
        limits = [there.get("CPU", 0.0) / self.cpus] if self.cpus else []
        limits += [there.get("GPU", 0.0) / self.gpus] if self.gpus else []
        room = int(min(limits, default=1.0))
        if room < 1 or (self.workers is not None and self.workers > room):
            raise ConfigError(
                f"--workers: {self.workers or 1} of {self.cpus:g} CPUs and {self.gpus:g} GPUs were asked for, and Ray has "
                f"{there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs; ask for fewer, or for less of each"
            )
        return self.workers or room


@final
class _Actor:
    """A worker in a process of Ray's."""

    def __init__(self, job: Job, cpus: float) -> None:
        torch.set_num_threads(max(1, int(cpus)))
        self._failure: BleepError | None = None
        try:
            self._worker = Worker(job)
        except BleepError as error:
            self._failure = error

    def opened(self) -> BleepError | None:
        """Return why the run could not be opened."""
        return self._failure

    def predict(self, name: str, path: Path) -> Outcome:
        return self._worker.predict(name, path)


def connected(address: str | None) -> Any:
    """Return Ray, connected to a cluster or to one of this machine's own, which keeps to itself.

    Raises:
        ConfigError: Ray is not installed.
        DataError: there is no Ray at the address.

    """
    try:
        import ray
    except ImportError:
        raise ConfigError("--engine ray: Ray is not installed: pip install -e '.[ray]' in bleep's clone") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    given: dict[str, Any] = {"address": address} if address else {"include_dashboard": False}
    try:
        ray.init(**given, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise DataError(f"--address {address}: no Ray answers there ({said}); start it with `ray start --head`") from None
    return ray
