"""How good and how fast an index is: against exact search, on queries that it does not hold."""

import time
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float32

from bleep.prediction.search.exact import exact_search, inner_products
from bleep.prediction.search.protocol import VectorIndex

REPEATS, PATIENCE = 5, 5.0
"""Searches timed at most, and the seconds after which no other begins."""


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
    """Return recall, speed and size of an index of these vectors.

    A row counts as found when it is as similar as the last of the true neighbours: of equal ones any will do.
    """
    k = min(k, len(vectors))
    longest = float(np.sqrt(np.einsum("sd,sd->s", vectors, vectors).max()))
    worst = exact_search(vectors, queries, k, longest).similarity[:, -1]
    times: list[float] = []
    began = time.perf_counter()
    while not times or (len(times) < REPEATS and time.perf_counter() - began < PATIENCE):
        at = time.perf_counter()
        found = index.search(queries, k)
        times.append(time.perf_counter() - at)
    asked = np.repeat(np.arange(len(queries)), k)
    similarity = inner_products(vectors, queries, asked, found.rows.reshape(-1)).reshape(found.rows.shape)
    recall = float((similarity >= worst[:, None]).mean())
    return Measured(recall, len(queries), k, 1e3 * float(np.median(times)) / len(queries), index.stored_bytes() / len(index))


def measured_recall(index: VectorIndex, vectors: Float32[np.ndarray, "spots dim"], k: int = 10, sample: int = 200) -> float:
    """Return the share of true nearest neighbours that the index finds, over evenly taken stored vectors."""
    queries = vectors[np.linspace(0, len(vectors) - 1, min(sample, len(vectors)), dtype=np.int64)]
    return measure(index, vectors, np.ascontiguousarray(queries), k).recall_at_k
