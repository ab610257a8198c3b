"""What scores a model on validation tissue after each epoch."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import nn

from bleep.contest.score import GeneLists, contest_score
from bleep.data.splits import Split
from bleep.errors import DataError
from bleep.evaluation.labels import roc_auc
from bleep.evaluation.metrics import pearson
from bleep.features import FeatureReader
from bleep.models.models import DualEncoder, Model
from bleep.predictors.neighbor_mean import WEIGHTS, weighted_mean
from bleep.retrieval.index import FlatIndex
from bleep.runs import Run
from bleep.training.tasks import Task

CONTEST, TOP = "dacon", 100
"""Protocol of the contest, and the length of its lists of genes."""


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
        return float(np.mean([float(np.nanmean(pearson(p, truth))) for p, truth in zip(predicted, measured, strict=True)]))

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
