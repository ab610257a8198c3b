"""Several predictors as one: the mean of what they predict."""

from collections.abc import Sequence
from typing import final

import numpy as np

from bleep.errors import MismatchError
from bleep.prediction.predictor import Predictor
from bleep.records import Prediction
from bleep.tissue.tiles import Tiles


@final
class MeanOfPredictors:
    """The plain mean of its members' predictions, tile by tile and gene by gene, on the normalised scale.

    Retrieval and regression err differently, so their mean errs less than either (for squared error always less than they
    do on average). Nothing is fitted.
    """

    def __init__(self, members: Sequence[Predictor], name: str = "combined") -> None:
        if not members:
            raise MismatchError("a mean of predictors was asked for without any: give at least one")
        self.members, self._name = tuple(members), name

    @property
    def name(self) -> str:
        """How tables call it."""
        return self._name

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict with every member and take the mean.

        Raises:
            MismatchError: members predict other genes, or on other scales.

        """
        predictions = [member.predict(tiles) for member in self.members]
        first = predictions[0]
        for other in predictions[1:]:
            if (other.genes, other.scale) != (first.genes, first.scale):
                raise MismatchError(
                    f"{first.predictor} predicts {len(first.genes)} genes as {first.scale}, {other.predictor} "
                    f"{len(other.genes)} as {other.scale}: predictors that are combined must share genes and scale"
                )
        stacked = np.stack([prediction.expression.astype(np.float64) for prediction in predictions])
        mean = stacked.mean(axis=0).astype(np.float32)
        return Prediction(mean, first.spots, first.genes, first.scale, self.name)
