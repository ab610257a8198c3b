"""The exact kind: the vectors as they are, searched by a blocked matrix product, or by a GPU with the same answers."""

from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64, Int64

from bleep.config import GpuName, GpusName
from bleep.errors import DataError
from bleep.records import Neighbors
from bleep.retrieval.index import base as devices
from bleep.retrieval.index.base import check_added, check_queries, check_vectors, faiss, kept_rows, read, size, write
from bleep.retrieval.index.where import Where

ROWS = 16384
"""Stored vectors multiplied at a time."""
QUERIES = 512
"""Queries multiplied at a time."""
SCORES = ROWS * QUERIES
"""Similarities held at a time: 32 MB."""
PAIRS = 8192
"""Pairs whose inner product is taken in double precision at a time."""


def exact_search(
    vectors: Float32[np.ndarray, "spots dim"], queries: Float32[np.ndarray, "queries dim"], k: int, longest: float
) -> Neighbors:
    """Return the min(k, spots) rows of greatest inner product, best first; of equal ones the lower row first.

    The product in single precision only picks candidates, with its worst rounding error to spare; the similarities
    returned are summed in double precision, so they do not depend on blocks, threads or the BLAS at hand.

    Args:
        vectors: the stored vectors.
        queries: what to search for.
        k: neighbours of each query.
        longest: the length of the longest stored vector, which bounds the rounding error.

    """
    k = min(k, len(vectors))
    similarity, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    if k == 0:
        return Neighbors(similarity, rows)
    first = min(len(vectors), max(2 * k, 2048))
    step = max(1, min(QUERIES, SCORES // max(first, ROWS)))
    room = np.empty(min(step, len(queries)) * max(first, min(ROWS, len(vectors))), np.float32)
    for at in range(0, len(queries), step):
        part = np.ascontiguousarray(queries[at : at + step])
        found = _candidates(vectors, part, k, longest, room)
        similarity[at : at + step], rows[at : at + step] = _settled(vectors, part, k, *found[:2])
    return Neighbors(similarity, rows)


def inner_products(
    vectors: Float32[np.ndarray, "spots dim"],
    queries: Float32[np.ndarray, "queries dim"],
    asked: Int64[np.ndarray, " pairs"],
    rows: Int64[np.ndarray, " pairs"],
) -> Float32[np.ndarray, " pairs"]:
    """Return the inner product of query `asked` and stored row `rows` of each pair, summed in double precision."""
    products = np.empty(len(rows), np.float32)
    for at in range(0, len(rows), PAIRS):
        left = queries[asked[at : at + PAIRS]].astype(np.float64)
        products[at : at + PAIRS] = np.einsum("pd,pd->p", left, vectors[rows[at : at + PAIRS]], dtype=np.float64)
    return products


def ranked(similarity: Float32[np.ndarray, "queries found"], rows: Int64[np.ndarray, "queries found"], k: int) -> Neighbors:
    """Return the k best of those found, best first; of equal ones the lower row first."""
    order = np.lexsort((rows, -similarity), axis=1)[:, :k]
    return Neighbors(np.take_along_axis(similarity, order, axis=1), np.take_along_axis(rows, order, axis=1))


def rounding(queries: Float32[np.ndarray, "queries dim"], longest: float) -> Float64[np.ndarray, " queries"]:
    """Return by how much two products in single precision may be off together: twice the bound of a sum so long."""
    length = np.linalg.norm(queries.astype(np.float64), axis=1)
    return 2 * queries.shape[1] * float(np.finfo(np.float32).eps) * longest * length


def _candidates(
    vectors: Float32[np.ndarray, "spots dim"],
    queries: Float32[np.ndarray, "queries dim"],
    k: int,
    longest: float,
    room: Float32[np.ndarray, " scores"],
) -> tuple[Any, Any, Any]:
    """Return query, row and product in single precision of all pairs that can be among the k best of their query."""
    slack = rounding(queries, longest)
    floor = np.full(len(queries), -np.inf, np.float32)
    kept = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    waiting: list[tuple[Any, Any, Any]] = []
    at, stop = 0, max(2 * k, 2048)
    while at < len(vectors):
        block = vectors[at:stop]
        scores = room[: len(queries) * len(block)].reshape(len(queries), len(block))
        np.matmul(queries, block.T, out=scores)
        if at == 0 and len(block) > k:
            floor = _below(np.partition(scores, -k, axis=1)[:, -k], slack)
        asked, columns = np.divmod(_positions(scores >= floor[:, None]), len(block))
        waiting.append((asked, columns + at, scores[asked, columns]))
        # Sorting pays once as many wait as are kept: the floor is then raised about as often as the rows double.
        if sum(len(pairs[0]) for pairs in waiting) > k * len(queries):
            kept, floor = _merged(vectors, queries, k, slack, [kept, *waiting])
            waiting = []
        at, stop = stop, stop + ROWS
    return _merged(vectors, queries, k, slack, [kept, *waiting])[0]


def _merged(
    vectors: Float32[np.ndarray, "spots dim"],
    queries: Float32[np.ndarray, "queries dim"],
    k: int,
    slack: Float64[np.ndarray, " queries"],
    parts: list[tuple[Any, Any, Any]],
) -> tuple[tuple[Any, Any, Any], Float32[np.ndarray, " queries"]]:
    """Return the pairs that can still be among the k best, and for each query the product below which none can."""
    asked, rows, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((-scores, asked))
    asked, rows, scores = asked[order], rows[order], scores[order]
    ends = np.searchsorted(asked, np.arange(len(queries) + 1))
    floor = np.full(len(queries), -np.inf, np.float32)
    full = np.diff(ends) >= k
    floor[full] = _below(scores[ends[:-1][full] + k - 1], slack[full])
    stay = scores >= floor[asked]
    asked, rows, scores = asked[stay], rows[stay], scores[stay]
    if len(asked) > 2 * k * len(queries):
        # Many equal vectors, blank tiles say: decide between them now, so that their number never fills the memory.
        ends = np.searchsorted(asked, np.arange(len(queries) + 1))
        exact = inner_products(vectors, queries, asked, rows)
        order = np.lexsort((rows, -exact, asked))
        best = order[np.arange(len(order)) - ends[asked] < k]
        asked, rows, scores = asked[best], rows[best], scores[best]
    return (asked, rows, scores), floor


def _settled(
    vectors: Float32[np.ndarray, "spots dim"],
    queries: Float32[np.ndarray, "queries dim"],
    k: int,
    asked: Int64[np.ndarray, " pairs"],
    rows: Int64[np.ndarray, " pairs"],
) -> tuple[Float32[np.ndarray, "queries k"], Int64[np.ndarray, "queries k"]]:
    """Return the k best of each query by the inner product in double precision; every query has k pairs or more."""
    exact = inner_products(vectors, queries, asked, rows)
    order = np.lexsort((rows, -exact, asked))
    starts = np.searchsorted(asked[order], np.arange(len(queries)))
    best = order[starts[:, None] + np.arange(k)]
    return exact[best], rows[best]


def _below(
    products: Float32[np.ndarray, " queries"], slack: Float64[np.ndarray, " queries"]
) -> Float32[np.ndarray, " queries"]:
    return np.nextafter((products - slack).astype(np.float32), np.float32(-np.inf))


def _positions(mask: Any) -> Int64[np.ndarray, " found"]:
    """Return the flat positions of the true entries, looking at eight at a time: few are true."""
    flat = mask.reshape(-1)
    whole = len(flat) // 8 * 8
    words = np.flatnonzero(flat[:whole].view(np.uint64))
    near = (words[:, None] * 8 + np.arange(8)).reshape(-1)
    return np.concatenate([near[flat[near]], whole + np.flatnonzero(flat[whole:])])


SPARE = 32
"""Rows asked of a GPU beyond k, to be ranked again in double precision."""


@final
class FlatIndex:
    """Exact search by inner product; of equal similarities the lower row comes first."""

    kind = "flat"
    suffix = ".faiss"

    def __init__(self, index: Any, gpu: GpuName = "auto", gpus: GpusName = "replicas") -> None:
        self._index = index
        self._where: tuple[GpuName, GpusName] = (gpu, gpus)
        self._fast = devices.on_gpus(index, gpu, gpus)
        squares = [np.einsum("sd,sd->s", part, part).max() for part in _parts(self.vectors)]
        self._longest = float(np.sqrt(np.max(squares, initial=0.0)))

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
        return cls.of_file(read(path, (faiss.IndexFlat,)), path)

    @classmethod
    def of_file(cls, index: Any, path: Path, gpu: GpuName = "auto", gpus: GpusName = "replicas") -> "FlatIndex":
        """Return the index that FAISS has read from a file.

        Raises:
            DataError: values are not finite.

        """
        made = cls(index, gpu, gpus)
        if not np.isfinite(made._longest):
            raise DataError(f"{path}: is damaged (values are not finite); make it again with `bleep index build`")
        return made

    def save(self, path: Path) -> None:
        """Write the index, whole or not at all."""
        write(self._index, path)

    def settle(self, path: Path) -> None:
        """Do nothing: the file is all there is."""

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

    def search(self, queries: Float32[np.ndarray, "queries dim"], k: int, where: Where | None = None) -> Neighbors:
        """Return the k rows most similar to each query, best first; all of them when there are fewer.

        With `where`, only its rows answer.

        Raises:
            MismatchError: the queries are of another width.
            DataError: queries are not finite.

        """
        check_queries(queries, k, self.dim)
        if where is not None:
            found = exact_search(self.vectors[where.rows], queries, k, self._longest)
            return Neighbors(found.similarity, where.rows[found.rows])
        asked = min(k + SPARE, len(self))
        if self._fast is None or asked > devices.MOST or not asked:
            return exact_search(self.vectors, queries, k, self._longest)
        return self._by_gpu(queries, min(k, len(self)), asked)

    def add(self, vectors: Float32[np.ndarray, "spots dim"], spots: pd.DataFrame | None = None) -> "FlatIndex":
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
