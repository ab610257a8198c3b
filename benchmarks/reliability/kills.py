"""Kill whole commands (-9) at moments of chance, and let pairs of commands begin at once on one run, cache, index or output.

python benchmarks/reliability/kills.py [--kills 110] [--pairs 20] [--seed 0]

After a kill everything that is there must open, the same command, begun again, must end well, and what it leaves must be what
an uninterrupted one leaves: the same names, the same contents. After a pair, what is there must be what the two leave one
after the other, in either order, or what one of them leaves where the other was refused in a sentence.
"""

import argparse
import hashlib
import json
import random
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import workshop

from bleep.retrieval.reference import storage

KILLED = {
    "train": "train --config recipe.yaml --out new",
    "train --overwrite": "train --config recipe.yaml --out run --overwrite --seed 1",
    "index build": "index build --run run",
    "index add": "index add --run run --images st2k --sections toy3 --allow-held-out",
    "index remove": "index remove --run run --section toy1",
    "index merge": "index merge other --run run",
    "calibrate": "calibrate --run run --folds 2",
    "query .h5ad": "query --run run --images st2k/toy4 --out p.h5ad",
    "query .zarr": "query --run run --images st2k/toy4 --out p.zarr",
    "query .csv": "query --run run --images st2k/toy4 --out p.csv",
    "query .parquet": "query --run run --images st2k/toy4 --out p.parquet",
    "data tile": "data tile --config recipe.yaml",
}
QUERY = "query --run run --images st2k/{} --out {}"
PAIRS = {
    "two queries on one output": (QUERY.format("toy4", "p.h5ad"), QUERY.format("toy3", "p.h5ad")),
    "two queries, store": (QUERY.format("toy4", "p.zarr"), QUERY.format("toy3", "p.zarr")),
    "two trainings in one folder": (
        "train --config recipe.yaml --out new --seed 1", "train --config recipe.yaml --out new --seed 2"
    ),
    "two trainings on one cache": (
        "train --config recipe.yaml --out one --cache shared", "train --config recipe.yaml --out two --cache shared"
    ),
    "add and remove": (KILLED["index add"], KILLED["index remove"]),
    "build and merge": (KILLED["index build"], KILLED["index merge"]),
    "two calibrations": ("calibrate --run run --folds 2", "calibrate --run run"),
    "two tilings": (KILLED["data tile"], KILLED["data tile"]),
    "training and query": (KILLED["train --overwrite"], QUERY.format("toy4", "p.h5ad")),
    "training and calibration": (KILLED["train --overwrite"], "calibrate --run run --folds 2"),
}  # fmt: skip
FREE = (
    r".*/log\.jsonl",
    r".*/manifest\.json",
    r".*/calibration\.json",
    r"recipe\.yaml",
    r"\.told.*",
)
"""Names whose contents hold times, or what is compared by other means."""
COUNTED = re.compile(r"-\d+(?=\.)")
"""Number of the generation in a name."""

Snapshot = dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10 * len(KILLED))
    parser.add_argument("--pairs", type=int, default=2 * len(PAIRS))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    workshop.load()
    rng = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as root:
        base = Path(root) / "base"
        base.mkdir()
        make(base)
        faults = kills(base, Path(root) / "work", asked.kills, rng) + pairs(base, Path(root) / "work", asked.pairs, rng)
    print(f"{faults} faults")
    raise SystemExit(faults > 0)


def make(base: Path) -> None:
    """Make the run, and another index of it that holds one section more."""
    workshop.make(base)
    shutil.copytree(base / "run", base / "other")
    for words in (
        "index add --run other --images st2k --sections toy4 --allow-held-out",
        "index remove --run other --section toy1",
        "index remove --run other --section toy2",
    ):
        ended = workshop.run(words.split(), base)
        if ended.code:
            raise SystemExit(ended.told)


