"""Simple members of the combined predictor, which travel to other subjects: linear maps and neighbours among tiles."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float32, Int

from bleep.data.prediction import Prediction
from bleep.data.section import Section
from bleep.data.tiles import Tiles
from bleep.features import Features
from bleep.models.backbones.textures import LEAST
from bleep.models.heads import RunningStats
from bleep.predictors.baselines import ALPHAS, Ridge, RidgePredictor, fit_ridge, groups_of, solve_ridge, training_values
from bleep.predictors.descriptions import (
    Describe,
    Moments,
    section_colours,
    section_features,
    section_stains,
    section_textures,
    texture_moments,
    texture_trunk,
)
from bleep.retrieval.embed import check_tiles
from bleep.runs import Run

Values = Float32[np.ndarray, "spots genes"]

STRONGER = 10.0
"""Factor on the penalty that suits left-out training tissue, for a trunk's features: another subject differs by more than
left-out sections do. The few numbers of the stains' texture need none."""
STORED = 20_000
"""Training tiles kept at most, evenly taken, to find neighbours among."""
WIDTH = 64
"""Principal components of standardised features that neighbours are found by."""
COMPONENTS = 20
"""Principal components of the training values that a linear map foretells, to find neighbours by."""
NEAREST = 50


@final
@dataclass(frozen=True, slots=True)
class Linear:
    """A ridge on one description of a tile."""

    ridge: Ridge
    moments: Moments | None = None
    """What a section of few tiles is standardised by; none: by what the run holds, or by itself."""

    def values(self, described: Features) -> Values:
        """Return the predicted values."""
        return self.ridge.predict(described)

    def centred(self, described: Features) -> Values:
        """Return the predicted values less the training mean."""
        return self.values(described) - self.ridge.offset.astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return its numbers by name, in single precision."""
        names = ("mean", "spread", "offset", "coefficients")
        numbers = {name: getattr(self.ridge, name).astype(np.float32) for name in names}
        return numbers | {"alpha": np.array([self.ridge.alpha], np.float32)} | _kept(self.moments)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Linear":
        """Rebuild it."""
        mean, spread, offset, coefficients = (
            arrays[name].astype(np.float64) for name in ("mean", "spread", "offset", "coefficients")
        )
        return cls(Ridge(mean, spread, offset, coefficients, float(arrays["alpha"].item())), arrays.get("moments"))


@final
@dataclass(frozen=True, slots=True)
class Nearest:
    """The plain mean of the training tiles that are most alike, by the cosine of principal components."""

    mean: Float32[np.ndarray, " features"]
    axes: Float32[np.ndarray, "features components"]
    keys: Float32[np.ndarray, "stored components"]
    """Of unit length."""
    measured: Float32[np.ndarray, "stored genes"]
    moments: Moments | None = None

    @classmethod
    def fit(cls, described: Features, measured: Values) -> "Nearest":
        """Keep training tiles, at most `STORED` of them."""
        rows = np.unique(np.linspace(0, len(described) - 1, min(len(described), STORED)).astype(int))
        table, mean = described[rows].astype(np.float64), described.mean(axis=0, dtype=np.float64)
        centred = table - mean
        wide = centred.shape[1] > centred.shape[0]
        _, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
        leading = vectors[:, ::-1][:, : min(WIDTH, len(rows) - 1, centred.shape[1])]
        axes = centred.T @ leading if wide else leading
        axes = axes / np.maximum(np.linalg.norm(axes, axis=0), 1e-12)
        single = mean.astype(np.float32), axes.astype(np.float32)
        return cls(*single, _unit((described[rows] - single[0]) @ single[1]), measured[rows].astype(np.float32))

    def values(self, described: Features) -> Values:
        """Return the predicted values."""
        return _mean_of_nearest(_unit((described - self.mean) @ self.axes), self.keys, self.measured)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return its numbers by name."""
        return {name: getattr(self, name) for name in ("mean", "axes", "keys", "measured")} | _kept(self.moments)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Nearest":
        """Rebuild it."""
        return cls(arrays["mean"], arrays["axes"], arrays["keys"], arrays["measured"], arrays.get("moments"))


