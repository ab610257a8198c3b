"""How much memory a query of many tiles takes against a reference of many spots, end to end but for the trunk.

    python benchmarks/speed/query_memory.py [--spots 1000000] [--tiles 200000] [--genes 2000] [--out benchmarks/results]

A reference of made-up spots is written (embeddings in 500 clusters, one gene in ten measured), an untrained run to which it
belongs, and, into the cache of features, made-up features of the tiles. Then `bleep query` is run as a user runs it, in a
process of its own: features from the cache, the head, the search, the average over 50 neighbours, and the files. What is
measured is the largest resident memory of that process, as the system tells it, mapped files included.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from PIL import Image
from scipy import sparse

from bleep.config import Config
from bleep.data.panel import GenePanel
from bleep.data.section import Section
from bleep.data.slides import PictureSlide
from bleep.data.splits import Split
from bleep.features import FeatureReader
from bleep.features.cache import FeatureCache
from bleep.files import write_json, write_text
from bleep.records import Leak
from bleep.retrieval.index import build_index, choose_kind
from bleep.retrieval.reference import Reference, identity
from bleep.retrieval.reference.expression_writer import stored
from bleep.runs import Run

DIM, CLUSTERS, FILLED, SIDE, STEP = 256, 500, 0.1, 1800, 4.0
ABOUT = (
    "`python benchmarks/speed/query_memory.py`: `bleep query --slides` of {tiles:,} tiles against {spots:,} reference spots x "
    "{genes:,} genes, a tenth of them measured, on disk as compressed rows; k = 50, features from the cache. Asked: less than "
    "3 GB resident, at 200,000 tiles against 1,000,000 spots x 2,000 genes."
)
rng = np.random.default_rng(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spots", type=int, default=1_000_000)
    parser.add_argument("--tiles", type=int, default=200_000)
    parser.add_argument("--genes", type=int, default=2_000)
    parser.add_argument("--suffix", default=".h5ad")
    parser.add_argument("--memory", type=float, default=None, help="GB that the index may take (index.memory)")
    parser.add_argument("--work", type=Path, default=None, help="folder for what is made up (default: a temporary one)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    asked = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory(dir=asked.work) as temporary:
        root = Path(temporary)
        run = made_run(root, asked.genes, asked.memory)
        # A process of its own: what a parent held when it began another is counted as that one's memory.
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            kind = alone.submit(made_reference, root / "run", asked.spots).result()
        print(f"reference of {asked.spots:,} spots, {kind}", flush=True)
        for tiles in (asked.tiles // 10, asked.tiles):
            shutil.rmtree(root / "cache", ignore_errors=True)
            made_slide(run, root, tiles)
            rows[tiles] = queried(root, tiles, asked.suffix)
            print(rows, flush=True)
    limit = "" if asked.memory is None else f" (index.memory {asked.memory:g} GB)"
    lines = [
        "# Memory of a query",
        "",
        ABOUT.format(**vars(asked)),
        f"The index was `{kind}`{limit}; {os.cpu_count()} cores, others at work.",
        "",
    ]
    lines += ["| tiles | peak, GB | seconds | tiles/s | output, GB |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {tiles:,} | {row['peak_gb']:.2f} | {row['seconds']:.0f} | {tiles / row['seconds']:.0f} | {row['output_gb']:.2f} |"
        for tiles, row in rows.items()
    ]
    print("\n".join(lines))
    write_text(asked.out / "query_memory.md", "\n".join([*lines, ""]))
    facts = {
        "spots": asked.spots,
        "genes": asked.genes,
        "index": kind,
        "queries": {str(tiles): row for tiles, row in rows.items()},
    }
    write_json(asked.out / "query_memory.json", facts)


def made_run(root: Path, genes: int, memory: float | None) -> Run:
    """Write an untrained run with a panel of so many genes."""
    settings = {
        "data": {"source": "st2k", "mpp": 1.0, "root": str(root)},
        "tiles": {"pixels": 32, "microns": [64.0]},
        "panel": {"choice": "all"},
        "image": {"trunk": "test_resnet", "weights": "random"},
        "head": {"dim": DIM},
        "index": {"memory": memory},
        "cache": str(root / "cache"),
        "out": str(root / "run"),
    }
    config = Config.load(settings)
    Image.fromarray(rng.integers(0, 255, (256, 256, 3), dtype=np.uint8)).save(root / "small.png")
    names = pd.DataFrame(index=pd.Index([f"GENE{number}" for number in range(genes)]))
    spots = pd.DataFrame(index=pd.Index([f"spot{number}" for number in range(60)]))
    counts = AnnData(sparse.csr_matrix(rng.poisson(2.0, (60, genes)).astype(np.float32)), obs=spots, var=names)
    slide = PictureSlide.open(root / "small.png")
    section = Section("small", "nobody", "human", slide, counts, rng.uniform(50, 200, (60, 2)), 1.0)
    split = Split((section,), (), (), "none", Leak("nothing held out", "made up"))
    run = Run.new(config, GenePanel.fit((section,), config.panel), split)
    run.save(root / "run")
    return Run.load(root / "run")


def made_reference(folder: Path, spots: int) -> str:
    """Write a reference of made-up spots into a run's folder, and return the kind of its index."""
    run = Run.load(folder)
    centres = rng.normal(size=(CLUSTERS, DIM)).astype(np.float32)
    vectors = np.empty((spots, DIM), np.float32)
    blocks = []
    for at in range(0, spots, 50_000):
        part = vectors[at : at + 50_000]
        low = rng.normal(size=(len(part), 16)).astype(np.float32) @ rng.normal(size=(16, DIM)).astype(np.float32)
        part[:] = centres[rng.integers(0, CLUSTERS, len(part))] + 0.2 * low
        part /= np.linalg.norm(part, axis=1, keepdims=True)
        genes = len(run.panel.genes)
        filled = int(FILLED * genes)
        columns = np.sort(rng.integers(0, genes // filled, (len(part), filled)) + np.arange(filled) * (genes // filled), axis=1)
        values = rng.exponential(size=columns.size).astype(np.float32)
        blocks.append(sparse.csr_matrix((values, columns.ravel(), np.arange(len(part) + 1) * filled), shape=(len(part), genes)))
    queries = vectors[:: max(1, spots // 512)][:512].copy()
    index_config = run.config.index
    kind = choose_kind(spots, DIM, index_config.memory)[0] if index_config.kind == "auto" else index_config.kind
    index = build_index(vectors, index_config.model_copy(update={"kind": kind}), 0)
    names = pd.Index([f"made/spot{number}" for number in range(spots)], name="id")
    frame = pd.DataFrame({"section": "made", "spot": names.str[5:], "patient": "nobody", "x": 0.0, "y": 0.0}, index=names)
    store, why = stored(blocks, "sparse")
    manifest = identity(run) | {
        "version": run.facts.version, "kind": index.kind, "why": "", "metric": "inner product", "spots": spots, "dim": DIM,
        "measured": {"recall": 1.0, "k": 50, "queries": 0, "queries_are": "none"}, "scale": run.panel.describe(),
        "expression": {"form": store.form, "why": why}, "sections": [], "genes": list(run.panel.genes),
    }  # fmt: skip
    Reference(index, vectors, store, frame, queries, manifest).save(folder / "reference")
    return str(index.kind)


def made_slide(run: Run, root: Path, tiles: int) -> None:
    """Write a blank slide whose mask gives about so many tiles, and keep made-up features of them."""
    from bleep.workflows.slides import open_slides

    rows = round(tiles / (SIDE // STEP))
    Image.fromarray(np.full((SIDE, SIDE, 3), 200, np.uint8)).save(root / "slide.png", compress_level=1)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[: rows * int(STEP)] = 255
    Image.fromarray(mask).save(root / "mask.png")
    found = open_slides([root / "slide.png"], run, 1.0, STEP, root / "mask.png")
    reader = FeatureReader.to_predict(run.model.trunk, run.model.standardize, run.config)
    (section,) = found.sections
    kept = FeatureCache.open(root / "cache/features", reader._key(section, found.spec))
    kept.add(section.xy, rng.normal(size=(len(section), run.model.trunk.width)).astype(np.float32))
    print(f"{len(section):,} tiles", flush=True)


def queried(root: Path, tiles: int, suffix: str) -> dict[str, float]:
    """Query in a process of its own, and return what it took."""
    out = root / f"p{suffix}"
    flags = {
        "--slides": root / "slide.png",
        "--mpp": 1,
        "--step": STEP,
        "--mask": root / "mask.png",
        "--run": root / "run",
        "--out": out,
    }
    words = [str(word) for pair in flags.items() for word in pair]
    begun = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "bleep", "query", *words])
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"the query ended with status {status}")
    return {
        "peak_gb": usage.ru_maxrss * 1024 / 1e9,
        "seconds": time.perf_counter() - begun,
        "output_gb": sum(path.stat().st_size for path in root.glob("p.*")) / 1e9,
    }


if __name__ == "__main__":
    main()
