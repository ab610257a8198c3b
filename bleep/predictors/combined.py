"""The combined predictor: retrieval, regression and ridge joined by what rehearsals taught, with intervals and familiarity."""

from typing import final

import numpy as np

from bleep.config import ABSTAIN
from bleep.data.prediction import Prediction
from bleep.data.tiles import Tiles
from bleep.errors import ConfigError, DataError
from bleep.predictors import Predictor, predicted_by, restore_other
from bleep.predictors.baselines import RegressionPredictor, RidgePredictor
from bleep.predictors.calibration import Calibration
from bleep.predictors.members import SimplePredictor
from bleep.predictors.retrieval import RetrievalPredictor
from bleep.retrieval.embed import raw_features, tile_features
from bleep.retrieval.reference import Reference
from bleep.runs import Run


@final
class CombinedPredictor:
    """Members joined gene by gene by a corrector that was fitted on left-out training tissue."""

    name = "combined"

    def __init__(self, run: Run, reference: Reference | None, calibration: Calibration, abstain: float | None = None) -> None:
        """Join a run, its reference where it retrieves, and its calibration.

        With `abstain`, tiles of lower familiarity are marked.

        Raises:
            MismatchError: the calibration or the reference belongs to another run.
            DataError: the run retrieves, and there is no reference.
            ConfigError: `abstain` is no share.

        """
        calibration.check(run)
        if abstain is not None and not 0 < abstain < 1:
            raise ConfigError(f"abstain is {abstain:g}; expected a share between 0 and 1, such as {ABSTAIN}")
        self.run, self.calibration, self.abstain = run, calibration, abstain
        self.members: dict[str, Predictor] = {}
        if "retrieval" in calibration.stacker.members and calibration.weighting is not None:
            if reference is None:
                raise DataError("the combined predictor retrieves from an index: make it with `bleep index build`")
            how = calibration.weighting
            self.members["retrieval"] = RetrievalPredictor(run, reference, how.k, how.weights, how.temperature)
        if "regression" in calibration.stacker.members:
            self.members["regression"] = RegressionPredictor(run)
        if calibration.ridge is not None:
            self.members["ridge"] = RidgePredictor(run, calibration.ridge, "ridge", tile_features)
        self.members |= {name: SimplePredictor(run, name, fitted) for name, fitted in calibration.simple.items()}
        self._others = {
            origin.name: restore_other(origin.name, run, calibration.others[origin.name], origin)
            for origin in calibration.origins
        }

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict; intervals and familiarity come with it, and where the run retrieves, spread and neighbours.

        Values beyond the calibration's bounds are brought to them, and their tiles are marked as `bounded`.
        """
        predictions = {name: member.predict(tiles) for name, member in self.members.items()}
        values = {name: one.expression for name, one in predictions.items()}
        values |= {name: predicted_by(member, tiles, self.run.panel.genes) for name, member in self._others.items()}
        expression = self.calibration.stacker.apply(values)
        retrieval = predictions.get("retrieval")
        spread = None if retrieval is None else retrieval.spread
        familiarity = self.calibration.familiarity
        distance = familiarity.cloud.distance(raw_features(self.run, tiles))
        half = self.calibration.conformal.half_width(expression.shape, spread, self.run.config.query.interval, distance)
        share = familiarity.of(distance)
        marks: dict[str, np.ndarray] = {"distance": distance.astype(np.float32), "familiarity": share.astype(np.float32)}
        if self.calibration.bounds is not None:
            held = np.clip(expression, *self.calibration.bounds).astype(np.float32)
            marks["bounded"] = (held != expression).any(axis=1)
            expression = held
        if self.abstain is not None:
            marks["abstain"] = share < self.abstain
        return Prediction(
            expression,
            tiles,
            self.run.panel.genes,
            self.run.panel.describe(),
            f"{self.name} of {', '.join(values)}",
            spread=spread,
            neighbors=None if retrieval is None else retrieval.neighbors,
            weights=None if retrieval is None else retrieval.weights,
            lower=expression - half,
            upper=expression + half,
            marks=marks,
            confidence=None if self.calibration.confidence is None else self.calibration.confidence.frame(self.run.panel.genes),
        )
