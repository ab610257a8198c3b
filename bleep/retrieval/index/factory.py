"""Indexes as the settings ask for them, with the effort of a search tuned."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float32

from bleep.config import GpuName, GpusName, IndexConfig, KindName
from bleep.errors import ConfigError, DataError
from bleep.retrieval.index import approximate as kinds
from bleep.retrieval.index.approximate import CLASSES, ApproximateIndex, gigabytes, lists, lists_of
from bleep.retrieval.index.base import VectorIndex, check_queries, check_vectors, faiss, read
from bleep.retrieval.index.flat import FlatIndex, exact_search, inner_products
from bleep.retrieval.index.milvus import EFFORTS, MilvusIndex
from bleep.retrieval.index.own import OwnIndex

log = logging.getLogger(__name__)

EXACT = 5e7
"""Numbers to multiply for one query up to which exact search is fast enough: about half a millisecond on two cores."""


PAYS = 1 / 6
"""Share of an IVF index's lists beyond which a search takes longer than an exact one (docs/log.md)."""


def choose_kind(spots: int, dim: int, memory_gb: float | None) -> tuple[KindName, str]:
    """Return the kind that `auto` stands for, and why, in a sentence.

    HNSW is never chosen: it needs more memory than IVF, is slow to build, and is built anew when spots are removed.

    Raises:
        ConfigError: not even the smallest kind fits into the memory.

    """
    need: dict[KindName, float] = {kind: gigabytes(kind, spots, dim) for kind in ("flat", "ivf", "sq", "ivfpq")}
    room = math.inf if memory_gb is None else memory_gb
    limit = "no limit of memory is set" if memory_gb is None else f"{memory_gb:g} GB are allowed"
    size = f"{spots} spots of width {dim}"
    if spots * dim <= EXACT and need["flat"] <= room:
        return "flat", f"{size} are few enough to search exactly ({need['flat']:.2g} GB; {limit})"
    if need["ivf"] <= room:
        return "ivf", f"{size} are too many to search exactly, and as they are they take {need['ivf']:.2g} GB ({limit})"
    if need["sq"] <= room:
        return "sq", f"{size} take {need['flat']:.2g} GB as they are, and {need['sq']:.2g} GB at 8 bits a number ({limit})"
    if need["ivfpq"] <= room:
        return "ivfpq", f"{size} take {need['sq']:.2g} GB at 8 bits a number, and less as product codes ({limit})"
    raise ConfigError(
        f"index.memory: {size} need {need['ivfpq']:.2g} GB in the smallest kind of index, {limit}; "
        "allow more, or index fewer spots"
    )


def build_index(
    vectors: Float32[np.ndarray, "spots dim"],
    config: IndexConfig,
    seed: int,
    *,
    queries: Float32[np.ndarray, "queries dim"] | None = None,
    spots: pd.DataFrame | None = None,
    run: str = "",
) -> VectorIndex:
    """Index these vectors; row numbers are their order. The same seed makes the same index with any number of threads.

    Args:
        vectors: what to index.
        config: kind, recall to reach, memory and GPUs.
        seed: draws the training sample and the starts of k-means.
        queries: held-out queries to reach the recall on; made between stored vectors where none are given.
        spots: the spots' table, whose columns a database keeps beside the vectors.
        run: the sha256 of the weights that made the vectors.

    Raises:
        DataError: there are no vectors, or values are not finite.
        MismatchError: the queries are of another width.
        ConfigError: no kind fits into the memory, or the store does not know it.

    """
    return build_chosen(vectors, config, seed, queries=queries, spots=spots, run=run)[0]


def build_chosen(
    vectors: Float32[np.ndarray, "spots dim"],
    config: IndexConfig,
    seed: int,
    *,
    queries: Float32[np.ndarray, "queries dim"] | None = None,
    spots: pd.DataFrame | None = None,
    run: str = "",
) -> tuple[VectorIndex, str]:
    """Do as `build_index` does, and return beside the index why it is of its kind, in a sentence."""
    if not len(vectors):
        raise DataError("there are no vectors to index; expected one for each spot")
    check_vectors(vectors)
    if queries is not None:
        check_queries(queries, 1, vectors.shape[1])
    kind, why = config.kind, f"index.kind is {config.kind}"
    if kind == "auto":
        kind, why = choose_kind(len(vectors), vectors.shape[1], config.memory)
        log.info("index of kind %s: %s", kind, why)
    if config.store == "milvus":
        return _tuned(MilvusIndex.build(config.uri, kind, vectors, spots, run), vectors, queries, config, seed), why
    if kind == "diskann":
        raise ConfigError("index.kind: diskann is a kind of Milvus; set index.store to milvus, or choose hnsw or ivf")
    if kind == "flat":
        return FlatIndex.build(vectors, config.gpu, config.gpus), why
    if kind not in kinds.BUILDERS:
        return OwnIndex.build(kind, vectors, seed), why
    index, attempt = kinds.BUILDERS[kind](vectors, seed, config.gpu), trial(vectors, queries, seed)
    if config.kind == "auto" and kind == "ivf":
        reached = _fewest_lists(index, attempt, config.recall)
        if reached < config.recall or index.nprobe > PAYS * index.nlist:
            lists_needed = f"{index.nprobe} of {index.nlist} lists reach a recall of {reached:.2f}"
            why = f"{lists_needed}, {config.recall:g} was asked for: an exact search takes no longer, or is needed"
            log.info("index of kind flat after all: %s", why)
            return FlatIndex.build(vectors, config.gpu, config.gpus), why
    return ApproximateIndex(tuned(index, attempt, config), config.gpu, config.gpus), why


