"""Nearest neighbours by inner product: exact, or faster with a recall that is measured; on GPUs where FAISS finds them."""

import logging
import time
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float32

from bleep.retrieval.index.approximate import keeps
from bleep.retrieval.index.base import VectorIndex, check_vectors, facts
from bleep.retrieval.index.factory import build_chosen, build_index, choose_kind, load_index
from bleep.retrieval.index.flat import FlatIndex, exact_search, inner_products
from bleep.retrieval.index.where import Where, select

__all__ = [
    "FlatIndex",
    "Measured",
    "VectorIndex",
    "Where",
    "build_chosen",
    "build_index",
    "choose_kind",
    "facts",
    "keeps",
    "load_index",
    "measure",
    "select",
]

log = logging.getLogger(__name__)

REPEATS, PATIENCE = 5, 5.0
"""Searches timed at most, and the seconds after which no other begins."""
WORTH = 0.5
"""Seconds that an exact search takes at least where it is told that it would be the faster one."""


@final
@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of an index."""

    recall_at_k: float
    """Share of the true k nearest that it finds."""
    queries: int
    """Queries asked."""
    k: int
    """Neighbours of each."""
    milliseconds_per_query: float
    """Median over a few searches of all queries at once, divided by their number."""
    bytes_per_vector: float
    """Size of its file for each vector."""


def measure(
    index: VectorIndex, vectors: Float32[np.ndarray, "spots dim"], queries: Float32[np.ndarray, "queries dim"], k: int
) -> Measured:
    """Return recall, speed and size of an index of these vectors; an exact search that is faster is warned of.

    A row counts as found when it is as similar as the last of the true neighbours: of equal ones any will do.

    Raises:
        DataError: vectors or queries are not finite.

    """
    check_vectors(vectors, "vectors of the index")
    check_vectors(queries, "queries that an index is measured on")
    k = min(k, len(vectors))
    longest = float(np.sqrt(np.einsum("sd,sd->s", vectors, vectors).max()))
    began = time.perf_counter()
    worst = exact_search(vectors, queries, k, longest).similarity[:, -1]
    exact = time.perf_counter() - began
    times: list[float] = []
    began = time.perf_counter()
    while not times or (len(times) < REPEATS and time.perf_counter() - began < PATIENCE):
        at = time.perf_counter()
        found = index.search(queries, k)
        times.append(time.perf_counter() - at)
    asked = np.repeat(np.arange(len(queries)), k)
    similarity = inner_products(vectors, queries, asked, found.rows.reshape(-1)).reshape(found.rows.shape)
    recall = float((similarity >= worst[:, None]).mean())
    took = float(np.median(times))
    if index.kind != "flat" and WORTH <= exact < took:
        each, of_exact = (1e3 * seconds / len(queries) for seconds in (took, exact))
        log.warning(
            "the index of kind %s takes %.3g ms a query, at a recall of %.3f, where an exact search takes %.3g ms: "
            "set index.kind to flat, or ask for less index.recall",
            index.kind, each, recall, of_exact,
        )  # fmt: skip
    return Measured(recall, len(queries), k, 1e3 * took / len(queries), index.stored_bytes() / len(index))
