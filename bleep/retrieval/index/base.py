"""What every index is, and the checks that all of them make."""

import logging
import struct
from collections import Counter
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int64

from bleep.config import GpuName, GpusName
from bleep.errors import DataError, MismatchError
from bleep.files import whole
from bleep.outputs import TolerantFile
from bleep.records import Neighbors
from bleep.retrieval.index.where import Where

# FAISS tells at INFO which instruction set it loaded; nobody asked.
logging.getLogger("faiss.loader").setLevel(logging.WARNING)
import faiss as _faiss  # noqa: E402

# Its own stubs know half of what it holds.
faiss: Any = _faiss


@runtime_checkable
class VectorIndex(Protocol):
    """Vectors in rows 0, 1, 2, ... searched by inner product; for unit vectors that is cosine similarity.

    An index is never changed: `add` and `remove` return another.
    """

    @property
    def kind(self) -> str:
        """Name of its kind: `flat`, `ivf`, `ivfpq`, `hnsw`, `sq` or `diskann`."""
        ...

    @property
    def dim(self) -> int:
        """Width of its vectors."""
        ...

    @property
    def suffix(self) -> str:
        """Ending of the name of its file."""
        ...

    def stored_bytes(self) -> int:
        """Return the bytes of its file."""
        ...

    def __len__(self) -> int: ...

    def search(self, queries: Float32[np.ndarray, "queries dim"], k: int, where: Where | None = None) -> Neighbors:
        """Return the k rows most similar to each query, best first; all of them when there are fewer.

        With `where`, only its rows answer.
        """
        ...

    def add(self, vectors: Float32[np.ndarray, "spots dim"], spots: pd.DataFrame | None = None) -> "VectorIndex":
        """Return an index with these vectors after its own; a database keeps the columns of their spots beside them."""
        ...

    def remove(self, rows: Int64[np.ndarray, " rows"]) -> "VectorIndex":
        """Return an index without these rows; the others keep their order and are numbered anew from 0."""
        ...

    def save(self, path: Path) -> None:
        """Write one file, whole or not at all; a GPU is not needed to read it."""
        ...

    def settle(self, path: Path) -> None:
        """Do what must wait until its file at this path is what readers open."""
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


def facts() -> dict[str, str]:
    """Return version, compile options and GPUs of the FAISS build in use."""
    return {"version": faiss.__version__, "options": faiss.get_compile_options().strip(), "gpus": str(faiss.get_num_gpus())}


def write(index: Any, path: Path) -> None:
    """Write one file, whole or not at all.

    Raises:
        DataError: the place cannot be written to.

    """
    with whole(path) as temporary, TolerantFile(temporary, "w") as file:
        writer = faiss.PyCallbackIOWriter(file.write)
        faiss.write_index(index, writer)
        del writer  # it holds back its last bytes until then
        file.check()


def read(path: Path, kinds: Any) -> Any:
    """Read an index of one of these FAISS classes, a tuple.

    Raises:
        DataError: the file is missing or damaged, of another kind or of another metric.

    """
    way_out = "make it again with `bleep index build`"
    if path.exists() and not _fits(path):
        raise DataError(f"{path}: is damaged: its header counts more than the file holds; {way_out}")
    try:
        index: Any = faiss.read_index(str(path))
    except (RuntimeError, MemoryError):
        state = "is damaged" if path.exists() else "is not there"
        raise DataError(f"{path}: {state}; {way_out}") from None
    if not isinstance(index, kinds):
        raise DataError(
            f"{path}: holds a FAISS index of the class {type(index).__name__}, which bleep does not write; {way_out}"
        )
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise DataError(f"{path}: its metric is not the inner product; {way_out}")
    return index


def _fits(path: Path) -> bool:
    """Return whether the counts at the beginning of an index are borne out by the file's size, before memory is taken for them.

    Every index of FAISS begins with four letters, its dimension, the number of its vectors, 16 bytes without a meaning, a byte
    and the metric. In a flat index, letters `IxF`, the count of all its numbers follows, then these.
    """
    whole_size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEADER.size)
    if len(head) < HEADER.size:
        return False
    letters, dim, vectors, _, _, _, _, count = HEADER.unpack(head)
    if not 0 < dim <= whole_size or not 0 <= vectors <= whole_size:
        return False
    flat = letters[:3] == b"IxF"
    return not flat or (count == vectors * dim and HEADER.size + 4 * count == whole_size)


HEADER = struct.Struct("<4siqqq?iQ")
"""Letters, dimension, vectors, two fields without a meaning, whether it is trained, the metric, and the next count."""


def size(index: Any) -> int:
    """Return the bytes that its file takes."""
    count = 0

    def take(part: bytes) -> None:
        nonlocal count
        count += len(part)

    writer = faiss.PyCallbackIOWriter(take)
    faiss.write_index(index, writer)
    del writer  # it holds back its last bytes until then
    return count


log = logging.getLogger(__name__)

MOST = 2048
"""Neighbours, and lists looked through, that FAISS can ask of a GPU."""


def gpu_count() -> int:
    """Return the number of GPUs that FAISS finds."""
    return int(faiss.get_num_gpus())


def on_gpus(index: Any, gpu: GpuName, gpus: GpusName) -> Any | None:
    """Return a copy to search on: whole on every GPU, or in shards; None where there is no GPU or it is too small."""
    if gpu == "none" or not gpu_count():
        return None
    options = faiss.GpuMultipleClonerOptions()
    options.shard = gpus == "shards"
    # Lists must not be shared out: every shard then holds a part of each list, and the same lists are looked through.
    options.shard_type = 1
    try:
        return faiss.index_cpu_to_all_gpus(index, options)
    except RuntimeError as error:
        log.warning("the index is searched on the CPU: %s", str(error).splitlines()[0])
        return None


def train(index: Any, vectors: Float32[np.ndarray, "sample dim"], gpu: GpuName) -> None:
    """Train an IVF index, its lists' centres on the first GPU where there is one."""
    if gpu == "none" or not gpu_count():
        index.train(vectors)
        return
    centres = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, faiss.IndexFlatIP(vectors.shape[1]))
    index.clustering_index = centres
    try:
        index.train(vectors)
    finally:
        index.clustering_index = None


def fill(index: Any, vectors: Float32[np.ndarray, "spots dim"], gpu: GpuName) -> Any:
    """Return the trained index with these vectors, added on the first GPU where there is one."""
    if gpu != "none" and gpu_count():
        try:
            copy = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
            copy.add(vectors)
            return faiss.index_gpu_to_cpu(copy)
        except RuntimeError as error:
            log.warning("the index is filled on the CPU: %s", str(error).splitlines()[0])
    index.add(vectors)
    return index


def say_copies(vectors: Float32[np.ndarray, "spots dim"], links: int) -> None:
    """Warn where one vector stands more often than a vector has links in a graph: its copies then lead to one another alone.

    No length of the list of candidates finds what lies behind them; the lists of an inverted file are not troubled.
    """
    copies = max(Counter(hash(row.tobytes()) for row in vectors).values(), default=0)
    if copies > links:
        log.warning(
            "%d of %d vectors are one and the same, as blank tiles give: in a graph (hnsw) they hide other spots from a "
            "search; set index.kind to ivf, or leave such spots out",
            copies, len(vectors),
        )  # fmt: skip
