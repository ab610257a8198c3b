"""How well a tile finds its own spot among many: the rank of the true spot, recall@k and the median rank."""

import numpy as np
from jaxtyping import Float32, Int64

from bleep.errors import DataError, MismatchError

BLOCK = 2048
"""Queries compared at a time, so that memory stays small."""
SHOWN = (1, 10, 50)
"""Values of k that recall is told for."""


def true_ranks(
    queries: Float32[np.ndarray, "queries dim"], spots: Float32[np.ndarray, "spots dim"]
) -> Int64[np.ndarray, " queries"]:
    """Return, for each query, the rank of the spot in its own row by inner product; 1 is the best.

    Spots as similar as the true one count as before it, so that equal vectors gain nothing.

    Raises:
        MismatchError: the tables differ in shape.
        DataError: a value is not a number.

    """
    if queries.shape != spots.shape:
        raise MismatchError(f"queries of shape {queries.shape} came with spots of {spots.shape}: expected one a query")
    if not (np.isfinite(queries).all() and np.isfinite(spots).all()):
        raise DataError("embeddings hold values that are not numbers, so nothing can be ranked")
    ranks = np.empty(len(queries), dtype=np.int64)
    for start in range(0, len(queries), BLOCK):
        block = queries[start : start + BLOCK] @ spots.T
        own = block[np.arange(len(block)), start + np.arange(len(block))]
        ranks[start : start + BLOCK] = (block >= own[:, None]).sum(axis=1)
    return ranks


def ranking_scores(ranks: Int64[np.ndarray, " spots"]) -> dict[str, float]:
    """Return recall at 1, 10 and 50, the median rank as a share of the spots, and how many times chance recall@10 is.

    Chance is k of n for recall@k and a half for the median rank.
    """
    many = len(ranks)
    scores = {f"recall_{k}": float((ranks <= k).mean()) for k in SHOWN}
    chance = min(10 / many, 1.0)
    return scores | {"recall_10_over_chance": scores["recall_10"] / chance, "median_rank": float(np.median(ranks)) / many}
