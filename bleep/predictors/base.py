"""What every predictor is: tiles in, a prediction out; so all of them can be compared."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from bleep import registry
from bleep.data.prediction import Prediction
from bleep.data.tiles import Tiles
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
