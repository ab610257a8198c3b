"""Kill writers of a reference: before and after each step of a change, and at moments of chance.

After each death the folder must hold what was there or what was to be, pass `verify`, take the next change, and keep no file
that its manifest does not name. Prints how often which was found.
"""

import json
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bleep.progress import Progress
from bleep.retrieval.reference import Reference, change, storage, verify

CHANCES = 10


def main() -> None:
    kept, work = map(Path, sys.argv[1:])
    ids = {"old": list(Reference.load(kept).spots.index)}
    changed = Reference.load(kept).remove(section="toy1")
    ids["new"] = list(changed.spots.index)
    counts, step = {"old": 0, "new": 0, "by chance": 0}, 0
    while True:
        folder = work / f"step{step}"
        shutil.copytree(kept, folder)
        alive = not killed(lambda at=step, to=folder: stepwise(changed, to, at))  # type: ignore[misc]
        counts[found(folder, ids)] += 1
        if alive:
            break
        step += 1
    counts["steps"] = step
    rng, folder = random.Random(0), work / "chance"
    shutil.copytree(kept, folder)
    for _ in range(CHANCES):
        child = fork(lambda: forever(changed, Reference.load(kept), folder))
        time.sleep(rng.uniform(0.0, 0.15))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found(folder, ids)
        counts["by chance"] += 1
    print(json.dumps(counts))


def stepwise(changed: Reference, folder: Path, last: int) -> None:
    """Save, and die at this point: before and after each part, the manifest and each removal."""
    seen = iter(range(10**6))

    def point() -> None:
        if next(seen) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(way: Callable[..., object]) -> Callable[..., object]:
        def both(*given: object) -> object:
            point()
            done = way(*given)
            point()
            return done

        return both

    write = storage.write
    storage.write = lambda place, manifest, writers: write(place, manifest, tuple(map(watched, writers)))  # type: ignore
    storage.write_json = watched(storage.write_json)  # type: ignore[assignment]
    storage._remove = watched(storage._remove)  # type: ignore[assignment]
    changed.save(folder)


def forever(one: Reference, other: Reference, folder: Path) -> None:
    while True:
        one.save(folder)
        other.save(folder)


def found(folder: Path, ids: dict[str, list[str]]) -> str:
    """Return which of the two is there, after the checks."""
    reference, _ = verify(folder)
    which = [name for name, expected in ids.items() if list(reference.spots.index) == expected]
    assert len(which) == 1
    change(folder, lambda before: before)
    named = set(json.loads((folder / storage.MANIFEST).read_text())["files"])
    assert {path.name for path in folder.iterdir()} == named | {storage.MANIFEST, storage.LOCK}
    return which[0]


def fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        # The bars' own lock is shared with the parent, which would wait for ever for one that died with its holder.
        Progress.set_lock(threading.RLock())
        try:
            work()
        finally:
            os._exit(0)
    return child


def killed(work: Callable[[], None]) -> bool:
    """Return whether a process that does this work is killed by it."""
    _, status = os.waitpid(fork(work), 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


if __name__ == "__main__":
    main()
