"""Damage each file of a finished run at places of chance: every command must say so in one sentence, or work.

python benchmarks/reliability/fuzz.py [--places 2000] [--seed 0] [--only NAME ...]

A place is some bytes that are changed, cut off or put in, or, in JSON and in the headers of safetensors, one value that is
replaced by another kind or taken out. Hashes that the files keep of themselves are made anew every other time, as whoever
gives a file away could. A child that crashes, takes more memory than `MEMORY` or longer than `SECONDS` is a fault.
"""

import argparse
import gc
import hashlib
import json
import random
import resource
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import workshop

MEMORY, SECONDS = 3 << 30, 120
"""Bytes and seconds that a command may take beyond what the libraries do."""
QUERY = "query --run run --images st2k/toy3 --out new.csv --overwrite"
COMMANDS = {
    "run/config.yaml": QUERY,
    "run/run.json": QUERY,
    "run/panel.json": QUERY,
    "run/model.safetensors": QUERY,
    "run/log.jsonl": "train --config recipe.yaml --out run --resume",
    "run/state/last.safetensors": "train --config recipe.yaml --out run --resume",
    "run/reference/manifest.json": QUERY,
    "run/reference/index.faiss": QUERY,
    "run/reference/vectors.npy": "index remove --run run --section toy1",
    "run/reference/queries.npy": "index verify --run run",
    "run/reference/expression.npy": QUERY,
    "run/reference/spots.parquet": QUERY,
    "run/calibration/calibration.json": QUERY,
    "run/calibration/calibration.safetensors": QUERY,
    "run/calibration/rehearsal/000.safetensors": "calibrate --run run",
    "ivf/reference/index.faiss": "query --run ivf --images st2k/toy3 --out new.csv --overwrite",
    "hnsw/reference/index.faiss": "query --run hnsw --images st2k/toy3 --out new.csv --overwrite",
    "sq/reference/index.faiss": "query --run sq --images st2k/toy3 --out new.csv --overwrite",
    "p.h5ad": "export p.h5ad --geojson new.geojson",
    "p.zarr": "export p.zarr --geojson new.geojson",
}
"""What is damaged, and the command that reads it."""
ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    1e308,
    10**30,
    "",
    "x",
    "../x",
    "nan",
    [],
    {},
    [None],
    {"x": 1},
    [[1]],
    [1, "x"],
)
"""What a value is replaced by."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--places", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=list(COMMANDS))
    asked = parser.parse_args()
    workshop.load()
    rng, faults = random.Random(asked.seed), 0
    with tempfile.TemporaryDirectory() as root:
        base, work = Path(root) / "base", Path(root) / "work"
        base.mkdir()
        workshop.make(base)
        shutil.rmtree(base / "folder")
        approximate(base)
        # Children share the parent's memory for as long as nothing writes to it, and the collector writes to all.
        gc.freeze()
        shares = [asked.places // len(asked.only) + (at < asked.places % len(asked.only)) for at in range(len(asked.only))]
        for name, share in zip(asked.only, shares, strict=True):
            found = Counter[str]()
            for number in range(share):
                shutil.rmtree(work, ignore_errors=True)
                shutil.copytree(base, work, ignore=_others(name, base))
                # What a training goes on from is read only while it has not finished.
                if "--resume" in COMMANDS[name]:
                    (work / "run/model.safetensors").unlink()
                how = damage(work / name, rng, sign=bool(number % 2))
                ended = attempt(COMMANDS[name], work)
                fault = ended.fault or ("takes memory" if "MemoryError" in ended.told else "")
                found["faults" if fault else "worked" if ended.code == 0 else "said why not"] += 1
                if fault:
                    faults += 1
                    print(f"FAULT {name}, {how}: {fault}", flush=True)
            print(f"{name}: {', '.join(f'{count} {what}' for what, count in sorted(found.items()))}", flush=True)
    print(f"{asked.places} places, {faults} faults")
    raise SystemExit(faults > 0)


def _others(name: str, base: Path) -> Callable[[str, list[str]], set[str]]:
    """Return what tells `copytree` to leave out the runs and predictions that a command does not read."""
    read = {Path(name).parts[0], *COMMANDS[name].split()}
    others = {entry.name for entry in base.iterdir() if entry.name[:2] == "p." or (entry / "run.json").exists()} - read
    return lambda folder, _: others if Path(folder) == base else set()


def approximate(base: Path) -> None:
    """Make runs whose indexes are of the approximate kinds, whose inner lists FAISS trusts."""
    for kind in ("ivf", "hnsw", "sq"):
        shutil.copytree(base / "run", base / kind)
        shutil.rmtree(base / kind / "reference")
        ended = workshop.run(["index", "build", "--run", kind, "--index.kind", kind], base)
        if ended.code:
            raise SystemExit(ended.told)


def attempt(words: str, folder: Path) -> workshop.Ended:
    """Run a command that may take so much memory and time."""
    told = folder / ".told"

    def work() -> int:
        from bleep.cli.app import main as command

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
        signal.alarm(SECONDS)
        return command(words.split())

    return workshop.ended(workshop.fork(work, folder, told), told)


def damage(path: Path, rng: random.Random, *, sign: bool) -> str:
    """Damage a file, or one file of a store, at one place; return how, in words that are enough to do it again."""
    if path.is_dir():
        path = rng.choice(sorted(inside for inside in path.rglob("*") if inside.is_file()))
    ways: list[Callable[[Path, random.Random], str]] = [_bytes]
    if path.suffix == ".json":
        ways.append(_value)
    elif path.suffix == ".safetensors":
        ways.append(_header)
    how = f"{path.name}: {rng.choice(ways)(path, rng)}"
    if sign and path.parent.name == "reference":
        _sign(path.parent)
    if sign and path.parent.name == "calibration":
        _sign_numbers(path.parent)
    return how


def _bytes(path: Path, rng: random.Random) -> str:
    held = bytearray(path.read_bytes())
    # Headers and footers say most of what the rest is.
    at = rng.choice(
        (rng.randrange(len(held)), rng.randrange(min(len(held), 512)), len(held) - 1 - rng.randrange(min(len(held), 512)))
    )
    count = rng.choice((1, 1, 2, 4, 8))
    way = rng.choice(("change", "change", "zero", "ones", "cut", "put in"))
    if way == "cut":
        del held[at:]
    elif way == "put in":
        held[at:at] = rng.randbytes(count)
    else:
        held[at : at + count] = {"zero": bytes(count), "ones": b"\xff" * count}.get(way) or rng.randbytes(count)
    path.write_bytes(held)
    return f"{way} {count} bytes at {at}"


def _value(path: Path, rng: random.Random) -> str:
    tree = json.loads(path.read_text(encoding="utf-8"))
    how = _changed(tree, rng)
    path.write_text(json.dumps(tree), encoding="utf-8")
    return how


def _header(path: Path, rng: random.Random) -> str:
    held = path.read_bytes()
    length = int.from_bytes(held[:8], "little")
    tree = json.loads(held[8 : 8 + length])
    how = _changed(tree, rng)
    text = json.dumps(tree).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + held[8 + length :])
    return how


def _changed(tree: Any, rng: random.Random) -> str:
    """Replace or take out one value of a tree, at any depth."""
    places: list[tuple[Any, Any, str]] = []
    todo: list[tuple[Any, str]] = [(tree, "")]
    while todo:
        here, name = todo.pop()
        for key, value in here.items() if isinstance(here, dict) else enumerate(here[:20]):
            places.append((here, key, f"{name}/{key}"))
            if isinstance(value, dict | list):
                todo.append((value, f"{name}/{key}"))
    depth = rng.choice(sorted({name.count("/") for *_, name in places}))
    here, key, name = rng.choice([place for place in places if place[2].count("/") == depth])
    if rng.random() < 0.2:
        del here[key]
        return f"{name} taken out"
    here[key] = rng.choice(ODD)
    return f"{name} = {here[key]!r}"


def _sign(folder: Path) -> None:
    """Make sizes and hashes in a manifest those of the files, and its own hash that of the rest, as far as it can be read."""
    from bleep.retrieval.reference import storage

    try:
        tree = json.loads((folder / storage.MANIFEST).read_text(encoding="utf-8"))
        tree.pop("digest", None)
        for name, facts in tree["files"].items():
            held = (folder / name).read_bytes()
            facts.update(bytes=len(held), sha256=hashlib.sha256(held).hexdigest())
        (folder / storage.MANIFEST).write_text(json.dumps(tree | {"digest": storage._digest(tree)}), encoding="utf-8")
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return


def _sign_numbers(folder: Path) -> None:
    """Make the hash in a calibration's facts that of its numbers, as far as they can be read."""
    try:
        tree = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
        tree["tensors"] = hashlib.sha256((folder / "calibration.safetensors").read_bytes()).hexdigest()
        (folder / "calibration.json").write_text(json.dumps(tree), encoding="utf-8")
    except (ValueError, TypeError):
        return


if __name__ == "__main__":
    main()
