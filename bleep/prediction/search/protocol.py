"""What every index is, and the checks that all of them make."""

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64

from bleep.errors import DataError, MismatchError
from bleep.records import Neighbors


@runtime_checkable
class VectorIndex(Protocol):
    """Vectors in rows 0, 1, 2, ... searched by inner product; for unit vectors that is cosine similarity.

    An index is never changed: `add` and `remove` return another.
    """

    @property
    def kind(self) -> str:
        """Name of its kind: `flat`, `ivf`, `ivfpq`, `hnsw` or `sq`."""
        ...

    @property
    def dim(self) -> int:
        """Width of its vectors."""
        ...

    def stored_bytes(self) -> int:
        """Return the bytes of its file."""
        ...

    def __len__(self) -> int: ...

    def search(self, queries: Float32[np.ndarray, "queries dim"], k: int) -> Neighbors:
        """Return the k rows most similar to each query, best first; all of them when there are fewer."""
        ...

    def add(self, vectors: Float32[np.ndarray, "spots dim"]) -> "VectorIndex":
        """Return an index with these vectors after its own."""
        ...

    def remove(self, rows: Int64[np.ndarray, " rows"]) -> "VectorIndex":
        """Return an index without these rows; the others keep their order and are numbered anew from 0."""
        ...

    def save(self, path: Path) -> None:
        """Write one file, whole or not at all; a GPU is not needed to read it."""
        ...


def check_vectors(vectors: Float32[np.ndarray, "spots dim"], what: str = "vectors to index") -> None:
    """Refuse values that are not finite: they have no order.

    Raises:
        DataError: some are not finite; the first such row is named.

    """
    # In double precision a sum of finite single-precision values cannot overflow.
    sums = vectors.sum(axis=1, dtype=np.float64)
    if not np.isfinite(sums).all():
        row = int(np.flatnonzero(~np.isfinite(sums))[0])
        raise DataError(f"the {what} hold values that are not finite, first in row {row}; embed these spots again")


def check_queries(queries: Float32[np.ndarray, "queries dim"], k: int, dim: int) -> None:
    """Refuse queries that this index cannot answer.

    Raises:
        MismatchError: they are of another width, or no neighbours are asked for.
        DataError: some are not finite.

    """
    if queries.shape[1] != dim:
        raise MismatchError(
            f"the queries are vectors of width {queries.shape[1]}, the index holds vectors of width {dim}: "
            "they come from different runs; name the run the index was built with"
        )
    if k < 1:
        raise MismatchError(f"{k} neighbours were asked for; expected 1 or more")
    check_vectors(queries, "queries")


def check_added(vectors: Float32[np.ndarray, "spots dim"], dim: int) -> None:
    """Refuse vectors that do not fit an index.

    Raises:
        MismatchError: they are of another width.
        DataError: some are not finite.

    """
    if vectors.shape[1] != dim:
        raise MismatchError(
            f"the vectors to add are of width {vectors.shape[1]}, the index holds vectors of width {dim}: "
            "they come from different runs; embed them with the run the index was built with"
        )
    check_vectors(vectors, "vectors to add")


def kept_rows(rows: Int64[np.ndarray, " rows"], length: int) -> Int64[np.ndarray, " kept"]:
    """Return the rows that stay when these go.

    Raises:
        MismatchError: a row is not there, or none would stay.

    """
    if len(rows) and (rows.min() < 0 or rows.max() >= length):
        wrong = int(rows.min() if rows.min() < 0 else rows.max())
        raise MismatchError(f"row {wrong} cannot be removed: the index holds rows 0 to {length - 1}")
    stay = np.ones(length, dtype=bool)
    stay[rows] = False
    if not stay.any():
        raise MismatchError(f"removing all {length} vectors would leave an empty index; delete the index instead")
    return np.flatnonzero(stay).astype(np.int64)
