"""Labels predicted: by a run's classifier, by floors fitted on training tiles, and by the vote of neighbours."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard, final

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch.nn.functional import linear

from bleep.data.prediction import SCALE, Prediction
from bleep.data.tiles import Tiles
from bleep.features import Features
from bleep.models.heads import RunningStats
from bleep.predictors import Predictor
from bleep.predictors.baselines import colours
from bleep.retrieval.embed import check_tiles, label_probabilities, through_head, tile_features
from bleep.retrieval.index import FlatIndex
from bleep.retrieval.reference import Reference
from bleep.runs import Run

PENALTIES = (1.0, 10.0, 100.0, 1000.0)
"""Tried; as scikit-learn counts, 1 / C."""
GROUPS = 4
"""Parts of the training patients, each held out once to choose the penalty."""
NEIGHBORS = 50


@final
class ClassifierPredictor:
    """The classifier of a run trained with `loss.task: classify`: the columns of its predictions are classes."""

    name = "classifier"

    def __init__(self, run: Run) -> None:
        self.run = run
        run.model.eval()

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict the probability of each class."""
        check_tiles(self.run, tiles)
        said = through_head(self.run, tile_features(self.run, tiles))
        return Prediction(said, tiles, self.run.panel.genes, SCALE, self.name)


@final
@dataclass(frozen=True, slots=True)
class Logistic:
    """A fitted multinomial logistic regression on standardised features."""

    mean: Float32[np.ndarray, " features"]
    spread: Float32[np.ndarray, " features"]
    weights: Float32[np.ndarray, "features classes"]
    offset: Float32[np.ndarray, " classes"]
    penalty: float

    def predict(self, features: Features) -> Float32[np.ndarray, "tiles classes"]:
        """Return the probability of each class."""
        logits = ((features - self.mean) / self.spread) @ self.weights + self.offset
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        out: np.ndarray = (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)
        return out


def fit_logistic(
    features: Features, truth: Float[np.ndarray, "tiles classes"], groups: np.ndarray, penalties: Sequence[float] = PENALTIES
) -> Logistic:
    """Fit by minimising cross-entropy + penalty / 2 x squared weights, the offset free; L-BFGS, deterministic.

    The penalty is the one of least cross-entropy over parts of the groups, each held out once.
    """
    names = np.unique(groups)
    part = np.searchsorted(names, groups) % min(GROUPS, len(names))
    best = penalties[0]
    if len(penalties) > 1 and len(names) > 1:
        losses = np.zeros(len(penalties))
        for held in (part == one for one in np.unique(part)):
            for at, penalty in enumerate(penalties):
                said = _solve(features[~held], truth[~held], penalty).predict(features[held])
                losses[at] -= float((truth[held] * np.log(np.maximum(said, 1e-12))).sum())
        best = penalties[int(np.argmin(losses))]
    return _solve(features, truth, best)


