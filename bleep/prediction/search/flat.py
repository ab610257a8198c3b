"""The exact kind: the vectors as they are, searched by a blocked matrix product, or by a GPU with the same answers."""

from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float32, Int64

from bleep.prediction.search import devices
from bleep.prediction.search.disk import read, size, write
from bleep.prediction.search.exact import exact_search, inner_products, ranked, rounding
from bleep.prediction.search.library import faiss
from bleep.prediction.search.protocol import check_added, check_queries, check_vectors, kept_rows
from bleep.records import Neighbors
from bleep.settings import GpuName, GpusName

SPARE = 32
"""Rows asked of a GPU beyond k, to be ranked again in double precision."""


@final
class FlatIndex:
    """Exact search by inner product; of equal similarities the lower row comes first."""

    kind = "flat"

    def __init__(self, index: Any, gpu: GpuName = "auto", gpus: GpusName = "replicas") -> None:
        self._index = index
        self._where: tuple[GpuName, GpusName] = (gpu, gpus)
        self._fast = devices.on_gpus(index, gpu, gpus)
        squares = [np.einsum("sd,sd->s", part, part).max() for part in _parts(self.vectors)]
        self._longest = float(np.sqrt(max(squares, default=0.0)))

    @classmethod
    def build(
        cls, vectors: Float32[np.ndarray, "spots dim"], gpu: GpuName = "auto", gpus: GpusName = "replicas"
    ) -> "FlatIndex":
        """Index these vectors; row numbers are their order.

        Raises:
            DataError: values are not finite.

        """
        check_vectors(vectors)
        index = faiss.IndexFlatIP(vectors.shape[1])
        for part in _parts(vectors):
            index.add(np.ascontiguousarray(part))
        return cls(index, gpu, gpus)

    @classmethod
    def load(cls, path: Path) -> "FlatIndex":
        """Read an index.

        Raises:
            DataError: the file is missing or damaged, or is of another kind.

        """
        return cls(read(path, (faiss.IndexFlat,)))

    def save(self, path: Path) -> None:
        """Write the index, whole or not at all."""
        write(self._index, path)

    def stored_bytes(self) -> int:
        """Return the bytes of its file."""
        return size(self._index)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dim(self) -> int:
        """Width of its vectors."""
        return int(self._index.d)

    @property
    def vectors(self) -> Float32[np.ndarray, "spots dim"]:
        """The vectors themselves: not a copy, do not write to them."""
        return flat_vectors(self._index)

    def search(self, queries: Float32[np.ndarray, "queries dim"], k: int) -> Neighbors:
        """Return the k rows most similar to each query, best first; all of them when there are fewer.

        Raises:
            MismatchError: the queries are of another width.
            DataError: queries are not finite.

        """
        check_queries(queries, k, self.dim)
        asked = min(k + SPARE, len(self))
        if self._fast is None or asked > devices.MOST or not asked:
            return exact_search(self.vectors, queries, k, self._longest)
        return self._by_gpu(queries, min(k, len(self)), asked)

    def add(self, vectors: Float32[np.ndarray, "spots dim"]) -> "FlatIndex":
        """Return an index with these vectors after its own."""
        check_added(vectors, self.dim)
        grown = faiss.clone_index(self._index)
        grown.add(np.ascontiguousarray(vectors))
        return FlatIndex(grown, *self._where)

    def remove(self, rows: Int64[np.ndarray, " rows"]) -> "FlatIndex":
        """Return an index without these rows, the others numbered anew."""
        return FlatIndex.build(self.vectors[kept_rows(rows, len(self))], *self._where)

    def _by_gpu(self, queries: Float32[np.ndarray, "queries dim"], k: int, asked: int) -> Neighbors:
        rough, rows = self._fast.search(np.ascontiguousarray(queries), asked)  # type: ignore[union-attr]
        of = np.repeat(np.arange(len(queries)), asked)
        exact = inner_products(self.vectors, queries, of, rows.reshape(-1).astype(np.int64))
        found = ranked(exact.reshape(rows.shape), rows.astype(np.int64), k)
        # Where more rows are about equal than were asked for, the product on the CPU decides.
        slack = rounding(queries, self._longest)
        unsure = (rough[:, -1] >= found.similarity[:, -1] - slack) & (asked < len(self))
        if unsure.any():
            again = exact_search(self.vectors, queries[unsure], k, self._longest)
            found.similarity[unsure], found.rows[unsure] = again.similarity, again.rows
        return found


def flat_vectors(index: Any) -> Float32[np.ndarray, "spots dim"]:
    """Return the vectors of a flat FAISS index without copying them."""
    if not index.ntotal:
        return np.empty((0, index.d), np.float32)
    return faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(index.ntotal, index.d)


def _parts(vectors: Float32[np.ndarray, "spots dim"]) -> list[Float32[np.ndarray, "part dim"]]:
    return [vectors[at : at + 65536] for at in range(0, len(vectors), 65536)]