@final
@dataclass(frozen=True, slots=True)
class PredictedComponents:
    """The plain mean of the training tiles whose components of expression are foretold most alike.

    A ridge leads from a tile's description to the leading principal components of the training values. Neighbours are found
    by the cosine of what it foretells, of training tiles too, as most similar neighbours are (Moeur and Stage, Forest Science
    41:337, 1995): so the parts of a picture that say nothing of expression have no say.
    """

    linear: Linear
    keys: Float32[np.ndarray, "stored components"]
    """PredictedComponents components less their mean, of unit length."""
    measured: Float32[np.ndarray, "stored genes"]
    moments: Moments | None = None

    @classmethod
    def fit(
        cls, described: Features, measured: Values, groups: Int[np.ndarray, " spots"], stronger: float = STRONGER
    ) -> "PredictedComponents":
        """Fit the map with a robust penalty, times `stronger`, and keep training tiles, at most `STORED` of them."""
        unit = RunningStats.of([measured]).standard(measured)
        components = _components(unit)
        linear = _robust(described, components, groups, stronger)
        rows = np.unique(np.linspace(0, len(described) - 1, min(len(described), STORED)).astype(int))
        return cls(linear, _unit(linear.centred(described[rows])), measured[rows].astype(np.float32))

    def values(self, described: Features) -> Values:
        """Return the predicted values."""
        return _mean_of_nearest(_unit(self.linear.centred(described)), self.keys, self.measured)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return its numbers by name, in single precision."""
        linear = {f"linear.{name}": array for name, array in self.linear.arrays().items()}
        return linear | {"keys": self.keys, "measured": self.measured} | _kept(self.moments)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "PredictedComponents":
        """Rebuild it."""
        start = "linear."
        linear = {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
        return cls(Linear.from_arrays(linear), arrays["keys"], arrays["measured"], arrays.get("moments"))


def _kept(moments: Moments | None) -> dict[str, np.ndarray]:
    return {} if moments is None else {"moments": moments}


def _components(unit: Values) -> Float32[np.ndarray, "spots components"]:
    """Return the leading principal components of standardised values, by the smaller of both matrices of products."""
    if unit.shape[1] > unit.shape[0]:
        squares, vectors = np.linalg.eigh(unit @ unit.T)
        lengths = np.sqrt(np.maximum(squares[::-1][:COMPONENTS], 0))
        return (vectors[:, ::-1][:, :COMPONENTS] * lengths).astype(np.float32)
    _, vectors = np.linalg.eigh(unit.T @ unit)
    return (unit @ vectors[:, ::-1][:, :COMPONENTS]).astype(np.float32)


Fitted = Linear | Nearest | PredictedComponents


def _mean_of_nearest(
    queries: Float32[np.ndarray, "tiles components"],
    keys: Float32[np.ndarray, "stored components"],
    measured: Float32[np.ndarray, "stored genes"],
) -> Float32[np.ndarray, "tiles genes"]:
    """Return the plain mean of the values of the keys most alike to each query; all are of unit length."""
    count = min(NEAREST, max(5, len(keys) // 4))
    out = np.empty((len(queries), measured.shape[1]), np.float32)
    for at in range(0, len(queries), 512):
        out[at : at + 512] = measured[_greatest(queries[at : at + 512] @ keys.T, count)].mean(axis=1)
    return out


def _greatest(similarity: Float32[np.ndarray, "tiles stored"], count: int) -> Int[np.ndarray, "tiles count"]:
    """Return the columns of the `count` greatest of each row, the greatest first; of equal ones the lower column first.

    That is the start of a stable sort of all, which would take fifteen times as long.
    """
    below, count = -similarity, min(count, similarity.shape[1])
    last = np.partition(below, count - 1, axis=1)[:, count - 1 : count]
    rows, columns = np.nonzero(below <= last)
    order = np.lexsort((columns, below[rows, columns], rows))
    starts = np.searchsorted(rows, np.arange(len(below)))
    return columns[order][starts[:, None] + np.arange(count)]


def _unit(table: np.ndarray) -> np.ndarray:
    out: np.ndarray = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-8)
    return out


def _subjects(tiles: Tiles) -> Int[np.ndarray, " spots"]:
    """Return the subject of each spot; of one subject alone, its sections, and of one section stripes of neighbours."""
    subjects = [section.patient for section in tiles.sections]
    if len(set(subjects)) == 1:
        return groups_of(tiles)
    numbers = [sorted(set(subjects)).index(subject) for subject in subjects]
    return np.repeat(np.array(numbers), [len(section) for section in tiles.sections])


def worst_penalty(described: Features, measured: Values, groups: Int[np.ndarray, " spots"]) -> float:
    """Return the penalty whose worst left-out group has the least squared error, as a share of that of the others' mean."""
    shares = []
    for group in np.unique(groups):
        held = groups == group
        by_mean = float(((measured[held] - measured[~held].mean(axis=0, dtype=np.float64)) ** 2).sum())
        fitted = solve_ridge(described[~held], measured[~held], ALPHAS)
        errors = [float(((ridge.predict(described[held]) - measured[held]) ** 2).sum()) for ridge in fitted]
        shares.append(np.array(errors) / max(by_mean, 1e-12))
    return ALPHAS[int(np.argmin(np.max(shares, axis=0)))]


