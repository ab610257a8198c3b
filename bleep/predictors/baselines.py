"""Floors that every model has to beat: the mean, ridge on features, ridge on colour alone, and image neighbours."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int

from bleep.data.prediction import Prediction
from bleep.data.section import Section
from bleep.data.tiles import Tiles
from bleep.errors import MismatchError
from bleep.features import FeatureReader, Features
from bleep.models.factory import build_trunks, without_weights
from bleep.models.heads import RunningStats, floored
from bleep.models.image import ReadyTrunk
from bleep.predictors import Predictor
from bleep.predictors.retrieval import weighted_mean
from bleep.retrieval.embed import check_tiles, through_head, tile_features
from bleep.retrieval.index import FlatIndex
from bleep.runs import Run

ALPHAS = tuple(10.0**power for power in np.arange(0, 6.5, 0.5))
"""Penalties tried, for standardised features: with n spots, n is a shrinkage by half along a direction of unit variance."""


@final
@dataclass(frozen=True, slots=True)
class Ridge:
    """A fitted linear map from features to values."""

    mean: Float64[np.ndarray, " features"]
    spread: Float64[np.ndarray, " features"]
    offset: Float64[np.ndarray, " genes"]
    coefficients: Float64[np.ndarray, "features genes"]
    alpha: float
    """The penalty chosen."""

    def predict(self, features: Float32[np.ndarray, "spots features"]) -> Float32[np.ndarray, "spots genes"]:
        """Return the predicted values."""
        out: np.ndarray = (((features - self.mean) / self.spread) @ self.coefficients + self.offset).astype(np.float32)
        return out


def fit_ridge(
    features: Float32[np.ndarray, "spots features"],
    values: Float32[np.ndarray, "spots genes"],
    groups: Int[np.ndarray, " spots"],
    alphas: tuple[float, ...] = ALPHAS,
) -> Ridge:
    """Fit by minimising squared error + alpha x squared coefficients; features are standardised, the offset is free.

    Alpha is the one of least squared error over the groups, each held out once.
    """
    errors = np.zeros(len(alphas))
    for group in np.unique(groups):
        held = groups == group
        fitted = solve_ridge(features[~held], values[~held], alphas)
        errors += [float(((ridge.predict(features[held]) - values[held]) ** 2).sum()) for ridge in fitted]
    best = alphas[int(np.argmin(errors))]
    return solve_ridge(features, values, (best,))[0]


def solve_ridge(features: np.ndarray, values: np.ndarray, alphas: tuple[float, ...]) -> list[Ridge]:
    """Return a ridge of each penalty, all from one decomposition of the smaller of the two Gram matrices."""
    mean, spread = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    spread = floored(spread)
    offset = values.mean(axis=0, dtype=np.float64)
    x, y = (features - mean) / spread, values - offset
    wide = x.shape[1] > x.shape[0]
    eigenvalues, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    eigenvalues = np.maximum(eigenvalues, 0.0)
    turned = vectors.T @ (y if wide else x.T @ y)
    out = []
    for alpha in alphas:
        solved = vectors @ (turned / (eigenvalues + alpha)[:, None])
        out.append(Ridge(mean, spread, offset, x.T @ solved if wide else solved, alpha))
    return out


CV_BLOCKS = 5
"""Groups of neighbouring spots that ridge's penalty is chosen on, when all training spots are of one section."""


@final
class MeanPredictor:
    """The mean of the training spots, for every tile."""

    name = "mean"

    def __init__(self, run: Run) -> None:
        self.run = run

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict the same values for every tile."""
        check_tiles(self.run, tiles)
        return _prediction(self.run, tiles, np.tile(self.run.panel.mean.astype(np.float32), (len(tiles), 1)), self.name)


@final
class RidgePredictor:
    """Ridge from the features of the run's trunk, or from colour alone."""

    def __init__(
        self,
        run: Run,
        ridge: Ridge,
        name: str,
        describe: Callable[[Run, Tiles], Features],
        fitted_on: tuple[Section, ...] = (),
    ) -> None:
        """Join a run and a ridge; `fitted_on` are the sections it was fitted on, where these are not the run's own."""
        self.run, self.ridge, self.name, self._describe, self.fitted_on = run, ridge, name, describe, fitted_on

    @classmethod
    def fit(cls, run: Run, tiles: Tiles) -> "RidgePredictor":
        """Fit on training tiles, from the features the run's own heads stand on."""
        return cls(run, _fitted(run, tiles, tile_features), "ridge", tile_features, tiles.sections)

    @classmethod
    def fit_colour(cls, run: Run, tiles: Tiles) -> "RidgePredictor":
        """Fit on training tiles, from mean and spread of R, G, B in the smallest window."""
        return cls(run, _fitted(run, tiles, colours), "ridge on colour", colours, tiles.sections)

    @classmethod
    def fit_random(cls, run: Run, tiles: Tiles) -> "RidgePredictor":
        """Fit on training tiles, from a trunk of the run's form whose weights are random: what its form alone can do.

        Raises:
            MismatchError: the run reads ready-made features, whose trunk cannot be had.

        """
        reader = _random_reader(run)

        def random_features(run: Run, some: Tiles) -> Features:
            return reader.read(some)

        ridge = _fitted(run, tiles, random_features)
        return cls(run, ridge, "ridge on random trunk", random_features, tiles.sections)

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict from the features."""
        check_tiles(self.run, tiles)
        return _prediction(self.run, tiles, self.ridge.predict(self._describe(self.run, tiles)), self.name)


@final
class ImageKnnPredictor:
    """The plain mean of the k training tiles whose features are most alike (cosine, after standardising)."""

    name = "image-kNN"

    def __init__(
        self,
        run: Run,
        features: Features,
        values: Float32[np.ndarray, "spots genes"],
        fitted_on: tuple[Section, ...] = (),
    ) -> None:
        """Keep features and values of the sections `fitted_on`."""
        self.run, self.values, self.fitted_on = run, values, fitted_on
        self._usual = RunningStats.of([features])
        self._index = FlatIndex.build(self._unit(features))

    @classmethod
    def fit(cls, run: Run, tiles: Tiles) -> "ImageKnnPredictor":
        """Keep training tiles' features and values."""
        return cls(run, tile_features(run, tiles), training_values(run, tiles), tiles.sections)

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict the mean of the nearest `query.k` training tiles."""
        check_tiles(self.run, tiles)
        neighbors = self._index.search(self._unit(tile_features(self.run, tiles)), self.run.config.query.k)
        weights = np.full_like(neighbors.similarity, 1 / neighbors.rows.shape[1])
        return _prediction(self.run, tiles, weighted_mean(self.values, neighbors, weights), self.name)

    def _unit(self, features: Features) -> Features:
        standard = self._usual.standard(features)
        return (standard / np.maximum(np.linalg.norm(standard, axis=1, keepdims=True), 1e-8)).astype(np.float32)


def colours(run: Run, tiles: Tiles) -> Features:
    """Return mean and spread of R, G, B in the smallest window of each tile, standardised as the run's features are."""
    smallest = int(np.argmin(tiles.spec.microns))
    tables, row = [], 0
    for section in tiles.sections:
        cut = [tiles.read(row + at)[smallest].reshape(3, -1) for at in range(len(section))]
        row += len(section)
        table = np.array([[*tile.mean(axis=1), *tile.std(axis=1)] for tile in cut], dtype=np.float32)
        if run.config.image.standardize == "section":
            table = RunningStats.of([table]).standard(table)
        tables.append(table)
    return np.concatenate(tables)


