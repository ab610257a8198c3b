"""What every predictor is: tiles in, a prediction out; so all of them can be compared, and none predicts twice."""

from collections.abc import Mapping
from typing import Protocol, final, runtime_checkable

import numpy as np

from bleep import registry
from bleep.data.prediction import Prediction
from bleep.data.section import Section
from bleep.data.tiles import Tiles, TileSpec
from bleep.errors import ConfigError, DataError, MismatchError
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


Arrays = Mapping[str, np.ndarray]


@runtime_checkable
class FittedPredictor(Predictor, Protocol):
    """A predictor of another package: fitted on training tiles alone, as ridge is, and kept as arrays in a calibration."""

    @classmethod
    def fit(cls, run: Run, tiles: Tiles) -> "FittedPredictor":
        """Fit on the tiles of training sections, whose measured values `run.panel.training_values` gives."""
        ...

    @classmethod
    def restore(cls, run: Run, arrays: Arrays) -> "FittedPredictor":
        """Make it again from `arrays()`, without training tiles."""
        ...

    def arrays(self) -> Arrays:
        """Return all that it has learnt, to be written without pickle."""
        ...


def fit_other(name: str, run: Run, tiles: Tiles) -> FittedPredictor:
    """Fit a predictor that another package lists among its `bleep.predictors`.

    Raises:
        ConfigError: no package lists it, or it lacks one of `name`, `fit`, `restore`, `arrays`, `predict`.

    """
    return _checked(registry.load("predictors", name).fit(run, tiles), name)


def restore_other(name: str, run: Run, arrays: Arrays, origin: registry.Origin) -> FittedPredictor:
    """Make a fitted predictor again from its arrays.

    Raises:
        DataError: the package it is of is not installed.

    """
    if name not in registry.names("predictors"):
        raise DataError(f"the calibration joins the predictor {name} of {origin.describe()}")
    return _checked(registry.load("predictors", name).restore(run, arrays), name)


def predicted_by(predictor: Predictor, tiles: Tiles, genes: tuple[str, ...]) -> np.ndarray:
    """Return what another's predictor predicts, Float32[tiles genes], checked.

    Raises:
        MismatchError: it predicts other genes or another number of tiles.
        DataError: it predicts what is not a number.

    """
    found = predictor.predict(tiles)
    if found.genes != genes or len(found.expression) != len(tiles):
        raise MismatchError(
            f"{predictor.name}: predicted {len(found.expression)} tiles and {len(found.genes)} genes; "
            f"expected {len(tiles)} tiles and the panel's {len(genes)} genes in its order"
        )
    if not np.isfinite(found.expression).all():
        raise DataError(f"{predictor.name}: predicted values that are not numbers")
    return found.expression.astype(np.float32)


def _checked(predictor: object, name: str) -> FittedPredictor:
    if not isinstance(predictor, FittedPredictor):
        lacks = [part for part in ("name", "predict", "arrays", "fit", "restore") if part not in dir(predictor)]
        raise ConfigError(f"{name}: is no predictor that bleep can use, since it lacks {', '.join(lacks)}")
    return predictor


Key = tuple[tuple[int, ...], TileSpec]


@final
class Remembered:
    """A predictor beside its last predictions, by the sections themselves: the same tissue is not predicted again.

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
            self._found[key] = tiles.sections, prediction
        return self._found[key][1]


def plain(predictor: Predictor) -> Predictor:
    """Return the predictor itself, without its memory."""
    return predictor.predictor if isinstance(predictor, Remembered) else predictor
