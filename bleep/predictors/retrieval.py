"""Retrieval: the weighted mean of the nearest measured spots."""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import final

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, Float64, Int64
from scipy import sparse

from bleep.config import WeightsName
from bleep.data.prediction import SCALE, Prediction
from bleep.data.tiles import Tiles
from bleep.errors import DataError, MismatchError
from bleep.records import Neighbors
from bleep.retrieval.embed import embed_queries
from bleep.retrieval.reference import Reference
from bleep.retrieval.reference.expression_store import DenseExpression, ExpressionStore, as_store
from bleep.runs import Run

BUDGET = 2**28
"""Bytes of spots' values, and of sums, held at a time."""
NARROW = 64
"""Genes averaged at a time: their values of some thousand spots stay in the processor's cache."""

Expression = ExpressionStore | Float[np.ndarray, "spots genes"]
Weights = Float32[np.ndarray, "queries k"]
Mean = Float32[np.ndarray, "queries genes"]
Piece = tuple[np.ndarray, Int64[np.ndarray, "queries some"], Float64[np.ndarray, "queries some"]]
"""Values of some spots, and for each query the places of its neighbours among them with their weights."""


def weighted_mean(expression: Expression, neighbors: Neighbors, weights: Weights) -> Mean:
    """Return the weighted mean of the neighbours' expression, in single precision."""
    store = as_store(expression)
    check_rows(neighbors.rows, store.shape[0])
    out = np.zeros((len(weights), store.shape[1]), np.float32)
    for queries in _queries(store, neighbors.rows):
        for table, places, share in _pieces(store, neighbors.rows[queries], weights[queries].astype(np.float64)):
            at, by = torch.from_numpy(places), torch.from_numpy(share.astype(np.float32))
            for genes in _genes(store):
                values = torch.from_numpy(np.array(table[:, genes], dtype=np.float32, order="C"))
                part = torch.nn.functional.embedding_bag(at, values, per_sample_weights=by, mode="sum")
                out[queries, genes] += part.numpy()
    return out


def check_rows(rows: Int64[np.ndarray, "queries k"], spots: int) -> None:
    """Refuse neighbours that are no rows of a table, as a damaged index or rehearsal names them.

    Raises:
        DataError: see above.

    """
    if rows.size and not 0 <= rows.min() <= rows.max() < spots:
        raise DataError(
            f"neighbours are rows {rows.min()} to {rows.max()} of a table of {spots} spots: what they were read from is "
            "damaged; run `bleep index build`, or `bleep calibrate`, again"
        )


def averaged(expression: Expression, neighbors: Neighbors, weights: Weights) -> tuple[Mean, Mean]:
    """Return the weighted mean and standard deviation of the neighbours' expression.

    The variance is the mean square less the squared mean, in double precision and of values from which a mean of their gene
    was taken first, so that nothing which single precision would show is lost to rounding.
    """
    store = as_store(expression)
    check_rows(neighbors.rows, store.shape[0])
    mean, spread = (np.zeros((len(weights), store.shape[1]), np.float32) for _ in range(2))
    for queries in _queries(store, neighbors.rows):
        share = weights[queries].astype(np.float64)
        mean[queries], spread[queries] = _moments(store, neighbors.rows[queries], share / share.sum(axis=1, keepdims=True))
    return mean, spread


def _moments(
    store: ExpressionStore, rows: Int64[np.ndarray, "queries k"], weights: Float64[np.ndarray, "queries k"]
) -> tuple[Float64[np.ndarray, "queries genes"], Float64[np.ndarray, "queries genes"]]:
    """Return mean and standard deviation of some queries at once."""
    centre, firsts, seconds = np.zeros(store.shape[1]), *np.zeros((2, len(rows), store.shape[1]))
    for number, (table, places, share) in enumerate(_pieces(store, rows, weights)):
        ends = np.arange(len(places) + 1) * places.shape[1]
        matrix = sparse.csr_matrix((share.ravel(), places.ravel(), ends), shape=(len(places), len(table)))
        for genes in _genes(store):
            values = table[:, genes].astype(np.float64)
            if number == 0:
                centre[genes] = values.mean(axis=0)
            values -= centre[genes]
            both = matrix @ np.concatenate([values, values**2], axis=1)
            firsts[:, genes] += both[:, : values.shape[1]]
            seconds[:, genes] += both[:, values.shape[1] :]
    return firsts + centre, np.sqrt(np.maximum(seconds - firsts**2, 0))


