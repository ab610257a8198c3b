"""How much each neighbour counts: from similarities to weights that sum to one."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float32

from bleep.settings import WeightsName

Rows = Float32[np.ndarray, "queries k"]

LEAST = 5
"""Neighbours that adaptive weights always use."""


def uniform(similarity: Rows, temperature: float) -> Rows:
    """Weigh every neighbour alike, as BLEEP does (Xie et al., NeurIPS 2023)."""
    return np.full_like(similarity, 1.0 / similarity.shape[1])


def softmax(similarity: Rows, temperature: float) -> Rows:
    """Weigh by the softmax of similarity over temperature."""
    shifted = (similarity - similarity.max(axis=1, keepdims=True)) / temperature
    powers = np.exp(shifted.astype(np.float64))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def inverse_distance(similarity: Rows, temperature: float) -> Rows:
    """Weigh by one over the Euclidean distance; of unit vectors it is the root of 2 - 2 similarity, as in the search.

    For embeddings that are not of unit length the similarities are first divided by the largest of their query.
    """
    top = np.maximum(similarity.max(axis=1, keepdims=True), 1.0)
    distance = np.sqrt(np.maximum(2 - 2 * (similarity / top).astype(np.float64), 1e-8))
    inverse = 1 / distance
    return (inverse / inverse.sum(axis=1, keepdims=True)).astype(np.float32)


def adaptive(similarity: Rows, temperature: float) -> Rows:
    """Weigh alike the neighbours less than `temperature` below the most similar, and at least the first five; others get 0.

    So a tile with many near matches averages over many of them, and one with few over few.
    """
    near = similarity >= similarity[:, :1] - temperature
    near[:, :LEAST] = True
    return (near / near.sum(axis=1, keepdims=True)).astype(np.float32)


WEIGHTS: Mapping[WeightsName, Callable[[Rows, float], Rows]] = {
    "uniform": uniform,
    "softmax": softmax,
    "distance": inverse_distance,
    "adaptive": adaptive,
}
