"""Scores of predictors on test tissue, and of the model on validation tissue after each epoch."""

import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int
from scipy import sparse
from torch import nn

from bleep import registry
from bleep.contest import GeneLists, contest_score
from bleep.data.prediction import Prediction
from bleep.data.section import Section
from bleep.data.splits import Split
from bleep.data.tiles import Tiles
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.evaluation import protocols as peers
from bleep.evaluation import statistics
from bleep.evaluation.labels import roc_auc
from bleep.evaluation.metrics import pearson, ranking_scores, true_ranks
from bleep.evaluation.protocols import PROTOCOLS, Protocol
from bleep.evaluation.scorecard import ENDS, METRIC, Truth, score
from bleep.evaluation.statistics import smoothing
from bleep.features import FeatureReader
from bleep.models.models import DualEncoder, Model
from bleep.predictors import Predictor, plain
from bleep.predictors.foreign import answered, clearly
from bleep.predictors.retrieval import WEIGHTS, RetrievalPredictor, weighted_mean
from bleep.records import Scorecard, Table
from bleep.retrieval.embed import check_tiles, embed_spots, embed_tiles, tile_features, without_expression
from bleep.retrieval.index import FlatIndex
from bleep.runs import Run
from bleep.training.tasks import Task

Values = Float32[np.ndarray, "spots genes"]
MeanStd = Float64[np.ndarray, "2 features"]
Axes = Float64[np.ndarray, "features components"]
Weights = Float64[np.ndarray, "components genes"]
COMPONENTS = 256
"""Of the probe's PCA, or as many as there are."""