def _queries(store: ExpressionStore, rows: Int64[np.ndarray, "queries k"]) -> Iterator[slice]:
    """Yield the queries in blocks whose neighbours' values, and whose sums, stay within the budget."""
    genes, k = max(1, store.shape[1]), max(1, rows.shape[1])
    step = BUDGET // (16 * genes)
    if not _fits(store):
        step = min(step, BUDGET // (4 * genes * k))
    for start in range(0, len(rows), max(1, step)):
        yield slice(start, min(start + max(1, step), len(rows)))


def _pieces(
    store: ExpressionStore, rows: Int64[np.ndarray, "queries k"], weights: Float64[np.ndarray, "queries k"]
) -> Iterator[Piece]:
    """Yield the values some queries need; several pieces where the neighbours of one are beyond the budget."""
    if store.form != "sparse" and _fits(store) and len(store) <= rows.size:
        yield store.values if isinstance(store, DenseExpression) else store.rows(np.arange(len(store))), rows, weights
        return
    step = max(1, rows.shape[1] if _fits(store) else BUDGET // (4 * max(1, store.shape[1]) * len(rows)))
    for start in range(0, rows.shape[1], step):
        here, places = np.unique(rows[:, start : start + step], return_inverse=True)
        yield store.rows(here), places.reshape(len(rows), -1).astype(np.int64), weights[:, start : start + step]


def _fits(store: ExpressionStore) -> bool:
    return 4 * store.shape[0] * store.shape[1] <= BUDGET


def _genes(store: ExpressionStore) -> Iterator[slice]:
    for start in range(0, store.shape[1], NARROW):
        yield slice(start, start + NARROW)


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


log = logging.getLogger(__name__)


@final
class RetrievalPredictor:
    """Weighted top-k of a reference (Xie et al., NeurIPS 2023)."""

    name = "retrieval"

    def __init__(
        self,
        run: Run,
        reference: Reference,
        k: int | None = None,
        weights: WeightsName | None = None,
        temperature: float | None = None,
    ) -> None:
        """Join a run and its reference; `k`, `weights` and their temperature default to the run's settings.

        Raises:
            MismatchError: the reference belongs to another run.

        """
        reference.check(run)
        self.run, self.reference = run, reference
        self.k = run.config.query.k if k is None else k
        self.weights = run.config.query.weights if weights is None else weights
        self.temperature = run.config.query.temperature if temperature is None else temperature
        self._told = False

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict; the spread, the neighbours and their weights come with it."""
        answering = len(self.reference) if self.reference.where is None else len(self.reference.where.rows)
        if self.k > answering and not self._told:
            log.warning("k is %d, but %d reference spots may answer: all of them are averaged", self.k, answering)
            self._told = True
        neighbors = self.reference.search(embed_queries(self.run, tiles, self.reference.keys), self.k)
        weights = WEIGHTS[self.weights](neighbors.similarity, self.temperature)
        mean, spread = averaged(self.reference.expression, neighbors, weights)
        return Prediction(
            mean,
            tiles,
            self.run.panel.genes,
            SCALE if self.run.model.classifies else self.run.panel.describe(),
            f"{self.name}, k = {neighbors.rows.shape[1]}, {self.weights} weights",
            spread=spread,
            neighbors=neighbors,
            weights=weights,
        )


def neighbor_table(prediction: Prediction, reference: Reference) -> pd.DataFrame:
    """Return one row for each tile and each reference spot it used: tile, rank, spot, similarity, weight.

    Where spots are found by more than their expression (`index.keys`), `found_by` says so.
    """
    if prediction.neighbors is None or prediction.weights is None:
        raise MismatchError(f"{prediction.predictor} used no neighbours, so there is no table of them")
    rows = prediction.neighbors.rows
    k = rows.shape[1]
    table = pd.DataFrame(
        {
            "tile": np.repeat(prediction.spots.index.to_numpy(), k),
            "rank": np.tile(np.arange(1, k + 1), len(rows)),
            "spot": reference.spots.index.to_numpy()[rows.ravel()],
            "similarity": prediction.neighbors.similarity.ravel(),
            "weight": prediction.weights.ravel(),
        }
    )
    return table if reference.keys == "expression" else table.assign(found_by=reference.keys)
