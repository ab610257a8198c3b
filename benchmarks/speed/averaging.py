"""How fast the neighbours of many queries are averaged, beside BLEEP's loop over queries; all in one run.

    python benchmarks/speed/averaging.py [--threads 1] [--out benchmarks/results]

Everything is made up here, in the size of BLEEP's liver data: 6,992 reference spots (three sections), 3,467 genes, and 2,000
queries with 50 neighbours each, drawn evenly, which is the worst case for a cache. The loop is rebuilt from the published
inference: for each query the rows of its neighbours are indexed and given to `np.average`. There expression is kept as
genes x spots and turned by `.T`, so a row lies scattered over memory; the same loop over rows that lie together is shown too.
Times are the best of several passes, which take turns; what counts is their ratio.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bleep.files import write_json, write_text
from bleep.predictors.retrieval import averaged, weighted_mean
from bleep.records import Neighbors
from bleep.retrieval.reference.expression_store import ExpressionStore
from bleep.retrieval.reference.expression_writer import open_expression, stored, write_expression

SPOTS, GENES, QUERIES, K, FILLED, PASSES = 6_992, 3_467, 2_000, 50, 0.15, 5
LOOPS = ("loop as published, float64", "the same, weighted", "loop over float32 rows", "the same, weighted ")
READ, ONCE = "all neighbours' rows, copied once", "each row needed, copied once"
MEAN = "mean, dense float32"
Times = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        times = measured(Path(temporary))
    ratios = {
        "loop as published / mean (at least 30)": times[LOOPS[0]] / times[MEAN],
        "loop as published, weighted / mean": times[LOOPS[1]] / times[MEAN],
        "loop over float32 rows / mean": times[LOOPS[2]] / times[MEAN],
        "loop over float32 rows, weighted / mean": times[LOOPS[3]] / times[MEAN],
        "mean / copy of all neighbours' rows (at most 3)": times[MEAN] / times[READ],
        "mean / copy of each row needed": times[MEAN] / times[ONCE],
    }
    load = os.getloadavg()[0]
    lines = [
        "# Averaging neighbours",
        "",
        f"`python benchmarks/speed/averaging.py`: {QUERIES:,} queries x {K} neighbours x {GENES:,} genes, {SPOTS:,} reference "
        f"spots, {arguments.threads} thread(s), torch {torch.__version__}; load of the machine at the end {load:.1f}. "
        f"The sparse store holds {FILLED:.0%} of the values; stores are mapped from files in the page cache.",
        "",
        "| | ms |",
        "| --- | --- |",
        *(f"| {name.strip()} | {1e3 * seconds:,.0f} |" for name, seconds in times.items()),
        "",
        "| ratio | |",
        "| --- | --- |",
        *(f"| {name} | {ratio:.2f} |" for name, ratio in ratios.items()),
        "",
    ]
    print("\n".join(lines))
    write_text(arguments.out / "averaging.md", "\n".join(lines))
    write_json(arguments.out / "averaging.json", {"seconds": times, "ratios": ratios, "load": load})


def measured(folder: Path) -> Times:
    """Return the best time of each way, and check that all give the same."""
    rng = np.random.default_rng(0)
    values = rng.random((SPOTS, GENES), dtype=np.float32) * 5
    rows = rng.integers(0, SPOTS, (QUERIES, K))
    weights = rng.random((QUERIES, K)).astype(np.float32)
    weights /= weights.sum(axis=1, keepdims=True)
    thin = values * (rng.random(values.shape, dtype=np.float32) < FILLED)
    dense, half = (kept(folder, values, form) for form in ("dense", "half"))
    sparse = kept(folder, thin, "sparse")
    neighbors, even = Neighbors(weights, rows), np.full_like(weights, 1 / K)
    published = np.ascontiguousarray(values.T.astype(np.float64)).T
    np.testing.assert_allclose(weighted_mean(dense, neighbors, even)[:50], loop(values, rows[:50]), rtol=1e-5)
    np.testing.assert_allclose(averaged(sparse, neighbors, weights)[0][:50], loop(thin, rows[:50], weights), atol=1e-5)
    needed, room = np.unique(rows), np.empty_like(values)
    ways: dict[str, Callable[[], object]] = {
        LOOPS[2]: lambda: loop(values, rows),
        LOOPS[3]: lambda: loop(values, rows, weights),
        READ: lambda: [np.take(values, near, axis=0, out=room[:K], mode="clip") for near in rows],
        ONCE: lambda: np.take(values, needed, axis=0, out=room[: len(needed)], mode="clip"),
        MEAN: lambda: weighted_mean(dense, neighbors, weights),
        "mean, float16": lambda: weighted_mean(half, neighbors, weights),
        "mean, sparse": lambda: weighted_mean(sparse, neighbors, weights),
        "mean and spread, dense float32": lambda: averaged(dense, neighbors, weights),
        "mean and spread, sparse": lambda: averaged(sparse, neighbors, weights),
    }
    slow: dict[str, Callable[[], object]] = {
        LOOPS[0]: lambda: loop(published, rows),
        LOOPS[1]: lambda: loop(published, rows, weights),
    }
    times = dict.fromkeys([*slow, *ways], float("inf"))
    for number in range(PASSES):
        # The slow ones take as long as all others together many times over, so they take two turns alone.
        turn = slow | ways if number < 2 else ways
        times |= {name: min(times[name], seconds(way)) for name, way in turn.items()}
    return times


def loop(values: np.ndarray, rows: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Average as BLEEP's inference does."""
    out = np.zeros((len(rows), values.shape[1]))
    for query, near in enumerate(rows):
        out[query] = np.average(values[near], axis=0, weights=None if weights is None else weights[query])
    return out


def kept(folder: Path, values: np.ndarray, form: str) -> ExpressionStore:
    """Write values in a form and map them."""
    write_expression(stored([values], form)[0], folder, form)  # type: ignore[arg-type]
    return open_expression(folder, form, GENES)


def seconds(way: Callable[[], object]) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
