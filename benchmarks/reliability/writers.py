"""Kill writers at moments of chance, and let pairs write one name at once: all must be whole, and nothing else be left.

python benchmarks/reliability/writers.py [--kills 100] [--pairs 20]
"""

import argparse
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bleep.errors import DataError
from bleep.files import alone, sweep, whole

FILES, BYTES = 8, 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=20)
    asked = parser.parse_args()
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as root:
        left = sum(killed(Path(root) / str(number), rng) for number in range(asked.kills))
        refused = sum(pair(Path(root) / f"pair{number}") for number in range(asked.pairs))
    print(f"{asked.kills} kills: all whole; {left} left something behind, which the next writer removed")
    print(f"{asked.pairs} pairs on one name: all whole; {refused} times the second was refused by the lock")


def write(place: Path, word: int) -> None:
    with whole(place) as temporary:
        temporary.mkdir()
        for number in range(FILES):
            (temporary / str(number)).write_bytes(bytes([word % 256]) * BYTES)


def check(folder: Path) -> None:
    found = {path.name: path.read_bytes() for path in (folder / "thing").iterdir()}
    assert len(found) == FILES, sorted(found)
    assert len({part[:1] for part in found.values()}) == 1
    assert all(len(set(part)) == 1 and len(part) == BYTES for part in found.values())


def killed(folder: Path, rng: random.Random) -> bool:
    """Return whether a writer that was killed left something, once the checks have passed."""
    write(folder / "thing", 0)

    def forever() -> None:
        word = 0
        while True:
            word += 1
            write(folder / "thing", word)

    child = fork(forever)
    time.sleep(rng.uniform(0.005, 0.1))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    left = len(list(folder.iterdir())) > 1
    sweep(folder)
    check(folder)
    assert [path.name for path in folder.iterdir()] == ["thing"], list(folder.iterdir())
    return left


def pair(folder: Path) -> int:
    """Let two processes write one name under one lock and without; return how many of the two the lock refused."""
    folder.mkdir()

    def locked(word: int) -> None:
        try:
            with alone(folder / ".lock", "busy"):
                write(folder / "thing", word)
                time.sleep(0.1)
        except DataError:
            os._exit(3)

    children = [fork(lambda word=word: locked(word)) for word in (1, 2)]  # type: ignore[misc]
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert set(ends) <= {0, 3}, ends
    check(folder)
    children = [fork(lambda word=word: [write(folder / "thing", word) for _ in range(20)]) for word in (1, 2)]  # type: ignore
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    check(folder)
    assert [path.name for path in folder.iterdir()] == ["thing"]
    return ends.count(3)


def fork(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return child


if __name__ == "__main__":
    main()
