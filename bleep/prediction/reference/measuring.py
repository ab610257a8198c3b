"""How well and how fast an index answers."""

from typing import Any

import numpy as np
from jaxtyping import Float32

from bleep.prediction.search import VectorIndex, measure

QUERIES = 512
"""Tiles that an index is tuned and measured on, half and half; or stored vectors that it is measured on."""


def measured_on(
    index: VectorIndex, vectors: Float32[np.ndarray, "spots dim"], queries: Float32[np.ndarray, "queries dim"], k: int
) -> dict[str, Any]:
    """Return recall against exact search and speed; without queries, on evenly taken stored vectors."""
    asked = queries if len(queries) else vectors[evenly(len(vectors), QUERIES)]
    found = measure(index, vectors, np.asarray(asked), min(k, len(vectors)))
    return {
        "recall": found.recall_at_k,
        "k": k,
        "queries": found.queries,
        "queries_are": "tiles" if len(queries) else "stored vectors",
        "milliseconds_per_query": found.milliseconds_per_query,
        "bytes_per_vector": found.bytes_per_vector,
    }


def evenly(length: int, count: int) -> np.ndarray:
    """Return at most so many rows, evenly taken."""
    return np.linspace(0, length - 1, min(length, count), dtype=np.int64)
