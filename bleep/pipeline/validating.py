"""What tells the loop how well the model of an epoch predicts validation tissue."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import nn

from bleep.encoders.dual import DualEncoder
from bleep.evaluation.correlation import pearson
from bleep.features import FeatureReader
from bleep.prediction.averaging import weighted_mean
from bleep.prediction.search import FlatIndex
from bleep.prediction.weights import WEIGHTS
from bleep.runs import Model, Run, regresses
from bleep.tissue.splits import Split
from bleep.training.tasks import ContrastiveTask, RegressionTask


def validation(run: Run, divided: Split, values: np.ndarray) -> Callable[[nn.Module], dict[str, float]]:
    """Return what scores the model on validation tissue: the mean per-gene correlation of its own kind of prediction.

    A model of both kinds is scored by the mean of the two, and each is told too.
    """
    train_values = run.panel.unscaled(values)
    measured = [run.panel.values(section) for section in divided.val]
    reader, query = FeatureReader.to_predict(run.model.trunk, run.model.standardize, run.config), run.config.query
    alone = [run.tiles((section,)) for section in divided.val]
    frozen = None if run.model.trunk.learns else [reader.read(tiles) for tiles in alone]

    def retrieved(model: DualEncoder, found: list[np.ndarray], device: torch.device) -> Iterator[np.ndarray]:
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

    def agreement(predicted: Iterable[np.ndarray]) -> float:
        return float(np.mean([float(np.nanmean(pearson(p, truth))) for p, truth in zip(predicted, measured, strict=True)]))

    def scored(task: nn.Module) -> dict[str, float]:
        assert isinstance(task, ContrastiveTask | RegressionTask)
        model, device = task.model, next(task.parameters()).device
        found = frozen if frozen is not None else [reader.read(tiles) for tiles in alone]
        kinds = {}
        if isinstance(model, DualEncoder):
            kinds["retrieval"] = agreement(retrieved(model, found, device))
        if regresses(model):
            kinds["regression"] = agreement(regressed(model, found, device))
        return {"score": float(np.mean(list(kinds.values())))} | (kinds if len(kinds) > 1 else {})

    return scored
