"""How fast neighbours are found: exactly, against a plain product in torch, and by each approximate kind; all in one run.

    python benchmarks/speed/search.py [--sizes 10000 100000 1000000] [--kinds ivf sq ivfpq hnsw] [--out benchmarks/results]

Vectors are made up: unit vectors of width 256 in 200 groups of unequal size, as types of tissue are; in a group they
vary in 16 directions (8 sets of directions, shared between groups) and a little in all. 2,000 queries are drawn from the
same law and are not stored. Each kind is built with its default settings, so tuned to a recall@50 of 0.95 on 512 queries
that it makes of stored vectors; recall here is of the 2,000 queries. Exact search and torch take turns, and the best of
each counts. HNSW is built by one thread and left out above 100,000 unless it is named. Results are written after each step.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bleep.config import IndexConfig
from bleep.files import write_json, write_text
from bleep.retrieval.index import FlatIndex, build_index, facts, measure
from bleep.retrieval.index.flat import QUERIES, ROWS

DIM, ASKED, K, GROUPS, INNER, MAPS = 256, 2000, 50, 200, 16, 8
HNSW_MOST = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", default=None)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    queries = mixture(ASKED, 1)
    found: list[dict[str, Any]] = []
    for size in arguments.sizes:
        vectors = mixture(size, 0)
        exact = exactly(vectors, queries)
        found.append(exact)
        report(found, arguments.out)
        for kind in arguments.kinds or ["ivf", "sq", "ivfpq", *(["hnsw"] if size <= HNSW_MOST else [])]:
            found.append(approximately(kind, vectors, queries, exact))
            report(found, arguments.out)


def mixture(count: int, seed: int) -> np.ndarray:
    """Return unit vectors; the seed draws the vectors, not the law they are drawn from."""
    law, random = np.random.default_rng(7), np.random.default_rng(seed)
    centres = law.standard_normal((GROUPS, DIM)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    maps = law.standard_normal((MAPS, INNER, DIM)).astype(np.float32) / np.float32(np.sqrt(DIM))
    shares = law.dirichlet(np.ones(GROUPS))
    vectors = np.empty((count, DIM), np.float32)
    for at in range(0, count, 65536):
        group = random.choice(GROUPS, min(65536, count - at), p=shares)
        part = centres[group] + np.float32(0.02) * random.standard_normal((len(group), DIM), dtype=np.float32)
        inner = np.float32(0.35) * random.standard_normal((len(group), INNER), dtype=np.float32)
        for number in range(MAPS):
            here = group % MAPS == number
            part[here] += inner[here] @ maps[number]
        vectors[at : at + len(group)] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def plain(vectors: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    """Return the nearest rows by a product and top-k in torch, in the blocks of our exact search."""
    parts = []
    for at in range(0, len(queries), QUERIES):
        some = queries[at : at + QUERIES]
        best, rows = torch.empty(len(some), 0), torch.empty(len(some), 0, dtype=torch.int64)
        for start in range(0, len(vectors), ROWS):
            block = vectors[start : start + ROWS]
            values, columns = (some @ block.T).topk(min(K, len(block)))
            best, picked = torch.cat([best, values], 1).topk(K)
            rows = torch.cat([rows, columns + start], 1).gather(1, picked)
        parts.append(rows)
    return torch.cat(parts)


def exactly(vectors: np.ndarray, queries: np.ndarray) -> dict[str, Any]:
    began = time.perf_counter()
    index = FlatIndex.build(vectors, gpu="none")
    built = time.perf_counter() - began
    stored, asked = torch.from_numpy(vectors), torch.from_numpy(queries)
    ways: dict[str, Callable[[], Any]] = {
        "torch": lambda: plain(stored, asked).numpy(),
        "flat": lambda: index.search(queries, K).rows,
    }
    rows, times = {}, {name: [] for name in ways}
    for _ in range(3 if len(vectors) < 1_000_000 else 2):
        for name, way in ways.items():
            began = time.perf_counter()
            rows[name] = way()
            times[name].append(time.perf_counter() - began)
    best = {name: 1e3 * min(taken) / ASKED for name, taken in times.items()}
    return {
        "vectors": len(vectors),
        "kind": "flat",
        "build_seconds": built,
        "bytes_per_vector": index.stored_bytes() / len(vectors),
        "recall_at_k": float((rows["flat"] == rows["torch"]).mean()),
        "milliseconds_per_query": best["flat"],
        "torch_milliseconds_per_query": best["torch"],
        "against_torch": best["flat"] / best["torch"],
    }


def approximately(kind: str, vectors: np.ndarray, queries: np.ndarray, exact: dict[str, Any]) -> dict[str, Any]:
    began = time.perf_counter()
    index = build_index(vectors, IndexConfig.model_validate({"kind": kind, "gpu": "none"}), 0)
    built = time.perf_counter() - began
    measured = measure(index, vectors, queries, K)
    faster = exact["milliseconds_per_query"] / measured.milliseconds_per_query
    return {"vectors": len(vectors), "kind": kind, "build_seconds": built, **asdict(measured), "faster_than_exact": faster}


def command() -> str:
    """Return what was typed, but for the place of the results."""
    words = sys.argv[1:]
    if "--out" in words:
        del words[words.index("--out") : words.index("--out") + 2]
    return " ".join(["python benchmarks/speed/search.py", *words])


def report(found: list[dict[str, Any]], out: Path) -> None:
    lines = ["# Searching", "",
             f"`{command()}`, {torch.get_num_threads()} threads, {os.cpu_count()} cores, load "
             f"{os.getloadavg()[0]:.1f} at the end, FAISS {facts()['version']}, torch {torch.__version__}, "
             f"numpy {np.__version__}. {ASKED:,} queries at once, k = {K}, width {DIM}. Build time includes tuning. "
             "For `flat`, recall is its agreement with torch row by row (they differ where products differ in the last bit), "
             "and `against` is its time over that of torch; for the others, how many times faster than `flat`.", "",
             "| vectors | kind | build, s | bytes a vector | recall@50 | ms a query | against |",
             "| --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for one in found:
        against = (
            f"{one['against_torch']:.2f} of torch" if one["kind"] == "flat" else f"{one['faster_than_exact']:.1f} x faster"
        )
        lines.append(
            f"| {one['vectors']:,} | {one['kind']} | {one['build_seconds']:.1f} | {one['bytes_per_vector']:.0f} "
            f"| {one['recall_at_k']:.4f} | {one['milliseconds_per_query']:.3f} | {against} |"
        )
    text = "\n".join([*lines, ""])
    print(lines[-1], flush=True)
    write_text(out / "search.md", text)
    write_json(out / "search.json", {"found": found})


if __name__ == "__main__":
    main()
