"""The approximate kinds: a FAISS index with its search parameters, which answers in whole rows and never -1."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int64

from bleep.config import GpuName, GpusName, KindName
from bleep.progress import Progress
from bleep.records import Neighbors
from bleep.retrieval.index import base as devices
from bleep.retrieval.index.base import VectorIndex, check_added, check_queries, faiss, kept_rows, say_copies, size, write
from bleep.retrieval.index.flat import exact_search, flat_vectors, ranked
from bleep.retrieval.index.where import Where

LONGEST = 1024
"""The longest list of candidates of an HNSW search that is worth its name."""
LINKS = 32
"""Links of a vector in the HNSW graph; twice as many on its lowest level."""


def gigabytes(kind: KindName, spots: int, dim: int, bits: int = 0) -> float:
    """Return about how many GB an index of this kind takes; `bits` a number are kept to refine product codes with."""
    each = {
        "flat": 4 * dim,
        "ivf": 4 * dim + 8,
        "sq": dim + 8,
        "ivfpq": subvectors(dim) + 8 + dim * bits / 8,
        "hnsw": 4 * dim + 4 * (2 * LINKS + 1) + 12,
    }
    centres = 0 if kind in ("flat", "hnsw") else 4 * dim * lists(spots)
    return (spots * each[kind] + centres) / 1e9


def lists(spots: int) -> int:
    """Return the number of lists of an IVF index: a power of two near twice the root, none with few vectors."""
    wanted = 2 ** round(math.log2(2 * math.sqrt(max(spots, 1))))
    return max(1, min(wanted, spots // 32))


def subvectors(dim: int) -> int:
    """Return the parts a vector is cut into for product codes of a byte each: four numbers a part where that divides."""
    return next(parts for parts in range(max(1, dim // 4), 0, -1) if dim % parts == 0)


IP = faiss.METRIC_INNER_PRODUCT
LOST = 0.01
"""Share of a vector's squared length that 8-bit codes may lose; within their range they lose about a thousandth of it."""
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
    say_copies(vectors, 2 * LINKS)
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
    shown = Progress(starts, desc="indexing", unit="block", leave=False, disable=len(starts) < 4)
    return (np.ascontiguousarray(vectors[at : at + size]) for at in shown)


CLASSES: dict[type, str] = {
    faiss.IndexIVFFlat: "ivf",
    faiss.IndexIVFScalarQuantizer: "sq",
    faiss.IndexIVFPQ: "ivfpq",
    faiss.IndexRefine: "ivfpq",
    faiss.IndexHNSWFlat: "hnsw",
}
"""The kind of each FAISS class that is written."""