def _robust(described: Features, measured: Values, groups: Int[np.ndarray, " spots"], stronger: float = STRONGER) -> Linear:
    alpha = stronger * worst_penalty(described, measured, groups)
    return Linear(solve_ridge(described, measured, (alpha,))[0])


def _linear(described: Features, measured: Values, groups: Int[np.ndarray, " spots"]) -> Fitted:
    return Linear(fit_ridge(described, measured, groups))


def _nearest(described: Features, measured: Values, groups: Int[np.ndarray, " spots"]) -> Fitted:
    return Nearest.fit(described, measured)


class Member(NamedTuple):
    """How a member describes a tile, what fits it on that, and what it is once fitted."""

    describe: Describe
    fit: Callable[[Features, Values, Int[np.ndarray, " spots"]], Fitted]
    kind: type[Linear] | type[Nearest] | type[PredictedComponents]
    moments: Callable[[Run, Tiles], Moments] | None = None
    """What measures how a section of few tiles is standardised; none: the run knows, or nothing does."""


FITS: Mapping[str, Member] = {
    "robust ridge": Member(section_features, _robust, Linear),
    "image-kNN by section": Member(section_features, _nearest, Nearest),
    "ridge on colour by section": Member(section_colours, _linear, Linear),
    "ridge on stains": Member(section_stains, _linear, Linear),
    "component retrieval": Member(section_features, PredictedComponents.fit, PredictedComponents),
    "robust ridge on textures": Member(section_textures, partial(_robust, stronger=1.0), Linear, texture_moments),
    "component retrieval on textures": Member(
        section_textures, partial(PredictedComponents.fit, stronger=1.0), PredictedComponents, texture_moments
    ),
}


def usable(run: Run) -> list[str]:
    """Return the members that a run's tiles are large enough for: windows of few pixels have no textures."""
    return [name for name, member in FITS.items() if member.moments is None or run.spec.pixels >= LEAST]


KINDS = {name: member.kind for name, member in FITS.items()}
TRAVEL = ("robust ridge", "component retrieval", "robust ridge on textures", "component retrieval on textures")
"""Whose mean predicts another subject where nothing, or little, was learnt of which member to believe.

Chosen on pairs of mice of the protocol `als-mouse`, trained on one alone: see docs/concepts/travel.
"""


@final
class SimplePredictor:
    """One of these members, by itself a predictor too."""

    def __init__(self, run: Run, name: str, fitted: Fitted, fitted_on: tuple[Section, ...] = ()) -> None:
        """Join a run and a fitted member; `fitted_on` are the sections it was fitted on, where these are not the run's own."""
        self.run, self.name, self.fitted, self.fitted_on = run, name, fitted, fitted_on

    @classmethod
    def fit(cls, run: Run, name: str, tiles: Tiles) -> "SimplePredictor":
        """Fit on training tiles."""
        member = FITS[name]
        moments = None if member.moments is None else member.moments(run, tiles)
        described = member.describe(run, tiles, moments)
        fitted = member.fit(described, training_values(run, tiles), _subjects(tiles))
        return cls(run, name, replace(fitted, moments=moments), tiles.sections)

    @property
    def textures(self) -> str:
        """Name of the trunk whose textures it sees; empty: it sees none."""
        return "" if FITS[self.name].moments is None else texture_trunk(self.run, self.fitted.moments)

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict from what the member sees of the tiles."""
        check_tiles(self.run, tiles)
        expression = self.fitted.values(FITS[self.name].describe(self.run, tiles, self.fitted.moments))
        return Prediction(expression, tiles, self.run.panel.genes, self.run.panel.describe(), self.name)


MORE_BASELINES = ("ridge on stains", "robust ridge on textures")


def more_baselines_of(run: Run, train_tiles: Tiles) -> dict[str, SimplePredictor | RidgePredictor]:
    """Fit ridge on the stains, on their texture, and on a trunk of random weights, which cost a second look at every tile."""
    random = RidgePredictor.fit_random(run, train_tiles)
    return {name: SimplePredictor.fit(run, name, train_tiles) for name in MORE_BASELINES if name in usable(run)} | {
        random.name: random
    }
