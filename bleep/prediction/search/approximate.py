"""The approximate kinds: a FAISS index with its search parameters, which answers in whole rows and never -1."""

from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float32, Int64

from bleep.prediction.search import devices, kinds
from bleep.prediction.search.disk import size, write
from bleep.prediction.search.exact import exact_search, ranked
from bleep.prediction.search.flat import flat_vectors
from bleep.prediction.search.library import faiss
from bleep.prediction.search.protocol import check_added, check_queries, kept_rows
from bleep.records import Neighbors
from bleep.settings import GpuName, GpusName

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

    def stored_bytes(self) -> int:
        """Return the bytes of its file."""
        return size(self._index)

    def search(self, queries: Float32[np.ndarray, "queries dim"], k: int) -> Neighbors:
        """Return about the k rows most similar to each query, best first; all of them when there are fewer.

        Where too few rows were within reach, everything is looked through.

        Raises:
            MismatchError: the queries are of another width.
            DataError: queries are not finite.

        """
        check_queries(queries, k, self.dim)
        k = min(k, len(self))
        index = self._index if self._fast is None or max(k, self.effort) > devices.MOST else self._fast
        queries = np.ascontiguousarray(queries)
        similarity, rows = index.search(queries, k)
        short = (rows < 0).any(axis=1)
        if short.any():
            similarity[short], rows[short] = self._through_all(queries[short], k)
        return ranked(similarity, rows.astype(np.int64), k)

    def add(self, vectors: Float32[np.ndarray, "spots dim"]) -> "ApproximateIndex":
        """Return an index with these vectors after its own; centres, codes and search parameters stay."""
        check_added(vectors, self.dim)
        copy = faiss.clone_index(self._index)
        if self.kind == "hnsw":
            return ApproximateIndex(kinds.link(copy, vectors), *self._where)
        copy.add(np.ascontiguousarray(vectors))
        return ApproximateIndex(copy, *self._where)

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
        return kinds.link(anew, self._vectors()[stay])

    def _vectors(self) -> Float32[np.ndarray, "spots dim"]:
        return flat_vectors(faiss.downcast_index(self._index.storage))

    def _through_all(self, queries: Float32[np.ndarray, "queries dim"], k: int) -> tuple[Any, Any]:
        if self.kind == "hnsw":
            vectors = self._vectors()
            longest = float(np.sqrt(np.einsum("sd,sd->s", vectors, vectors).max()))
            found = exact_search(vectors, queries, k, longest)
            return found.similarity, found.rows
        every = faiss.SearchParametersIVF(nprobe=lists_of(self._index).nlist)
        if isinstance(self._index, faiss.IndexRefine):
            every = faiss.IndexRefineSearchParameters(k_factor=self._index.k_factor, base_index_params=every)
        return self._index.search(queries, k, params=every)


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