@final
@dataclass(frozen=True, slots=True)
class Scorer:
    """What is scored, and by what."""

    protocol: Protocol | None = None
    """None: the panel's values, without any further demand."""
    all_scores: bool = False
    """Every score there is, not the few of the table alone."""
    genes_file: Path | None = None
    """A list of genes to score by itself."""
    metrics: tuple[str, ...] = ()
    """Metrics of other packages, by name: each is called with predicted and measured values, [spots genes] of one section."""

    def predictors(self, run: Run, own: Mapping[str, Predictor], train: Tiles) -> dict[str, Predictor]:
        """Return what is scored: the run's own predictors and floors, or the protocol's probe on its features."""
        if self.protocol is None or not self.protocol.probe:
            return dict(own)
        probe = ProbePredictor.fit(run, train)
        return {probe.name: probe}

    def score(self, predictors: Mapping[str, Predictor], tiles: Tiles, run: Run, train: Sequence[Section]) -> list[Scorecard]:
        """Score each predictor on each measured section; a probe, on all of them pooled."""
        if self.protocol is not None and self.protocol.probe:
            return [self._pooled(predictor, tiles, run) for predictor in predictors.values()]
        fixed, cards = self._sets(run, train), []
        for alone in tiles.alone():
            (section,) = alone.sections
            measured = self.labels(run, section)
            of_test = self.all_scores or (self.protocol is not None and self.protocol.chosen_on_test)
            sets = fixed | (statistics.sets_of_test(measured) if of_test else {})
            placed = section.xy if section.has_positions else None
            truth = Truth.of(measured, placed) if self.all_scores else measured
            for name, predictor in predictors.items():
                predicted = answered(predictor, alone, run, name)
                card = score(predicted, truth, sets, run.config.seed, name)
                more = self._ranking(predictor, alone, run)
                more |= {f"{METRIC}{metric}": self._metric(metric, predicted, measured) for metric in self.metrics}
                cards.append(replace(card, summary=card.summary | more, part=section.digest()))
        return cards

    def _metric(self, metric: str, predicted: Prediction, measured: Values) -> float:
        """Return another package's score of the genes measured there; it may do with its copies what it likes.

        Raises:
            ConfigError: it is no number, or the metric fails.

        """
        part, there = registry.load("metrics", metric), np.isfinite(measured).all(axis=0)
        with clearly(f"--metrics {metric}", "the metric", part):
            value = part(predicted.expression[:, there], measured[:, there])
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            package = registry.origin("metrics", metric).package
            raise ConfigError(f"--metrics {metric}: {package} returned a {type(value).__name__}; expected one number")
        return float(value)

    def labels(self, run: Run, section: Section) -> Values:
        """Return what a section's prediction is compared with.

        Raises:
            DataError: the protocol smooths labels, but the tiles have no places.

        """
        if self.protocol is None or self.protocol.labels == "panel":
            return run.panel.values(section, run.config.panel.absent)
        if self.protocol.labels == "log counts":
            return log_counts(run, section)
        if not section.has_positions:
            raise DataError(f"section {section.name}: protocol {self.protocol.name} smooths neighbours, which tiles lack")
        return (smoothing(section.xy) @ run.panel.values(section, run.config.panel.absent)).astype(np.float32)

    def check(self, run: Run, divided: Split, folder: Path) -> None:
        """Refuse a run that was not made by the protocol.

        Raises:
            MismatchError: naming both sides.
            ConfigError: scores are asked for that the protocol's probe has not; or a metric is none that can be called, or is
                called as tables call how sure a score is.

        """
        for metric in self.metrics:
            _check_metric(metric)
        if self.protocol is not None:
            if self.protocol.probe and (self.all_scores or self.genes_file is not None or self.metrics):
                flag = "--all-scores" if self.all_scores else "--metrics" if self.metrics else "--genes-file"
                raise ConfigError(f"{flag}: protocol {self.protocol.name} has one score, of a probe of its own; leave it out")
            self.protocol.check(run.config, run.panel, divided, str(folder))

    def annotate(self, table: Table, seen: Sequence[Run], splits: Sequence[Split]) -> Table:
        """Return the table with the protocol's name, its hash, what inflates it, and what others published under it.

        Where no protocol was asked for, it is the one that the runs name, if all of them keep to it in full.
        """
        protocol = self.protocol or _kept(seen, splits)
        if protocol is None:
            return table
        whole, part = _whole(protocol, table, seen)
        facts = protocol.describe() | ({} if whole else {"incomplete": part}) | table.facts
        if protocol.labels != "panel":
            facts["values"] = f"{protocol.values}; smoothing: {protocol.smoothing}"
        published = peers.beside(protocol.name, {card.section for card in table.cards}, whole=whole)
        return replace(table, protocol=f"{protocol.name} [{protocol.digest()}]", facts=facts, published=published)

    def _sets(self, run: Run, train: Sequence[Section]) -> dict[str, Int[np.ndarray, " some"]]:
        sets = statistics.gene_sets(run.panel)
        if self.all_scores:
            sets |= statistics.more_gene_sets(run.panel, train)
        elif self.protocol is not None and self.protocol.chosen_on_test:
            sets |= statistics.marker_sets(run.panel)
        return sets | (statistics.read_list(self.genes_file, run.panel) if self.genes_file is not None else {})

    def _ranking(self, predictor: Predictor, alone: Tiles, run: Run) -> dict[str, float]:
        """Return how well a tile finds its own spot among those of its section.

        Where measured expression has no place in the shared space there are no such scores.
        """
        shared = run.model.retrieves and isinstance(plain(predictor), RetrievalPredictor)
        if not (self.all_scores and shared) or without_expression(run, alone.sections):
            return {}
        return ranking_scores(true_ranks(embed_tiles(run, alone).vectors, embed_spots(run, alone.sections).vectors))

    def _pooled(self, predictor: Predictor, tiles: Tiles, run: Run) -> Scorecard:
        prediction = predictor.predict(tiles)
        measured = np.concatenate([self.labels(run, section) for section in tiles.sections])
        pooled = prediction.adata.obs.assign(section="+".join(section.name for section in tiles.sections))
        return score(prediction.replaced(obs=pooled), measured, {}, run.config.seed, predictor.name)


