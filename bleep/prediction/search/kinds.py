"""Untrained and trained FAISS indexes of each approximate kind; all by inner product, the same for the same seed."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32
from tqdm import tqdm

from bleep.prediction.search import devices
from bleep.prediction.search.choose import LINKS, lists, subvectors
from bleep.prediction.search.library import faiss
from bleep.settings import GpuName

IP = faiss.METRIC_INNER_PRODUCT
ROUNDS = 10
"""Rounds of k-means."""
POINTS = 64
"""Vectors that k-means looks at for each centre."""
SAMPLE = 65536
"""Vectors from which the ranges of 8-bit numbers are learnt."""
BLOCK = 65536
"""Vectors added at a time."""
STORES = {
    0: None,
    4: faiss.ScalarQuantizer.QT_4bit,
    8: faiss.ScalarQuantizer.QT_8bit,
    16: faiss.ScalarQuantizer.QT_fp16,
}
"""What product codes are refined with, by its bits a number."""


def ivf(vectors: Float32[np.ndarray, "spots dim"], seed: int, gpu: GpuName) -> Any:
    """Return vectors as they are, in the lists of their nearest centres."""
    count, dim = lists(len(vectors)), vectors.shape[1]
    return _filled(faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, count, IP), vectors, seed, gpu)


def sq(vectors: Float32[np.ndarray, "spots dim"], seed: int, gpu: GpuName) -> Any:
    """Return vectors at 8 bits a number, in the lists of their nearest centres."""
    count, dim = lists(len(vectors)), vectors.shape[1]
    quantised = faiss.IndexIVFScalarQuantizer(faiss.IndexFlatIP(dim), dim, count, faiss.ScalarQuantizer.QT_8bit, IP)
    return _filled(quantised, vectors, seed, gpu)


def ivfpq(vectors: Float32[np.ndarray, "spots dim"], seed: int, gpu: GpuName) -> Any:
    """Return product codes of vectors, a byte for every four numbers, in the lists of their nearest centres."""
    count, dim = lists(len(vectors)), vectors.shape[1]
    bits = max(1, min(8, int(math.log2(len(vectors)))))
    coded = faiss.IndexIVFPQ(faiss.IndexFlatIP(dim), dim, count, subvectors(dim), bits, IP)
    coded.pq.cp.niter, coded.pq.cp.seed = ROUNDS, seed
    coded.pq.cp.max_points_per_centroid, coded.pq.cp.min_points_per_centroid = POINTS, 1
    # GPUs want their tables at half precision for codes this long, and then answer otherwise than CPUs.
    return _filled(coded, vectors, seed, gpu, on_cpu=True)


def hnsw(vectors: Float32[np.ndarray, "spots dim"], seed: int, gpu: GpuName) -> Any:
    """Return vectors as they are, linked to near ones; built by one thread, because several race for the links."""
    linked = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, IP)
    linked.hnsw.rng = faiss.RandomGenerator(seed)
    return link(linked, vectors)


BUILDERS: dict[str, Callable[[Float32[np.ndarray, "spots dim"], int, GpuName], Any]] = {
    "ivf": ivf,
    "sq": sq,
    "ivfpq": ivfpq,
    "hnsw": hnsw,
}
"""Builders of the approximate kinds, by name."""


def link(index: Any, vectors: Float32[np.ndarray, "spots dim"]) -> Any:
    """Return the HNSW index with these vectors at its end, added by one thread."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        for part in _blocks(vectors, 4096):
            index.add(part)
    finally:
        faiss.omp_set_num_threads(threads)
    return index


def refined(coded: Any, vectors: Float32[np.ndarray, "spots dim"], bits: int) -> Any:
    """Return product codes whose best are ranked again by the same vectors, kept at some bits a number."""
    store = faiss.IndexScalarQuantizer(vectors.shape[1], STORES[bits], IP)
    store.train(np.ascontiguousarray(vectors[:: max(1, len(vectors) // SAMPLE)]))
    for part in _blocks(vectors, BLOCK):
        store.add(part)
    return faiss.IndexRefine(coded, store)


def _filled(index: Any, vectors: Float32[np.ndarray, "spots dim"], seed: int, gpu: GpuName, *, on_cpu: bool = False) -> Any:
    index.cp.niter, index.cp.seed = ROUNDS, seed
    index.cp.max_points_per_centroid, index.cp.min_points_per_centroid = POINTS, 1
    size = min(len(vectors), max(POINTS * index.nlist, SAMPLE))
    picked = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:size])
    # A code of one bit has two centres, and k-means wants a vector for each.
    picked = np.resize(picked, max(2, size))
    devices.train(index, np.ascontiguousarray(vectors[picked]), gpu)
    for part in _blocks(vectors, BLOCK):
        index = devices.fill(index, part, "none" if on_cpu else gpu)
    return index


def _blocks(vectors: Float32[np.ndarray, "spots dim"], size: int) -> Any:
    starts = range(0, len(vectors), size)
    shown = tqdm(starts, desc="indexing", unit="block", leave=False, disable=len(starts) < 4)
    return (np.ascontiguousarray(vectors[at : at + size]) for at in shown)
