"""Ray as an engine: workers on this machine or a cluster, each with the run open, a slide or a section at a time.

Nothing heavy is imported here: while workers start, the process that leads them does not.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from bleep.errors import BleepError, ConfigError, DataError, StoppedError
from bleep.workflows.archive import Job, Outcome

if TYPE_CHECKING:
    from bleep.config import KeysName
    from bleep.data.section import Section
    from bleep.retrieval.reference.identity import Embedded

TRIES = 3
"""Workers that a slide or section may cost before it counts as failed."""

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
        """Predict slides, those with the largest files first, so that none of these is waited for at the end.

        A worker that dies is replaced, and its slide is given to another.

        Raises:
            ConfigError: Ray is not installed, or the cluster has no room for a worker.
            DataError: there is no Ray at the address, or workers die whatever they are given.
            BleepError: what opening the run raises.

        """
        order, told = sorted(slides, key=lambda name: slides[name].stat().st_size, reverse=True), set[str]()
        for name, outcome in self._spread(partial(_predictor, job), {name: (name, slides[name]) for name in order}):
            for words in () if outcome is None else outcome.said:
                if words not in told:
                    log.warning("%s", words)
                told.add(words)
            yield outcome or Outcome(name, failure=f"{slides[name]}: {TRIES} workers died of it, often for want of memory")

    def embed(self, run: Path, keys: "KeysName", sections: "Sequence[Section]") -> "Iterator[Embedded]":
        """Embed the spots of sections, in their order; see `bleep.retrieval.reference.identity.embedded_section`.

        Raises:
            ConfigError: Ray is not installed, or the cluster has no room for a worker.
            DataError: there is no Ray at the address, or workers die.
            BleepError: what embedding raises.

        """
        found: dict[str, Any] = {}
        names = deque(str(number) for number in range(len(sections)))
        tasks = {name: (section,) for name, section in zip(names, sections, strict=True)}
        for name, embedded in self._spread(partial(_embedder, run, keys), tasks):
            if embedded is None:
                raise DataError(
                    f"section {sections[int(name)].name}: {TRIES} workers died of it, often for want of memory; give each "
                    "more by fewer --workers"
                )
            # What Ray returns lies in memory that it takes back when it ends.
            found[name] = tuple(part.copy() for part in embedded)
            while names and names[0] in found:
                yield found.pop(names.popleft())

    def _spread(self, opening: "Opening", tasks: Mapping[str, tuple[Any, ...]]) -> Iterator[tuple[str, Any]]:
        """Give tasks to workers, and yield what each returns, in any order; None where it cost too many of them."""
        ray = connected(self.address)
        try:
            yield from _shared_out(ray, self._started(ray, opening), min(self._room(ray), len(tasks)), tasks)
        finally:
            ray.shutdown()

    def _started(self, ray: Any, opening: "Opening") -> Callable[[], Any]:
        actor = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_restarts=0)(_Actor)
        return lambda: actor.remote(opening, self.cpus)

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


Opening = Callable[[], Callable[..., Any]]
"""Opens a run in a worker, and returns what is called with each task."""


def _shared_out(
    ray: Any, start: Callable[[], Any], workers: int, tasks: Mapping[str, tuple[Any, ...]]
) -> Iterator[tuple[str, Any]]:
    """Keep so many workers busy until all tasks are done."""
    waiting, tries, alive = deque(tasks), dict.fromkeys(tasks, 0), False
    idle = [start() for _ in range(workers)]
    busy: dict[Any, tuple[Any, str]] = {}
    while waiting or busy:
        while waiting and idle:
            worker, name = idle.pop(), waiting.popleft()
            busy[worker.do.remote(*tasks[name])] = (worker, name)
        (ready,), _ = ray.wait(list(busy), num_returns=1)
        worker, name = busy.pop(ready)
        try:
            done = ray.get(ready)
        except ray.exceptions.RayActorError as error:
            tries[name] += 1
            if not alive and sum(tries.values()) >= TRIES * workers:
                said = " ".join(str(error).split())[:200]
                raise DataError(
                    f"--engine ray: {sum(tries.values())} workers died before anything was done ({said}); give each more "
                    "memory by fewer --workers, or see that bleep is installed where they run"
                ) from None
            idle.append(start())
            if tries[name] < TRIES:
                log.warning("%s: its worker died; another begins it anew", name)
                waiting.append(name)
                continue
            done = None
        else:
            alive = True
            idle.append(worker)
        if isinstance(done, BleepError):
            raise done
        yield name, done


@final
class _Actor:
    """A worker in a process of Ray's."""

    def __init__(self, opening: Opening, cpus: float) -> None:
        import torch

        torch.set_num_threads(max(1, int(cpus)))
        self._failure: BleepError | None = None
        try:
            self._do = opening()
        except BleepError as error:
            self._failure = error

    def do(self, *task: Any) -> Any:
        """Return what a task gives, or the error that it or the opening of the run ended in."""
        try:
            return self._failure or self._do(*task)
        except BleepError as error:
            return error


@final
class _Kept(logging.Handler):
    """Keeps what is warned of, since what a worker prints is seen by nobody."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def _predictor(job: Job) -> Callable[[str, Path], Outcome]:
    from bleep.workflows.archive import Worker

    kept = _Kept()
    logging.getLogger("bleep").addHandler(kept)
    worker = Worker(job)

    def predict(name: str, path: Path) -> Outcome:
        try:
            outcome = worker.predict(name, path)
        except StoppedError:
            # One worker's end is not that of the archive: it dies, and its slide is given to another.
            from ray.actor import exit_actor

            exit_actor()  # type: ignore[no-untyped-call]
            raise
        said, kept.said = tuple(kept.said), []
        return replace(outcome, said=said)

    return predict


def _embedder(folder: Path, keys: "KeysName") -> "Callable[[Section], Embedded]":
    from bleep.retrieval.reference.identity import embedded_section
    from bleep.runs import Run
    from bleep.workflows.launch import best_device

    run = Run.load(folder)
    run.model.to(best_device())
    return partial(embedded_section, run, keys)


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
    # Its workers are the work itself; Ray would have them yield to whatever else the machine does.
    os.environ.setdefault("RAY_worker_niceness", "0")
    given: dict[str, Any] = {"address": address} if address else {"include_dashboard": False}
    try:
        ray.init(**given, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise DataError(f"--address {address}: no Ray answers there ({said}); start it with `ray start --head`") from None
    return ray