@final
class ProbePredictor:
    """HEST's linear probe (Jaume et al., NeurIPS 2024): PCA of standardised features, then ridge without an intercept.

    alpha = 100 / (components x genes); the labels are log1p of raw counts, on which scale it predicts.
    """

    name = "PCA and ridge on frozen features"

    def __init__(self, run: Run, centre: MeanStd, turn: Axes, coefficients: Weights) -> None:
        self.run, self._centre, self._turn, self._coefficients = run, centre, turn, coefficients

    @classmethod
    def fit(cls, run: Run, tiles: Tiles) -> "ProbePredictor":
        """Fit on training tiles."""
        features = tile_features(run, tiles).astype(np.float64)
        labels = np.concatenate([log_counts(run, section) for section in tiles.sections])
        mean, spread = features.mean(axis=0), features.std(axis=0)
        # As scikit-learn's scaler has it, since the protocol is HEST's: no floor.
        spread = np.where(spread > 1e-12, spread, 1.0)
        standard = (features - mean) / spread
        # The directions of largest variance stand last.
        turn = np.linalg.eigh(standard.T @ standard)[1][:, ::-1][:, : min(COMPONENTS, len(standard) - 1)]
        scores = standard @ turn
        alpha = 100 / (scores.shape[1] * labels.shape[1])
        gram = scores.T @ scores + alpha * np.eye(scores.shape[1])
        return cls(run, np.stack([mean, spread]), turn, np.linalg.solve(gram, scores.T @ labels))

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict from the features."""
        check_tiles(self.run, tiles)
        scores = (tile_features(self.run, tiles) - self._centre[0]) / self._centre[1] @ self._turn
        expression = (scores @ self._coefficients).astype(np.float32)
        return Prediction(expression, tiles, self.run.panel.genes, "log1p of raw counts", self.name)


def _check_metric(metric: str) -> None:
    """Refuse a metric before anything is computed.

    Raises:
        ConfigError: it cannot be called with values, or its name ends as those of columns that go with a score.

    """
    part: object = registry.load("metrics", metric)
    if isinstance(part, type) or not callable(part):
        what = f"the class {part.__name__}" if isinstance(part, type) else f"a {type(part).__name__}"
        raise ConfigError(f"--metrics {metric}: is {what}; expected a function metric(predicted, measured) -> number")
    if metric.endswith(ENDS):
        raise ConfigError(f"--metrics {metric}: ends in {', '.join(ENDS)} as columns of spread do; give it another name")


def log_counts(run: Run, section: Section) -> Values:
    """Return log1p of the raw counts of the panel's genes."""
    columns = run.panel.columns(section, run.config.panel.absent)
    counts = np.log1p(sparse.csr_matrix(section.counts.X)[:, np.maximum(columns, 0)].toarray()).astype(np.float32)
    counts[:, columns < 0] = np.nan if run.config.panel.absent == "skip" else 0.0
    return counts


def _kept(seen: Sequence[Run], splits: Sequence[Split]) -> Protocol | None:
    """Return the protocol that runs name themselves, if all of them keep to it and it needs no labels of its own."""
    protocol = PROTOCOLS.get(seen[0].config.data.protocol)
    if protocol is None or protocol.probe or protocol.labels != "panel" or protocol.chosen_on_test or protocol.name == "dacon":
        return None
    try:
        for run, divided in zip(seen, splits, strict=True):
            protocol.check(run.config, run.panel, divided, "")
    except MismatchError:
        return None
    return protocol


def _whole(protocol: Protocol, table: Table, seen: Sequence[Run]) -> tuple[bool, str]:
    """Return whether every fold of the protocol is there, and what is missing."""
    sections = {card.section for card in table.cards}
    missing = [name for name in protocol.test if name not in sections]
    if not protocol.test or missing:
        few = f"{len(missing)} of {len(protocol.test)} test sections are missing" if missing else "the data are open"
        return False, f"{few}, so published means over all of them are not shown"
    data = seen[0].config.data
    folds = set() if data.test else set(range(data.folds)) - {run.config.data.fold for run in seen}
    return not folds, f"fold {', '.join(map(str, sorted(folds)))} is missing: this is not the protocol's whole result"


CONTEST, TOP = "dacon", 100
"""Protocol of the contest, and the length of its lists of genes."""


def can_validate(run: Run, divided: Split) -> bool:
    """Return whether validation tissue gives a score at all: some gene varies within a section, or there are two classes."""
    measured = [run.panel.values(section, run.config.panel.absent) for section in divided.val]
    if run.model.classifies:
        return bool(measured) and bool(np.isfinite(roc_auc(np.concatenate(measured), np.concatenate(measured))))
    return any(bool(np.isfinite(pearson(np.nan_to_num(values), values)).any()) for values in measured)


