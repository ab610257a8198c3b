"""Labels of measured spots, told by neighbours where a run of expression retrieves from labelled spots, and scored."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bleep.config import CLASSES, PanelConfig
from bleep.data.labels import labelled
from bleep.data.panel import GenePanel
from bleep.data.splits import Split
from bleep.errors import DataError
from bleep.predictors import Predictor
from bleep.predictors.classifier import LabelHeadPredictor, NeighborVote, label_floors
from bleep.predictors.retrieval import RetrievalPredictor
from bleep.runs import Run
from bleep.workflows.evaluate import check_held_out
from bleep.workflows.experiment import Experiment, opened
from bleep.workflows.labels import RETRIEVAL, LabelPrediction, LabelTable, joined, told_by

log = logging.getLogger(__name__)


def evaluate_spot_labels(what: Sequence[str | Path | Experiment]) -> LabelTable | None:
    """Score the labels that neighbours give test spots, for runs of expression whose `data.label` names a column of labels.

    Beside them stand the run's own label head, under `loss.labels`, and the floors of labels, fitted on the training spots
    that have one. Test spots without a label are not scored; those of a class that no training spot has count as told wrong.
    None: no run has such labels and an index that knows them, or no test spot has one, or there is one class only.

    Raises:
        MismatchError: as `evaluate`.

    """
    seen: list[Run] = []
    told: list[LabelPrediction] = []
    floors: set[tuple[str, ...]] = set()
    for experiment in opened(what):
        run, column, retrieval = experiment.run, experiment.run.config.data.label, RetrievalPredictor.name
        if not column or run.model.classifies or experiment.is_ensemble or retrieval not in experiment.predictors():
            continue
        reference, divided = experiment.reference, experiment.split
        check_held_out(run, divided, experiment.folder)
        if reference is None or "label" not in reference.spots:
            continue
        try:
            divided = _labelled(divided, column)
        except DataError as error:
            log.warning("labels are not scored: %s", error)
            continue
        view = replace(run, panel=GenePanel.fit(divided.train, PanelConfig.model_validate(CLASSES)))
        if not any(view.panel.values(section).any() for section in divided.test):
            continue
        if seen and view.panel.genes != seen[0].panel.genes:
            log.warning("labels of %s are not scored: they are of other classes than the first run's", experiment.folder)
            continue
        seen.append(view)
        own: dict[str, Predictor] = {RETRIEVAL: NeighborVote(view, experiment.predictors()[retrieval], reference, RETRIEVAL)}
        if run.facts.classes:
            own[LabelHeadPredictor.name] = LabelHeadPredictor(run, view.panel.genes)
        tissue = tuple(sorted(section.digest() for section in divided.train))
        if tissue not in floors:
            floors.add(tissue)
            own |= label_floors(view, view.tiles(divided.train))
        told += [told_by(name, predictor, view, divided) for name, predictor in own.items()]
    return joined(told, seen, ()) if seen else None


def _labelled(divided: Split, column: str) -> Split:
    """Return a split with labels in place of expression, all sections of the same classes."""
    train, val = len(divided.train), len(divided.val)
    found = labelled((*divided.train, *divided.val, *divided.test), column, partly=True)
    return replace(divided, train=found[:train], val=found[train : train + val], test=found[train + val :])