def _random_reader(run: Run) -> FeatureReader:
    """Return what reads features from the run's trunk with random weights, drawn by its seed; they are cached as others are."""
    if isinstance(run.model.trunk, ReadyTrunk):
        raise MismatchError("a trunk of random weights cannot be had for ready-made features: leave --all-floors out")
    image = without_weights(run.config.image, run.facts.trunk).model_copy(update={"train": "frozen"})
    with torch.random.fork_rng(devices=[]):
        # Not the seed itself: a run may have been trained on a trunk that was drawn by it.
        torch.manual_seed(run.config.seed ^ 0x5EED)
        trunk, _ = build_trunks(image, run.spec.pixels, len(run.spec.microns))
    trunk.stain.load_state_dict(run.model.trunk.stain.state_dict())  # Its tiles are brought to the same stains.
    device = next(run.model.parameters()).device
    reader = FeatureReader.to_predict(trunk.to(device), run.model.standardize, run.config)
    return replace(reader, cache=run.config.cache / "features", usual=None)


def _fitted(run: Run, tiles: Tiles, describe: Callable[[Run, Tiles], Features]) -> Ridge:
    return fit_ridge(describe(run, tiles), training_values(run, tiles), groups_of(tiles))


def training_values(run: Run, tiles: Tiles) -> Float32[np.ndarray, "spots genes"]:
    """Return the measured values of training tiles, corrected for batches where the panel says so."""
    return np.concatenate([run.panel.training_values(section) for section in tiles.sections])


def groups_of(tiles: Tiles) -> Int[np.ndarray, " spots"]:
    """Return the section of each spot; of one section alone, stripes along x, so that neighbours stay together."""
    if len(tiles.sections) > 1:
        return np.repeat(np.arange(len(tiles.sections)), [len(section) for section in tiles.sections])
    order = np.argsort(np.argsort(tiles.sections[0].xy[:, 0], kind="stable"))
    return order * CV_BLOCKS // len(order)


def _prediction(run: Run, tiles: Tiles, expression: Float32[np.ndarray, "tiles genes"], name: str) -> Prediction:
    """Return what a model predicted, no value far beyond what was seen in training: those tiles are marked as `bounded`."""
    held, changed = run.panel.bounded(expression)
    marks = {} if run.panel.range is None else {"bounded": changed}
    return Prediction(held, tiles, run.panel.genes, run.panel.describe(), name, marks=marks)


@final
class RegressionPredictor:
    """The regression head of a run trained with `loss.task: regression` or `both`."""

    name = "regression"

    def __init__(self, run: Run) -> None:
        self.run = run
        run.model.eval()

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict from the trunk's features through the head."""
        check_tiles(self.run, tiles)
        expression = self.run.panel.unscaled(through_head(self.run, tile_features(self.run, tiles)))
        return _prediction(self.run, tiles, expression, self.name)


def baselines_of(run: Run, train_tiles: Tiles) -> dict[str, Predictor]:
    """Fit the baselines on a run's training tiles: ridge on its features and on colour, image-kNN and the mean."""
    ridge, colour = RidgePredictor.fit(run, train_tiles), RidgePredictor.fit_colour(run, train_tiles)
    floors: tuple[Predictor, ...] = (ridge, colour, ImageKnnPredictor.fit(run, train_tiles), MeanPredictor(run))
    return {floor.name: floor for floor in floors}