def check_validation(run: Run, divided: Split) -> None:
    """Refuse validation tissue that gives no score.

    Raises:
        ConfigError: see above.

    """
    if divided.val and not can_validate(run, divided):
        names = ", ".join(section.name for section in divided.val)
        lacks = "tiles of two classes" if run.model.classifies else "a section in which a gene of the panel varies"
        raise ConfigError(
            f"data.val {run.config.data.val}: the validation tissue ({names}) lacks {lacks}, so no epoch can be chosen by it; "
            "hold it out otherwise, or set data.val to none"
        )


def validation(run: Run, divided: Split, values: np.ndarray) -> Callable[[nn.Module], dict[str, float]]:
    """Return what scores the model on validation tissue: the mean per-gene correlation of its own kind of prediction.

    A model of both kinds is scored by the mean of the two, and each is told too; a classifier by its ROC AUC, mean over
    classes, over all validation spots. Under the contest's protocol its score over all validation tiles together is told too.
    """
    train_values = run.panel.unscaled(values)
    measured = [run.panel.values(section, run.config.panel.absent) for section in divided.val]
    reader, query = FeatureReader.to_predict(run.model.trunk, run.model.standardize, run.config), run.config.query
    alone = [run.tiles((section,)) for section in divided.val]
    frozen = None if run.model.trunk.learns else [reader.read(tiles) for tiles in alone]
    lists = GeneLists.of(run.panel.mean, run.panel.variance, TOP, "over the training spots")

    def retrieved(model: Model, found: list[np.ndarray], device: torch.device) -> Iterator[np.ndarray]:
        assert isinstance(model, DualEncoder)
        embedded = model.embed_expression(torch.from_numpy(values).to(device)).float().cpu().numpy()
        index = FlatIndex.build(embedded)
        for features in found:
            inputs = torch.from_numpy(features).to(device)
            neighbors = index.search(model.embed_features(inputs).float().cpu().numpy(), query.k)
            yield weighted_mean(train_values, neighbors, WEIGHTS[query.weights](neighbors.similarity, query.temperature))

    def regressed(model: Model, found: list[np.ndarray], device: torch.device) -> Iterator[np.ndarray]:
        for features in found:
            inputs = torch.from_numpy(features).to(device)
            yield run.panel.unscaled(model.predict_features(inputs).float().cpu().numpy())

    def told_apart(predicted: Iterable[np.ndarray]) -> float:
        return roc_auc(np.concatenate(list(predicted)), np.concatenate(measured))

    def agreement(predicted: Iterable[np.ndarray]) -> float:
        """Return the mean over the sections that have a score: one of a single spot, say, has none."""
        scores = [pearson(p, truth) for p, truth in zip(predicted, measured, strict=True)]
        means = [float(np.nanmean(genes)) for genes in scores if np.isfinite(genes).any()]
        return float(np.mean(means)) if means else float("nan")

    def contested(model: Model, found: list[np.ndarray], device: torch.device) -> float:
        if model.retrieves and not model.regresses:
            predicted = list(retrieved(model, found, device))
        else:
            predicted = list(regressed(model, found, device))
        try:
            return contest_score(np.concatenate(predicted), np.concatenate(measured), lists).total
        except DataError:
            return float("nan")  # Too few tiles, or an epoch whose prediction is no number: the loop says so.

    def scored(task: nn.Module) -> dict[str, float]:
        assert isinstance(task, Task)
        model, device = task.model, next(task.parameters()).device
        found = frozen if frozen is not None else [reader.read(tiles) for tiles in alone]
        if model.classifies:
            return {"score": told_apart(regressed(model, found, device))}
        kinds = {}
        if model.retrieves:
            kinds["retrieval"] = agreement(retrieved(model, found, device))
        if model.regresses:
            kinds["regression"] = agreement(regressed(model, found, device))
        told = {"score": float(np.mean(list(kinds.values())))} | (kinds if len(kinds) > 1 else {})
        return told | ({"contest": contested(model, found, device)} if run.config.data.protocol == CONTEST else {})

    return scored