def load_index(path: Path, *, kind: str = "", gpu: GpuName = "auto", gpus: GpusName = "replicas") -> VectorIndex:
    """Read an index of any kind, with the search parameters it was tuned to; a .json file names a Milvus collection.

    `kind` tells those of other packages.

    Raises:
        DataError: the file is missing or damaged, or holds what bleep does not write.

    """
    if path.suffix == MilvusIndex.suffix:
        return MilvusIndex.load(path)
    if kind and kind not in get_args(KindName):
        return OwnIndex.load(kind, path)
    index = read(path, (faiss.IndexFlat, *CLASSES))
    if isinstance(index, faiss.IndexFlat):
        return FlatIndex.of_file(index, path, gpu, gpus)
    return ApproximateIndex(index, gpu, gpus)


def _tuned(
    index: MilvusIndex,
    vectors: Float32[np.ndarray, "spots dim"],
    queries: Float32[np.ndarray, "queries dim"] | None,
    config: IndexConfig,
    seed: int,
) -> MilvusIndex:
    """Return the collection with the least effort of search that reaches the recall asked for."""
    if index.kind not in EFFORTS:
        return index
    return index.with_effort(tuned_effort(index, trial(vectors, queries, seed), config.recall))


QUERIES = 512
"""Queries made where none are given."""
K = 50
"""Neighbours whose recall is tuned."""
MOST_LISTS, MOST_CANDIDATES = 512, 1024
"""Beyond this effort a search is no longer worth its name."""
MOVE = np.float32(0.7)
"""Share of the difference of two neighbours by which a stored vector is moved to become a query."""
FACTORS = (2, 4, 8)
"""How many times k product codes are ranked again."""


@final
@dataclass(frozen=True, slots=True)
class Trial:
    """Queries with their true neighbours, to measure a search against."""

    vectors: Float32[np.ndarray, "spots dim"]
    """The stored vectors."""
    queries: Float32[np.ndarray, "queries dim"]
    """What is searched for."""
    worst: Float32[np.ndarray, " queries"]
    """The least similarity of a true neighbour."""
    k: int
    """Neighbours looked for."""

    def recalls(self, index: Any) -> Float32[np.ndarray, " queries"]:
        """Return the share of true neighbours found for each query."""
        rows = index.search(self.queries, self.k)[1]
        asked = np.repeat(np.arange(len(rows)), self.k)
        similarity = inner_products(self.vectors, self.queries, asked, np.maximum(rows, 0).reshape(-1)).reshape(rows.shape)
        return ((similarity >= self.worst[:, None]) & (rows >= 0)).mean(axis=1).astype(np.float32)


def trial(vectors: Float32[np.ndarray, "spots dim"], queries: Float32[np.ndarray, "queries dim"] | None, seed: int) -> Trial:
    """Return queries and their true neighbours; where no queries are given, some made between stored vectors."""
    longest = float(np.sqrt(np.einsum("sd,sd->s", vectors, vectors).max()))
    k = min(K, len(vectors))
    asked = between(vectors, longest, seed) if queries is None else np.ascontiguousarray(queries)
    return Trial(vectors, asked, exact_search(vectors, asked, k, longest).similarity[:, -1], k)


def between(vectors: Float32[np.ndarray, "spots dim"], longest: float, seed: int) -> Float32[np.ndarray, "queries dim"]:
    """Return vectors that are not stored but lie as stored ones do: some of them, moved as two of their neighbours differ.

    A stored vector itself would be too easy a query: it stands in its own list, and a graph leads straight to it.
    """
    random = np.random.default_rng(seed)
    start = np.ascontiguousarray(vectors[np.sort(random.permutation(len(vectors))[:QUERIES])])
    near = exact_search(vectors, start, min(K, len(vectors)), longest).rows
    pairs = np.take_along_axis(near, random.integers(0, near.shape[1], (len(near), 2)), axis=1)
    return (start + MOVE * (vectors[pairs[:, 0]] - vectors[pairs[:, 1]])).astype(np.float32)


