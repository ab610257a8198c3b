"""From command to file: `bleep query` of a section whose features are cached, beside anndata with the same bytes.

    python benchmarks/speed/start.py [--times 5]

Two made-up sections in one h5ad file each, small and large. A run is trained on the small one, indexed, and asked once, so that
features are cached. Then these take turns, each a process of its own: the query, anndata alone reading the section and reading
and writing the prediction, and the bare imports that a query cannot do without. Ratios are of medians.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from bleep.files import write_json, write_text

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
ASKED = 2.0
SIZES = {"small": (250, 1024), "large": (5000, 3584)}
"""Spots, and pixels of the picture's side."""
GENES, PANEL = 2000, 500
IMPORTS = "import torch, anndata, faiss"
PLAIN = """
import anndata, sys
section, prediction, out = sys.argv[1:]
anndata.read_h5ad(section)
anndata.read_h5ad(prediction).write_h5ad(out)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=5)
    times = parser.parse_args().times
    record = {}
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        for name, (spots, side) in SIZES.items():
            draw(spots, side).write_h5ad(work / f"{name}.h5ad")
        settings = {
            "data.source": "h5ad", "data.root": "small.h5ad", "data.mpp": "0.5", "data.split": "none", "panel.size": str(PANEL),
            "panel.choice": "variance", "tiles.pixels": "32", "tiles.microns": "64", "image.trunk": "test_resnet",
            "image.weights": "random", "image.precision": "float32", "optim.epochs": "1", "out": "run", "cache": "cache",
        }  # fmt: skip
        bleep(work, "train", *(word for key, value in settings.items() for word in (f"--{key}", value)))
        bleep(work, "index", "build", "--run", "run")
        for name in SIZES:
            query = f"query --run run --images {name}.h5ad --mpp 0.5 --out {name}-p.h5ad --overwrite".split()
            bleep(work, *query)
            took: dict[str, list[float]] = {"query": [], "anndata": [], "imports": []}
            for _ in range(times):
                took["query"].append(bleep(work, *query))
                took["anndata"].append(timed(work, ["-c", PLAIN, f"{name}.h5ad", f"{name}-p.h5ad", "copy.h5ad"]))
                took["imports"].append(timed(work, ["-c", IMPORTS]))
            megabytes = sum((work / file).stat().st_size for file in (f"{name}.h5ad", f"{name}-p.h5ad")) / 1e6
            record[name] = {"spots": SIZES[name][0], "megabytes": megabytes, **took}
    report(record)


def draw(spots: int, side: int) -> anndata.AnnData:
    """Return a section with its picture inside, as scanpy keeps it."""
    rng = np.random.default_rng(0)
    picture = np.kron(rng.integers(60, 220, (side // 16, side // 16, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8))
    counts = sparse.random(spots, GENES, 0.15, "csr", np.float32, rng, data_rvs=lambda size: rng.integers(1, 9, size))
    across = int(np.ceil(np.sqrt(spots)))
    grid = np.stack(np.unravel_index(np.arange(spots), (across, across)), axis=1) + 0.5
    found = anndata.AnnData(
        counts,
        obs=pd.DataFrame(index=[f"spot{number}" for number in range(spots)]),
        var=pd.DataFrame(index=[f"GENE{number}" for number in range(GENES)]),
    )
    found.obsm["spatial"] = grid * side / across
    found.uns["spatial"] = {
        "section": {"images": {"hires": picture}, "scalefactors": {"tissue_hires_scalef": 1.0, "spot_diameter_fullres": 40.0}}
    }
    return found


def bleep(work: Path, *words: str) -> float:
    return timed(work, ["-m", "bleep", *words])


def timed(work: Path, words: list[str]) -> float:
    """Run Python, and return the seconds until it has ended."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *words], cwd=work, env=dict(os.environ), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)[:200]}: {done.stderr[-2000:]}")
    return time.perf_counter() - began


def report(record: dict[str, dict]) -> None:
    """Print and keep medians and ratios."""
    lines = ["# From command to file", "", "`python benchmarks/speed/start.py`, whole processes, features cached.", ""]
    lines += ["| section | spots | MB | query, s | anndata, s | query / anndata | asked | imports / anndata |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for name, one in record.items():
        query, plain, imports = (statistics.median(one[what]) for what in ("query", "anndata", "imports"))
        cells = [name, f"{one['spots']:,}", f"{one['megabytes']:.0f}", f"{query:.2f}", f"{plain:.2f}", f"{query / plain:.2f}"]
        lines.append(f"| {' | '.join([*cells, f'{ASKED:g}', f'{imports / plain:.2f}'])} |")
    lines += [
        "",
        "anndata alone reads the section, and reads and writes the prediction. Imports are torch, anndata and faiss, without "
        "which a query cannot begin.",
    ]
    write_json(RESULTS / "start.json", record)
    write_text(RESULTS / "start.md", "\n".join([*lines, ""]))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