@final
class ApproximateIndex:
    """Search that finds most of the nearest; how many is tuned when it is built and kept with it.

    `ivf` and `hnsw` return the inner product with the vectors themselves; `sq` and `ivfpq` with those they keep, rounded.
    """

    suffix = ".faiss"

    def __init__(self, index: Any, gpu: GpuName = "auto", gpus: GpusName = "replicas") -> None:
        self._index = index
        self._where: tuple[GpuName, GpusName] = (gpu, gpus)
        self._fast = devices.on_gpus(index, gpu, gpus) if self.kind in ("ivf", "sq") else None

    @property
    def kind(self) -> str:
        """Name of its kind."""
        return CLASSES[type(self._index)]

    @property
    def dim(self) -> int:
        """Width of its vectors."""
        return int(self._index.d)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def save(self, path: Path) -> None:
        """Write the index, whole or not at all."""
        write(self._index, path)

    @property
    def effort(self) -> int:
        """Lists looked through (`nprobe`), or for HNSW the length of its list of candidates (`efSearch`)."""
        return int(self._index.hnsw.efSearch if self.kind == "hnsw" else lists_of(self._index).nprobe)

    def settle(self, path: Path) -> None:
        """Do nothing: the file is all there is."""

    def stored_bytes(self) -> int:
        """Return the bytes of its file."""
        return size(self._index)

    def search(self, queries: Float32[np.ndarray, "queries dim"], k: int, where: Where | None = None) -> Neighbors:
        """Return about the k rows most similar to each query, best first; all of them when there are fewer.

        Where too few rows were within reach, everything is looked through. With `where`, only its rows answer, and the
        effort grows as their share shrinks.

        Raises:
            MismatchError: the queries are of another width.
            DataError: queries are not finite.

        """
        check_queries(queries, k, self.dim)
        if where is not None:
            return self._among(np.ascontiguousarray(queries), min(k, len(where.rows)), where.rows)
        k = min(k, len(self))
        index = self._index if self._fast is None or max(k, self.effort) > devices.MOST else self._fast
        queries = np.ascontiguousarray(queries)
        similarity, rows = index.search(queries, k)
        short = (rows < 0).any(axis=1)
        if short.any():
            similarity[short], rows[short] = self._through_all(queries[short], k)
        return ranked(similarity, rows.astype(np.int64), k)

    def add(self, vectors: Float32[np.ndarray, "spots dim"], spots: pd.DataFrame | None = None) -> "ApproximateIndex":
        """Return an index with these vectors after its own; centres, codes and search parameters stay."""
        check_added(vectors, self.dim)
        copy = faiss.clone_index(self._index)
        if self.kind == "hnsw":
            return ApproximateIndex(link(copy, vectors), *self._where)
        copy.add(np.ascontiguousarray(vectors))
        return ApproximateIndex(copy, *self._where)

    def decoded(self, vectors: Float32[np.ndarray, "spots dim"]) -> Float32[np.ndarray, "spots dim"]:
        """Return vectors as the index would keep them."""
        found: Float32[np.ndarray, "spots dim"] = self._index.sa_decode(self._index.sa_encode(vectors))
        return found

    def remove(self, rows: Int64[np.ndarray, " rows"]) -> "ApproximateIndex":
        """Return an index without these rows, the others numbered anew; HNSW is built anew from its vectors."""
        stay = kept_rows(rows, len(self))
        if self.kind == "hnsw":
            return ApproximateIndex(self._linked_anew(stay), *self._where)
        copy = faiss.clone_index(self._index)
        gone = faiss.IDSelectorBatch(rows)
        _renumber(lists_of(copy), gone, stay, len(self))
        if isinstance(copy, faiss.IndexRefine):
            faiss.downcast_index(copy.refine_index).remove_ids(gone)
        copy.ntotal = len(stay)
        return ApproximateIndex(copy, *self._where)

    def _linked_anew(self, stay: Int64[np.ndarray, " kept"]) -> Any:
        anew = faiss.IndexHNSWFlat(self.dim, self._index.hnsw.nb_neighbors(1), faiss.METRIC_INNER_PRODUCT)
        anew.hnsw.efSearch = self._index.hnsw.efSearch
        return link(anew, self._vectors()[stay])

    def _vectors(self) -> Float32[np.ndarray, "spots dim"]:
        return flat_vectors(faiss.downcast_index(self._index.storage))

    def _among(self, queries: Float32[np.ndarray, "queries dim"], k: int, rows: Int64[np.ndarray, " rows"]) -> Neighbors:
        allowed = np.zeros(len(self), bool)
        allowed[rows] = True
        bits = np.packbits(allowed, bitorder="little")
        selector = faiss.IDSelectorBitmap(len(self), faiss.swig_ptr(bits))
        effort = math.ceil(self.effort * len(self) / len(rows))
        if self.kind == "hnsw" and max(effort, k) > min(8 * LONGEST, len(rows)):
            # Almost no link leads to a row that may answer: looking at each of these is faster, and exact.
            return self._exact(queries, k, rows)
        similarity, found = self._index.search(queries, k, params=self._parameters(effort, selector))
        short = (found < 0).any(axis=1)
        if short.any() and self.kind == "hnsw":
            again = self._exact(queries[short], k, rows)
            similarity[short], found[short] = again.similarity, again.rows
        elif short.any():
            every = self._parameters(lists_of(self._index).nlist, selector)
            similarity[short], found[short] = self._index.search(queries[short], k, params=every)
        return ranked(similarity, found.astype(np.int64), k)

    def _parameters(self, effort: int, selector: Any = None) -> Any:
        """Return search parameters of an effort, for some rows alone."""
        if self.kind == "hnsw":
            return faiss.SearchParametersHNSW(efSearch=effort, sel=selector)
        lists = faiss.SearchParametersIVF(nprobe=min(effort, lists_of(self._index).nlist), sel=selector)
        if isinstance(self._index, faiss.IndexRefine):
            return faiss.IndexRefineSearchParameters(k_factor=self._index.k_factor, base_index_params=lists)
        return lists

    def _exact(self, queries: Float32[np.ndarray, "queries dim"], k: int, rows: Int64[np.ndarray, " rows"]) -> Neighbors:
        vectors = self._vectors()[rows]
        longest = float(np.sqrt(np.einsum("sd,sd->s", vectors, vectors).max()))
        found = exact_search(vectors, queries, k, longest)
        return Neighbors(found.similarity, rows[found.rows])

    def _through_all(self, queries: Float32[np.ndarray, "queries dim"], k: int) -> tuple[Any, Any]:
        if self.kind == "hnsw":
            found = self._exact(queries, k, np.arange(len(self)))
            return found.similarity, found.rows
        return self._index.search(queries, k, params=self._parameters(lists_of(self._index).nlist))


def keeps(index: VectorIndex, vectors: Float32[np.ndarray, "spots dim"]) -> bool:
    """Return whether an index can hold further vectors nearly as they are; 8-bit codes cut off what is beyond their range."""
    if not isinstance(index, ApproximateIndex) or index.kind != "sq":
        return True
    given = np.ascontiguousarray(vectors)
    held = index.decoded(given)
    lost = np.square(held - given).sum(axis=1) / np.maximum(np.square(given).sum(axis=1), 1e-12)
    return bool(np.quantile(lost, 0.95) < LOST)


def lists_of(index: Any) -> Any:
    """Return the IVF index inside, which holds the lists and how many of them are looked through."""
    return faiss.downcast_index(index.base_index) if isinstance(index, faiss.IndexRefine) else index


def _renumber(index: Any, gone: Any, stay: Int64[np.ndarray, " kept"], length: int) -> None:
    """Remove rows from the lists of an IVF index and number the others anew, in place."""
    index.remove_ids(gone)
    number = np.full(length, -1, np.int64)
    number[stay] = np.arange(len(stay))
    held = faiss.downcast_InvertedLists(index.invlists)
    for one in range(index.nlist):
        count = held.list_size(one)
        if count:
            ids = faiss.rev_swig_ptr(held.get_ids(one), count)
            ids[:] = number[ids]
