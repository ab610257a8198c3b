"""Milvus, as a server and as Milvus Lite, beside FAISS of the same kind: filling, searching, recall and memory, in one run.

    pip install pymilvus milvus==2.3.5; pip install --no-deps milvus-lite
    python benchmarks/speed/store.py [--size 200000] [--kinds flat hnsw] [--stores faiss server lite] [--out benchmarks/results]

Vectors and queries are those of search.py. Each store and kind has a process of its own, one after another, and the server
is started anew for each. Filling is from vectors in memory to an index that answers, its tuning left out: every kind is
searched with the same effort in both stores (64 lists, 256 candidates). A search of Milvus is told apart in three: waiting for
the server, pymilvus making objects of what came, and our making arrays of these.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parent))
from search import ASKED, DIM, K, mixture

from bleep.files import write_json, write_text
from bleep.retrieval.index import FlatIndex, VectorIndex
from bleep.retrieval.index.approximate import BUILDERS, ApproximateIndex
from bleep.retrieval.index.base import faiss
from bleep.retrieval.index.milvus import MilvusIndex

REPEATS = 3
LISTS, CANDIDATES = 64, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=200_000)
    parser.add_argument("--kinds", nargs="+", default=["flat", "hnsw"])
    parser.add_argument("--stores", nargs="+", default=["faiss", "server", "lite"])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--one", nargs=2, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(one(*arguments.one, arguments.size)))
        return
    found: list[dict[str, Any]] = []
    for kind in arguments.kinds:
        for store in arguments.stores:
            words = [sys.executable, __file__, "--size", str(arguments.size), "--one", store, kind]
            done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            report(found, arguments)


def one(store: str, kind: str, size: int) -> dict[str, Any]:
    """Measure one kind in one store."""
    vectors, queries = mixture(size, 0), mixture(ASKED, 1)
    with tempfile.TemporaryDirectory() as folder:
        started = serve(folder) if store == "server" else None
        try:
            uri = f"http://127.0.0.1:{started.listen_port}" if started else f"{folder}/atlas.db"
            return measured(store, kind, vectors, queries, uri)
        finally:
            if started:
                started.stop()


def serve(folder: str) -> Any:
    from milvus import MilvusServer

    server = MilvusServer()
    server.set_base_dir(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server.listen_port = free.getsockname()[1]
    server.start()
    return server


def measured(store: str, kind: str, vectors: np.ndarray, queries: np.ndarray, uri: str) -> dict[str, Any]:
    before, began = memory(), time.perf_counter()
    index = filled(store, kind, vectors, uri)
    fill = time.perf_counter() - began
    if store != "faiss":
        told_apart()
    times, apart = [], []
    for _ in range(REPEATS):
        CLOCK.clear()
        began = time.perf_counter()
        found = index.search(queries, K)
        times.append(time.perf_counter() - began)
        apart.append((CLOCK.get("call", 0.0) - CLOCK.get("parse", 0.0), CLOCK.get("parse", 0.0)))
    best = int(np.argmin(times))
    server, parsing = apart[best]
    truth = kth(vectors, queries)
    products = np.einsum("qd,qkd->qk", queries, vectors[found.rows])
    return {
        "store": store,
        "kind": kind,
        "vectors": len(vectors),
        "fill_seconds": fill,
        "search_seconds": times[best],
        "server_seconds": server,
        "pymilvus_seconds": parsing,
        "our_seconds": times[best] - server - parsing if store != "faiss" else 0.0,
        "recall": float((products >= truth[:, None] - 1e-6).mean()),
        "megabytes": (memory() - before) / 2**20,
    }


def filled(store: str, kind: str, vectors: np.ndarray, uri: str) -> VectorIndex:
    """Return an index that answers, searched with the effort of this benchmark."""
    if store != "faiss":
        return MilvusIndex.build(uri, kind, vectors).with_effort(CANDIDATES if kind == "hnsw" else LISTS)
    if kind == "flat":
        return FlatIndex.build(vectors, gpu="none")
    index = BUILDERS[kind](vectors, 0, "none")
    if kind == "hnsw":
        index.hnsw.efSearch = CANDIDATES
    else:
        index.nprobe = LISTS
    return ApproximateIndex(index, gpu="none")


CLOCK: dict[str, float] = {}
"""Seconds spent in calls of Milvus, and in pymilvus's making of objects."""


def told_apart() -> None:
    """Let the clock run in each search and in each result's making."""
    from pymilvus.client.grpc_handler import GrpcHandler
    from pymilvus.client.search_result import SearchResult

    def timed(owner: Any, name: str, what: str) -> None:
        way = getattr(owner, name)

        def clocked(*given: Any, **more: Any) -> Any:
            began = time.perf_counter()
            try:
                return way(*given, **more)
            finally:
                CLOCK[what] = CLOCK.get(what, 0.0) + time.perf_counter() - began

        setattr(owner, name, clocked)

    timed(GrpcHandler, "search", "call")
    timed(SearchResult, "__init__", "parse")


def kth(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return the similarity of each query's last true neighbour."""
    return FlatIndex.build(vectors, gpu="none").search(queries, K).similarity[:, -1]


def memory() -> int:
    """Return the bytes that this process and those it started hold."""
    this = psutil.Process()
    return sum(process.memory_info().rss for process in (this, *this.children(recursive=True)))


def report(found: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    lines = [
        "# Stores",
        "",
        f"`python benchmarks/speed/store.py --size {arguments.size} --kinds {' '.join(arguments.kinds)}`, {os.cpu_count()} "
        f"cores, {faiss.omp_get_max_threads()} threads, load {os.getloadavg()[0]:.1f} at the end. {ASKED:,} queries at once, "
        f"k = {K}, width {DIM}, the best of {REPEATS} searches. The server is PyPI's milvus 2.3.5; Milvus Lite is 3.2. "
        "Memory is what the process "
        "and its server hold more than before filling.",
        "",
        "| kind | store | fill, s | search, s | server, s | pymilvus, s | ours, s | ours / server | recall@50 | MB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for each in found:
        share = "" if each["store"] == "faiss" else f"{each['our_seconds'] / each['server_seconds']:.2f}"
        lines.append(
            f"| {each['kind']} | {each['store']} | {each['fill_seconds']:.1f} | {each['search_seconds']:.2f} "
            f"| {each['server_seconds']:.2f} | {each['pymilvus_seconds']:.2f} | {each['our_seconds']:.2f} | {share} "
            f"| {each['recall']:.4f} | {each['megabytes']:.0f} |"
        )
    print(lines[-1], flush=True)
    write_text(arguments.out / "store.md", "\n".join([*lines, ""]))
    write_json(arguments.out / "store.json", {"found": found})


if __name__ == "__main__":
    main()
