"""Commands on a disk that fills, and with 64 open files: each does its work or says why not, and can be repeated.

python benchmarks/reliability/full.py [--steps 12] [--only NAME ...]

A small file system in memory is laid over the working folder (Linux; it needs root's right to mount, or a user namespace:
`unshare -rm python ...`) with room for what is there and some more, from a page to more than the command writes. A command
must end in one sentence, what was there must open, and the same command with room must leave what it leaves on a large disk.
"""

import argparse
import contextlib
import os
import resource
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import kills
import workshop

COMMANDS = {
    **kills.KILLED,
    "evaluate": "evaluate --run run --out scores --report page.html --figures figures",
    "export": "export p0.h5ad --geojson new.geojson",
    "export to SpatialData": "export p0.h5ad --spatialdata new.zarr",
    "pack": "pack --run run --out new.bleep",
    "ensemble": "ensemble run other --out both",
}
FILES = 64
PAGE = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--only", nargs="+", choices=list(COMMANDS), default=list(COMMANDS))
    asked = parser.parse_args()
    workshop.load()
    faults = 0
    with tempfile.TemporaryDirectory() as root:
        base, disk, large = (Path(root) / name for name in ("base", "disk", "large"))
        for folder in (base, disk):
            folder.mkdir()
        kills.make(base)
        shutil.copy(base / "p.h5ad", base / "p0.h5ad")
        for path in base.glob("p.*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name in asked.only:
            words = COMMANDS[name]
            kills.fresh(base, large)
            before, size = kills.snapshot(large), pages(large)
            ended = workshop.run(words.split(), large)
            assert not ended.code, ended.told
            after, grown = kills.snapshot(large), pages(large) - size
            found = Counter[str]()
            for step in range(asked.steps):
                room = 1 + (2 * max(grown, 0) + 32) * step // asked.steps
                with filled(base, disk, room) as work:
                    how, fault = attempt(words, work, (before, after))
                found[how] += 1
                faults += bool(fault)
                if fault:
                    print(f"FAULT {name}, {room} pages of room: {fault}", flush=True)
            kills.fresh(base, large)
            ended = few_files(words, large)
            found["64 files: " + ("worked" if ended.code == 0 else "said why not")] += 1
            wrong = ended.fault or (kills.difference(kills.snapshot(large), after) if ended.code == 0 else "")
            faults += bool(wrong)
            if wrong:
                print(f"FAULT {name}, {FILES} files: {wrong}", flush=True)
            print(f"{name}: {', '.join(f'{number} {how}' for how, number in sorted(found.items()))}", flush=True)
    print(f"{faults} faults")
    raise SystemExit(faults > 0)


def attempt(words: str, work: Path, states: tuple[kills.Snapshot, kills.Snapshot]) -> tuple[str, str]:
    """Run a command where room may end; then give it room, and repeat it; return how it went, and what is wrong."""
    before, after = states
    ended = workshop.run(words.split(), work)
    if ended.fault:
        return "fault", ended.fault
    try:
        here = kills.snapshot(work)
    except Exception as error:
        return "broken", f"{type(error).__name__}: {str(error)[:300]}"
    if ended.code == 0:
        return "worked", kills.difference(here, after)
    if "Errno" in ended.told:
        return "fault", ended.told
    how = "said why not, all as before" if here == before else "said why not, to be gone on with"
    subprocess.run(["mount", "-o", "remount,size=1g", str(work)], check=True)
    again = workshop.run(words.split(), work)
    if again.code == 2 and "--resume" in again.told:
        again = workshop.run([*words.split(), "--resume"], work)
    if again.code:
        return how, f"again: {again.told[-500:]}"
    return how, kills.difference(kills.snapshot(work), after)


def few_files(words: str, work: Path) -> workshop.Ended:
    """Run a command that may hold so many files open."""
    told = work / ".told"

    def begin() -> int:
        from bleep.cli.app import main as command

        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
        return command(words.split())

    ended = workshop.ended(workshop.fork(begin, work, told), told)
    told.unlink(missing_ok=True)
    return ended


def pages(folder: Path) -> int:
    """Return the pages that a file system in memory needs for what lies in a folder."""
    return sum(-(-path.lstat().st_size // PAGE) for path in folder.rglob("*") if path.is_file())


@contextlib.contextmanager
def filled(base: Path, disk: Path, room: int) -> Iterator[Path]:
    """Lay a file system over a folder, with a copy of another in it and so many pages of room."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(disk)], check=True)
    try:
        shutil.copytree(base, disk, dirs_exist_ok=True)
        about = os.statvfs(disk)
        size = (about.f_blocks - about.f_bfree) * about.f_frsize + room * PAGE
        subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


if __name__ == "__main__":
    main()
