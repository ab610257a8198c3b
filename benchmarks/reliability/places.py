"""Commands on places that cannot be read or written: each ends in one sentence, and nothing is half-written.

python benchmarks/reliability/places.py

Rights are those of the user, root's given up first (Linux).
"""

import argparse
import ctypes
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import workshop

LONG = "n" * 300
READERS = (
    "data check --config recipe.yaml",
    "data describe --config recipe.yaml --out new",
    "data tile --config recipe.yaml",
    "data features --config recipe.yaml --to new",
    "init st2k --out new.yaml",
    "train --config recipe.yaml --out new",
    "index build --run run",
    "index info --run run",
    "index verify --run run",
    "index add --run run --images st2k --sections toy3 --allow-held-out",
    "index remove --run run --section toy1",
    "index merge run --run run",
    "calibrate --run run",
    "ensemble run run --out new",
    "query --run run --images st2k/toy3 --out new.h5ad",
    "query --run run --images folder/test.csv --mpp 1 --out new.csv",
    "query --run run --slides st2k/toy3/toy3.jpg --mpp 1 --out new.zarr",
    "evaluate --run run --out new",
    "export p.h5ad --geojson new.geojson",
    "export p.zarr --spatialdata new.zarr",
    "pack --run run --out new.bleep",
    "config show --config recipe.yaml",
)
"""Each reads or writes; the places in them are made unreadable one by one."""
TARGETS = ("new.geojson", "new.bleep", "new.yaml", "new.h5ad", "new.zarr", "new.csv", "new")


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    workshop.load()
    with tempfile.TemporaryDirectory() as root:
        base = Path(root) / "base"
        base.mkdir()
        workshop.make(base)
        counts: dict[str, list[int]] = {}
        for name, cases in CASES.items():
            for words, folder, spoil in cases(base, Path(root)):
                ended = attempt(words, folder, spoil)
                found = counts.setdefault(name, [0, 0, 0])
                found[0] += 1
                found[1] += ended.code == 0
                if ended.fault:
                    found[2] += 1
                    print(f"{name}: bleep {words[:90]}: {ended.fault}", flush=True)
                shutil.rmtree(folder)
    for name, (tried, done, faults) in counts.items():
        print(
            f"{name}: {tried} tried, {done} did their work all the same, {tried - done - faults} said why not, {faults} faults"
        )


def attempt(words: str, folder: Path, spoil: Callable[[Path], None]) -> workshop.Ended:
    """Run a command by somebody whose rights count."""
    spoil(folder)
    told = folder.parent / "told"
    told.unlink(missing_ok=True)

    def work() -> int:
        from bleep.cli.app import main as command

        give_up_rights()
        return command(words.split())

    return workshop.ended(workshop.fork(work, folder, told), told)


def give_up_rights() -> None:
    """Give up what root may beyond others: all capabilities of this process (see man 2 capset)."""
    version, both = 0x20080522, 6
    header, none = (ctypes.c_uint32 * 2)(version, 0), (ctypes.c_uint32 * both)()
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "the rights of root cannot be given up")


Case = tuple[str, Path, Callable[[Path], None]]


def _fresh(base: Path, root: Path) -> Path:
    folder = root / "work"
    shutil.copytree(base, folder, symlinks=True)
    return folder


def unreadable(base: Path, root: Path) -> Iterator[Case]:
    """Take the right to read from each file and folder that a command names, and from what lies in a run."""
    inner = [
        "st2k/toy2",
        "st2k/toy1/toy1.jpg",
        "st2k/toy1/toy1.tsv.gz",
        "run/model.safetensors",
        "run/panel.json",
        "run/run.json",
        "run/config.yaml",
        "run/reference",
        "run/reference/manifest.json",
        "run/reference/index.faiss",
        "run/reference/expression.npy",
        "run/calibration",
        "run/calibration/calibration.json",
        "cache",
        "cache/features",
        "folder/test",
    ]
    for words in READERS:
        named = [word for word in words.split() if (base / word).exists()]
        for place in dict.fromkeys([*named, *inner]):
            if any(place == word or place.startswith(f"{word}/") or word == "recipe.yaml" for word in named):
                yield words, _fresh(base, root), lambda folder, place=place: (folder / place).chmod(0)  # type: ignore[misc]


def unwritable(base: Path, root: Path) -> Iterator[Case]:
    """Take the right to write from the working folder, the run, its index, its calibration and the cache."""
    for words in READERS:
        for place in (".", "run", "run/reference", "run/calibration", "cache", "cache/features"):
            yield words, _fresh(base, root), lambda folder, place=place: (folder / place).chmod(0o555)  # type: ignore[misc]


def too_long(base: Path, root: Path) -> Iterator[Case]:
    """Give outputs, and then inputs, names that no disk takes, or that leave no room for a temporary one."""
    for words in READERS:
        target = next((each for each in TARGETS if each in words.split()), None)
        for long in (LONG, "n" * 245, "/".join(["n" * 200] * 25)):
            if target is not None:
                yield words.replace(target, long + target.removeprefix("new")), _fresh(base, root), lambda folder: None
        for word in dict.fromkeys(word for word in words.split() if (base / word).exists()):
            changed = [LONG + Path(each).suffix if each == word else each for each in words.split()]
            yield " ".join(changed), _fresh(base, root), lambda folder: None


def in_the_way(base: Path, root: Path) -> Iterator[Case]:
    """Put outputs below a file, at a link that leads back to itself, or at one that leads nowhere."""
    for words in READERS:
        target = next((each for each in TARGETS if each in words.split()), None)
        if target is not None:
            yield words.replace(target, f"recipe.yaml/{target}"), _fresh(base, root), lambda folder: None
            yield words, _fresh(base, root), lambda folder, at=target: (folder / at).symlink_to(folder / at)  # type: ignore[misc]
            yield words, _fresh(base, root), lambda folder, at=target: (folder / at).symlink_to("gone/away")  # type: ignore[misc]


CASES: dict[str, Callable[[Path, Path], Iterator[Case]]] = {
    "no right to read": unreadable,
    "no right to write": unwritable,
    "names too long": too_long,
    "something in the way": in_the_way,
}


if __name__ == "__main__":
    main()