def tuned(index: Any, attempt: Trial, config: IndexConfig) -> Any:
    """Return the index with the least effort that reaches the recall asked for, or with the most there is and a warning.

    The recall of 512 queries is uncertain: two standard errors are kept in hand, so that others reach it too.
    """
    if isinstance(index, faiss.IndexHNSWFlat):
        reached = _least(
            lambda effort: _set_candidates(index, effort), attempt, index, attempt.k, MOST_CANDIDATES, config.recall
        )
        return _said(index, "efSearch", index.hnsw.efSearch, reached, config.recall)
    if isinstance(index, faiss.IndexIVFPQ):
        return _tuned_codes(index, attempt, config)
    reached = _fewest_lists(index, attempt, config.recall)
    return _said(index, "nprobe", index.nprobe, reached, config.recall)


class _Probe:
    """A collection searched with an effort that changes."""

    def __init__(self, index: MilvusIndex) -> None:
        self.index = index

    def put(self, effort: int) -> None:
        self.index = self.index.with_effort(effort)

    def search(self, queries: Float32[np.ndarray, "queries dim"], k: int) -> tuple[np.ndarray, np.ndarray]:
        found = self.index.search(queries, k)
        return found.similarity, found.rows


def tuned_effort(index: MilvusIndex, attempt: Trial, recall: float) -> int:
    """Return the least effort with which a collection reaches the recall asked for; a warning says where none does."""
    probe, name = _Probe(index), EFFORTS[index.kind]
    most = min(lists(len(index)), MOST_LISTS) if name == "nprobe" else MOST_CANDIDATES
    reached = _least(probe.put, attempt, probe, 1 if name == "nprobe" else attempt.k, most, recall)
    _said(index, name, probe.index.effort, reached, recall)
    return probe.index.effort


def _tuned_codes(coded: Any, attempt: Trial, config: IndexConfig) -> Any:
    """Return product codes refined by the smallest store with which the recall is reached and the memory allows."""
    spots, dim = attempt.vectors.shape
    room = [
        bits for bits in kinds.STORES if config.memory is None or gigabytes("ivfpq", spots, dim, bits) <= config.memory
    ] or [0]
    for bits in room:
        index = kinds.refined(coded, attempt.vectors, bits) if bits else coded
        if bits:
            index.k_factor = FACTORS[-1]
        lists_of(index).nprobe = min(lists_of(index).nlist, MOST_LISTS // 8)
        if bits == room[-1] or _surely(attempt.recalls(index)) >= config.recall:
            break
    reached = _fewest_lists(index, attempt, config.recall)
    if bits and reached >= config.recall:
        lists_of(index).nprobe = min(2 * lists_of(index).nprobe, lists_of(index).nlist)
        for factor in FACTORS:
            index.k_factor = factor
            if _surely(attempt.recalls(index)) >= config.recall:
                break
        reached = _fewest_lists(index, attempt, config.recall)
    log.info("product codes are refined with %d bits a number", bits)
    return _said(index, "nprobe", lists_of(index).nprobe, reached, config.recall)


def _fewest_lists(index: Any, attempt: Trial, target: float) -> float:
    inside = lists_of(index)

    def set_lists(effort: int) -> None:
        inside.nprobe = effort

    return _least(set_lists, attempt, index, 1, min(inside.nlist, MOST_LISTS), target)


def _set_candidates(index: Any, effort: int) -> None:
    index.hnsw.efSearch = effort


def _least(put: Callable[[int], None], attempt: Trial, index: Any, low: int, high: int, target: float) -> float:
    """Put the least effort from `low` to `high` that reaches the target; return the recall reached, surely."""

    def reach(effort: int) -> float:
        put(effort)
        return _surely(attempt.recalls(index))

    below, effort, recall = low - 1, low, reach(low)
    while recall < target and effort < high:
        below, effort = effort, min(2 * effort, high)
        recall = reach(effort)
    while recall >= target and effort - below > max(1, effort // 16):
        middle = (below + effort) // 2
        between = reach(middle)
        if between >= target:
            effort, recall = middle, between
        else:
            below = middle
    put(effort)
    return recall


def _surely(recalls: Float32[np.ndarray, " queries"]) -> float:
    """Return the mean less two standard errors; the mean itself where all agree."""
    return float(recalls.mean() - 2 * recalls.std() / np.sqrt(len(recalls)))


def _said(index: Any, name: str, effort: int, reached: float, target: float) -> Any:
    if reached < target:
        log.warning(
            "the index reaches a recall of %.3f at most, %.3f was asked for; `index.kind: flat` is exact", reached, target
        )
    else:
        log.info("%s = %d reaches a recall of %.3f", name, effort, reached)
    return index
