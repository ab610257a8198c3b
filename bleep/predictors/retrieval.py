"""Retrieval: a tile gets the weighted mean of the measured spots that lie nearest to it in the shared space."""

import logging
from typing import final

import numpy as np
import pandas as pd

from bleep.config import WeightsName
from bleep.data.prediction import Prediction
from bleep.data.tiles import Tiles
from bleep.errors import MismatchError
from bleep.predictors.neighbor_mean import WEIGHTS, averaged
from bleep.retrieval.embed import embed_queries
from bleep.retrieval.reference import Reference
from bleep.runs import Run

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
        answering = len(reference) if reference.where is None else len(reference.where.rows)
        if self.k > answering:
            log.warning("k is %d, but %d reference spots may answer: all of them are averaged", self.k, answering)

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict; the spread, the neighbours and their weights come with it."""
        neighbors = self.reference.search(embed_queries(self.run, tiles, self.reference.keys), self.k)
        weights = WEIGHTS[self.weights](neighbors.similarity, self.temperature)
        mean, spread = averaged(self.reference.expression, neighbors, weights)
        return Prediction(
            mean,
            tiles,
            self.run.panel.genes,
            self.run.panel.words(),
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