def kills(base: Path, work: Path, count: int, rng: random.Random) -> int:
    """Kill each command as often as another, and print what was found."""
    faults = 0
    for name, words in list(KILLED.items())[:count]:
        fresh(base, work)
        before, begun = snapshot(work), time.monotonic()
        ended = workshop.run(words.split(), work)
        took = time.monotonic() - begun
        after, found = snapshot(work), Counter[str]()
        assert not ended.code, ended.told
        for _ in range(count // len(KILLED)):
            fresh(base, work)
            how, fault = killed(words, work, rng.uniform(0.0, 1.05 * took), (before, after))
            found[how] += 1
            if fault:
                faults += 1
                print(f"FAULT {name}, {how}: {fault}", flush=True)
        print(f"{name} ({took:.1f} s): {', '.join(f'{number} {how}' for how, number in sorted(found.items()))}", flush=True)
    return faults


def killed(words: str, work: Path, seconds: float, states: tuple[Snapshot, Snapshot]) -> tuple[str, str]:
    """Kill a command after some seconds; return where that left things, and what is wrong, if anything is."""
    before, after = states
    told = work / ".told"
    ended = workshop.kill(workshop.start(words.split(), work, told), told, seconds)
    told.unlink(missing_ok=True)
    try:
        here = snapshot(work)
    except Exception as error:
        return "broken", f"{type(error).__name__}: {str(error)[:300]}"
    how = (
        "had ended" if ended.code >= 0 else "as before" if here == before else "as it was to be" if here == after else "between"
    )
    if here == after:
        return how + (", old files beside it" if ended.code < 0 and unnamed(work) else ""), ""
    again = workshop.run(words.split(), work)
    if again.code == 2 and "--resume" in again.told:
        again = workshop.run([*words.split(), "--resume"], work)
    if again.fault or again.code:
        return how, again.fault or again.told
    litter = ", ".join(sorted(path.name for path in unnamed(work)))
    return how, difference(snapshot(work), after) or (f"litter: {litter}" if litter else "")


def pairs(base: Path, work: Path, count: int, rng: random.Random) -> int:
    """Begin two commands at once, a little apart, and compare with one after the other."""
    faults = 0
    for name, both in list(PAIRS.items())[:count]:
        allowed, found = outcomes(base, work, both), Counter[str]()
        for _ in range(max(1, count // len(PAIRS))):
            fresh(base, work)
            told = [work / f".told{number}" for number in (0, 1)]
            children = []
            for words, file in zip(both, told, strict=True):
                children.append(workshop.start(words.split(), work, file))
                time.sleep(rng.choice((0.0, 0.0, 0.05, 0.3)))
            ends = [workshop.ended(child, file) for child, file in zip(children, told, strict=True)]
            for file in told:
                file.unlink(missing_ok=True)
            wrong = [end.fault for end in ends if end.fault]
            if not wrong:
                here = snapshot(work)
                near = min((difference(here, one) for one in allowed), key=len)
                wrong = [near] if near else []
            found[" and ".join(sorted("did its work" if end.code == 0 else "was refused" for end in ends))] += 1
            if wrong:
                faults += 1
                print(f"FAULT {name}: {wrong}", flush=True)
        print(f"{name}: {', '.join(f'{number} x {how}' for how, number in sorted(found.items()))}", flush=True)
    return faults


def outcomes(base: Path, work: Path, both: tuple[str, str]) -> list[Snapshot]:
    """Return what each command leaves alone, and both one after the other."""
    found = []
    for order in ((0,), (1,), (0, 1), (1, 0)):
        fresh(base, work)
        for number in order:
            workshop.run(both[number].split(), work)
        found.append(snapshot(work))
    return found


def fresh(base: Path, work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(base, work)


def difference(here: Snapshot, there: Snapshot) -> str:
    """Return in what two folders differ, in words; nothing where they do not."""
    more, less = sorted(set(here) - set(there)), sorted(set(there) - set(here))
    other = sorted(name for name in set(here) & set(there) if here[name] != there[name])
    parts = {"more": more, "missing": less, "another content of": other}
    return "; ".join(f"{what} {', '.join(names[:6])}" for what, names in parts.items() if names)


def unnamed(folder: Path) -> set[Path]:
    """Return the files beside the manifest of an index that it does not name: what a killed writer left for the next one."""
    found: set[Path] = set()
    for manifest in folder.glob("*/reference/manifest.json"):
        named = {manifest.name, storage.LOCK, *json.loads(manifest.read_text(encoding="utf-8"))["files"]}
        found.update(path for path in manifest.parent.iterdir() if path.name not in named)
    return found


def snapshot(folder: Path) -> Snapshot:
    """Open everything in a folder, and return the names, without generations, and a digest of what each holds.

    Files that the manifest of an index does not name are not of it, and left out.
    """
    found = dict(_opened(folder))
    for path in sorted(set(folder.rglob("*")) - unnamed(folder)):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and ".zarr/" not in name and not name.endswith(".h5ad"):
            free = any(re.fullmatch(pattern, name) for pattern in FREE)
            held = _tensors(path) if path.suffix == ".safetensors" else path.read_bytes()
            found[COUNTED.sub("", name)] = "" if free else hashlib.sha256(held).hexdigest()
    return found


def _tensors(path: Path) -> bytes:
    """Return what a file of tensors holds; the order of the facts in its header is left to chance by the library."""
    held = path.read_bytes()
    size = 8 + int.from_bytes(held[:8], "little")
    return json.dumps(json.loads(held[8:size]), sort_keys=True).encode() + held[size:]


def _opened(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield what is compared by what it means and not by its bytes; what does not open raises."""
    import anndata
    import pandas as pd

    from bleep.predictors.calibration import Calibration
    from bleep.retrieval.reference import verify
    from bleep.runs import Run

    for model in sorted(folder.glob("*/model.safetensors")):
        Run.load(model.parent)
    for manifest in sorted(folder.glob("*/reference/manifest.json")):
        verify(manifest.parent)
    for facts in sorted(folder.glob("*/calibration/calibration.json")):
        yield f"{facts.parent.relative_to(folder)}:", Calibration.load(facts.parent).digest()
    for path in (folder / "p.h5ad", folder / "p.zarr"):
        if path.exists():
            data = anndata.read_h5ad(path) if path.suffix == ".h5ad" else anndata.read_zarr(path)
            text = data.obs.to_csv() + data.to_df().to_csv() + repr(sorted(data.layers))
            yield path.name, hashlib.sha256(text.encode()).hexdigest()
    for path in sorted(folder.glob("p*.csv")):
        pd.read_csv(path)
    for path in sorted(folder.glob("p*.parquet")):
        pd.read_parquet(path)


if __name__ == "__main__":
    main()
