"""Predictors: each takes tiles and returns a prediction; what one is, and the mean of several."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol, final, runtime_checkable

import numpy as np

from bleep.data.prediction import Prediction
from bleep.data.section import Section
from bleep.data.tiles import Tiles, TileSpec
from bleep.errors import MismatchError
from bleep.runs import Run


@runtime_checkable
class Predictor(Protocol):
    """Predicts expression from tiles."""

    @property
    def name(self) -> str:
        """How tables call it."""
        ...

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict the panel's genes for each tile, on the normalised scale.

        Raises:
            MismatchError: the tiles are cut otherwise than the run's, or of another species.

        """
        ...


Key = tuple[tuple[int, ...], TileSpec]


@final
class Remembered:
    """A predictor beside its last predictions, by the sections themselves: the same tissue is not predicted again.

    Their values can only be read: whoever changed them in place would change them for all who ask after him.

    Memory: `keep` predictions of tiles x genes; one by default, which serves a mean of several predictors.
    """

    def __init__(self, predictor: Predictor, keep: int = 1) -> None:
        self.predictor, self.keep = predictor, keep
        self._found: dict[Key, tuple[tuple[Section, ...], Prediction]] = {}

    @property
    def name(self) -> str:
        """The predictor's own."""
        return self.predictor.name

    def predict(self, tiles: Tiles) -> Prediction:
        """Return what was predicted of these tiles before, or predict them."""
        key = tuple(map(id, tiles.sections)), tiles.spec
        if key not in self._found:
            prediction = self.predictor.predict(tiles)
            while len(self._found) >= self.keep:
                del self._found[next(iter(self._found))]
            # The sections are held too, so that no other section can take the number of one that is gone.
            self._found[key] = tiles.sections, _kept(prediction)
        return self._found[key][1]


def _kept(prediction: object) -> Any:
    """Return a prediction whose arrays can only be read; they are not copied. What is no prediction, as it is."""
    if not isinstance(prediction, Prediction):
        return prediction
    adata = prediction.adata
    return prediction.replaced(
        X=_only_read(adata.X),
        layers={name: _only_read(table) for name, table in prediction.layers.items()},
        obsm={name: _only_read(table) for name, table in adata.obsm.items()},
    )


def _only_read(array: Any) -> Any:
    if not isinstance(array, np.ndarray):
        return array
    view = array.view()
    view.flags.writeable = False
    return view


def plain(predictor: Predictor) -> Predictor:
    """Return the predictor itself, without its memory, of which one may lie around another."""
    while isinstance(predictor, Remembered):
        predictor = predictor.predictor
    return predictor


@final
class MeanOfPredictors:
    """The plain mean of its members' predictions, tile by tile and gene by gene, on the normalised scale.

    Retrieval and regression err differently, so their mean errs less than either (for squared error always less than they
    do on average). Nothing is fitted. Where one member retrieves, its neighbours and their spread come with the mean.
    """

    def __init__(self, members: Sequence[Predictor], name: str = "mean of both") -> None:
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
        mean = joined(predictions, tiles, [1 / len(predictions)] * len(predictions), self.name)
        retrieved = [prediction for prediction in predictions if prediction.neighbors is not None]
        if len(retrieved) != 1:
            return mean
        (one,) = retrieved
        return mean.replaced(layers={"spread": one.spread}, obsm=one.adata.obsm)


@final
class Ensemble:
    """Runs as one predictor: the weighted mean of what each predicts of tiles cut as it wants them."""

    name = "ensemble"

    def __init__(self, runs: Sequence[Run], members: Sequence[Predictor], weights: Sequence[float], digest: str = "") -> None:
        """Join runs and the predictor of each; the weights are brought to a sum of 1.

        Raises:
            MismatchError: there are none, or not one predictor and one weight of 0 or more for each.

        """
        if not runs or len(runs) != len(members) or len(runs) != len(weights):
            raise MismatchError(f"an ensemble of {len(runs)} runs was given {len(members)} predictors, {len(weights)} weights")
        if not min(weights) >= 0 or not 0 < sum(weights) < float("inf"):
            raise MismatchError(f"the weights of an ensemble are {list(weights)}; expected numbers of 0 or more, not all 0")
        self.runs, self.members, self.digest = tuple(runs), tuple(members), digest
        self.weights = tuple(weight / sum(weights) for weight in weights)

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict with every run and take the mean.

        Raises:
            MismatchError: the runs predict other genes, or on other scales.

        """
        cut = (replace(tiles, spec=run.spec) for run in self.runs)
        predictions = [member.predict(mine) for member, mine in zip(self.members, cut, strict=True)]
        return joined(predictions, tiles, self.weights, f"{self.name} of {len(self.runs)} runs")


def joined(predictions: Sequence[Prediction], tiles: Tiles, weights: Sequence[float], name: str) -> Prediction:
    """Return the weighted mean of predictions of the same tiles.

    Raises:
        MismatchError: they are of other genes, or on other scales.

    """
    first = predictions[0]
    for other in predictions[1:]:
        if (other.genes, other.scale) != (first.genes, first.scale):
            raise MismatchError(
                f"{first.predictor} predicts {len(first.genes)} genes as {first.scale}, {other.predictor} "
                f"{len(other.genes)} as {other.scale}: predictors that are combined must share genes and scale"
            )
    stacked = np.stack([prediction.expression.astype(np.float64) for prediction in predictions])
    mean = np.tensordot(np.asarray(weights), stacked, axes=1).astype(np.float32)
    return Prediction(mean, tiles, first.genes, first.scale, name)