def _solve(features: Features, truth: Float[np.ndarray, "tiles classes"], penalty: float) -> Logistic:
    usual = RunningStats.of([features])
    inputs, wanted = torch.from_numpy(usual.standard(features)), torch.from_numpy(truth)
    # A row a class: the gradient of a column a class takes ten times as long, as the tiles would be read across.
    weights = torch.zeros(truth.shape[1], features.shape[1], requires_grad=True)
    offset = torch.zeros(truth.shape[1], requires_grad=True)
    solver = torch.optim.LBFGS([weights, offset], max_iter=60, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        solver.zero_grad()
        entropy = -(wanted * linear(inputs, weights, offset).log_softmax(dim=1)).sum()
        # Divided by the number of tiles, so that the solver's tolerances mean the same for any.
        loss = (entropy + penalty / 2 * (weights**2).sum()) / len(inputs)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    return Logistic(usual.mean, usual.spread, weights.detach().T.numpy(), offset.detach().numpy(), penalty)


@final
class LogisticPredictor:
    """Logistic regression from the trunk's own features of a tile, or from colour alone."""

    def __init__(self, run: Run, logistic: Logistic, name: str) -> None:
        self.run, self.logistic, self.name = run, logistic, name

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict from the features."""
        check_tiles(self.run, tiles)
        said = self.logistic.predict(DESCRIBED[self.name](self.run, tiles))
        return Prediction(said, tiles, self.run.panel.genes, SCALE, self.name)


def trunk_features(run: Run, tiles: Tiles) -> Features:
    """Return what the trunk says of each tile by itself, without the context that the run's heads may see."""
    return tile_features(run, tiles)[:, : run.model.trunk.width * len(run.spec.microns)]


DESCRIBED: Mapping[str, Callable[[Run, Tiles], Features]] = {
    "logistic regression": trunk_features,
    "logistic regression on colour": colours,
}
"""What each logistic regression sees."""


@final
class FeatureKnnPredictor:
    """The share of each class among the training tiles whose trunk features are most alike (cosine, standardised)."""

    name = "image-kNN"

    def __init__(self, run: Run, features: Features, truth: Float32[np.ndarray, "tiles classes"]) -> None:
        self.run, self.truth = run, truth
        self._usual = RunningStats.of([features])
        self._index = FlatIndex.build(self._unit(features))

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict the share of each class among the nearest."""
        check_tiles(self.run, tiles)
        found = self._index.search(self._unit(trunk_features(self.run, tiles)), NEIGHBORS)
        said = self.truth[found.rows].mean(axis=1).astype(np.float32)
        return Prediction(said, tiles, self.run.panel.genes, SCALE, self.name)

    def _unit(self, features: Features) -> Features:
        standard = self._usual.standard(features)
        return (standard / np.maximum(np.linalg.norm(standard, axis=1, keepdims=True), 1e-8)).astype(np.float32)


@final
class MajorityPredictor:
    """The share of each class among the training tiles, for every tile."""

    name = "majority class"

    def __init__(self, run: Run) -> None:
        self.run = run

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict the same shares for every tile."""
        check_tiles(self.run, tiles)
        # Where some tiles have no label, the means are shares of all tiles.
        said = np.tile((self.run.panel.mean / self.run.panel.mean.sum()).astype(np.float32), (len(tiles), 1))
        return Prediction(said, tiles, self.run.panel.genes, SCALE, self.name)


Floor = LogisticPredictor | FeatureKnnPredictor | MajorityPredictor


def label_floors(run: Run, train: Tiles) -> dict[str, Floor]:
    """Fit the floors of labels on a run's training tiles that have one: what every classifier has to beat."""
    truth = np.concatenate([run.panel.values(section) for section in train.sections])
    groups = np.repeat([section.patient for section in train.sections], [len(section) for section in train.sections])
    has = truth.any(axis=1)
    floors: list[Floor] = [
        LogisticPredictor(run, fit_logistic(describe(run, train)[has], truth[has], groups[has]), name)
        for name, describe in DESCRIBED.items()
    ]
    floors += [FeatureKnnPredictor(run, trunk_features(run, train)[has], truth[has]), MajorityPredictor(run)]
    return {floor.name: floor for floor in floors}


@final
class LabelHeadPredictor:
    """The label head of a run of expression trained with `loss.labels`, its probabilities in the order of some classes."""

    name = "classifier"

    def __init__(self, run: Run, classes: Sequence[str] = ()) -> None:
        """Take the run, and the classes in the order wanted; none: the run's own, in theirs."""
        self.run, self.classes = run, tuple(classes) or run.facts.classes
        run.model.eval()

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict the probability of each class; 0 for one that the run never learnt."""
        check_tiles(self.run, tiles)
        said = pd.DataFrame(label_probabilities(self.run, tile_features(self.run, tiles)), columns=list(self.run.facts.classes))
        table = said.reindex(columns=list(self.classes), fill_value=0.0).to_numpy(np.float32)
        return Prediction(table, tiles, self.classes, SCALE, self.name)


@final
class NeighborVote:
    """The weighted vote of a tile's neighbours, where a run of expression retrieves from spots with labels."""

    def __init__(self, run: Run, retrieval: Predictor, reference: Reference, name: str) -> None:
        """Join a run whose panel is of classes with the predictor and the reference of the run as it is."""
        self.run, self.name = run, name
        self._retrieval, self._reference = retrieval, reference

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict each class's share of the votes; 0 for one that no reference spot has.

        A tile none of whose neighbours has a label gets the shares that classes have among the reference's labelled spots.
        """
        shares, voted = votes(self._retrieval.predict(tiles), self._reference)
        everywhere = self._reference.spots["label"].value_counts(normalize=True).reindex(voted).to_numpy(np.float32)
        shares = np.where(shares.any(axis=1, keepdims=True), shares, everywhere / everywhere.sum())
        said = pd.DataFrame(shares, columns=voted).reindex(columns=list(self.run.panel.genes), fill_value=0.0)
        return Prediction(said.to_numpy(np.float32), tiles, self.run.panel.genes, SCALE, self.name)


def with_labels(
    prediction: Prediction, runs: Sequence[tuple[Run, float]], tiles: Tiles, reference: Reference | None = None
) -> Prediction:
    """Add to a prediction's table each tile's label and its share: the likeliest class, or the neighbours' vote.

    A classifier says it itself, a run that learnt labels beside expression by its label head; of several `runs`, each with its
    weight, the mean of those that learnt any counts, and a class that one never learnt has 0 there. Otherwise, where the
    reference's spots carry labels, the weight of the neighbours that have each is its share of the votes; spots without a
    label have none. Where there is none of these, the prediction stays as it is.
    """
    heads = [(run, weight) for run, weight in runs if run.facts.classes and weight > 0]
    if runs[0][0].model.classifies:
        said, classes = prediction.expression, np.array(prediction.genes)
    elif heads:
        names = tuple(sorted({name for run, _ in heads for name in run.facts.classes}))
        told = [w * LabelHeadPredictor(run, names).predict(replace(tiles, spec=run.spec)).expression for run, w in heads]
        said, classes = np.sum(told, axis=0) / np.float32(sum(weight for _, weight in heads)), np.array(names)
    elif carries_labels(reference) and prediction.neighbors is not None:
        said, classes = votes(prediction, reference)
    else:
        return prediction
    best = np.argmax(said, axis=1)
    share = said[np.arange(len(said)), best]
    label = np.where(share > 0, classes[best], "")
    return prediction.replaced(obs=prediction.adata.obs.assign(label=label, label_share=share.astype(np.float64)))


def carries_labels(reference: Reference | None) -> TypeGuard[Reference]:
    """Return whether any spot of a reference has a label; the labelled sections may have been removed from it since."""
    return reference is not None and "label" in reference.spots and len(_numbered(reference)[1]) > 0


def _numbered(reference: Reference) -> tuple[Int[np.ndarray, " spots"], pd.Index]:
    """Return the number of each spot's label, -1 where it has none, and the labels in order."""
    labels = reference.spots["label"]
    return pd.factorize(labels.where(labels != ""), sort=True)


def votes(prediction: Prediction, reference: Reference) -> tuple[Float32[np.ndarray, "tiles classes"], np.ndarray]:
    """Return the share of each label among a tile's neighbours, by their weights, and the labels in order."""
    assert prediction.neighbors is not None
    assert prediction.weights is not None
    numbers, classes = _numbered(reference)
    near: Int[np.ndarray, "tiles k"] = numbers[prediction.neighbors.rows]
    # In double precision, so that equal shares are equal numbers in every tile, in whatever order classes and neighbours stand.
    weights = prediction.weights.astype(np.float64)
    shares = np.stack([(weights * (near == number)).sum(axis=1) for number in range(len(classes))], axis=1)
    voted: Bool[np.ndarray, " tiles"] = shares.sum(axis=1) > 0
    shares[voted] /= shares[voted].sum(axis=1, keepdims=True)
    return shares.astype(np.float32), np.asarray(classes, dtype=str)
