"""Everything once, on toy tissue: train both tasks, index, query, evaluate."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from bleep import runs
from bleep.config import Config
from bleep.data.toy import noise_ceiling, toy_sections, write_folder
from bleep.predictors.io import write_prediction
from bleep.records import Table
from bleep.workflows.evaluate import evaluate
from bleep.workflows.experiment import Experiment
from bleep.workflows.fit import fit
from bleep.workflows.query import build_reference, open_tiles

RECIPE: dict[str, Any] = {
    "data": {"source": "toy", "protocol": "toy (toy4 held out)", "split": "section", "folds": 4, "fold": 3},
    "tiles": {"pixels": 64, "microns": [64]},
    "panel": {"choice": "all"},
    "image": {"trunk": "resnet10t", "weights": "random", "layer": 1, "train": "full"},
    "optim": {"epochs": 30, "batch": 64, "lr": 3e-3, "trunk_lr": 3e-3},
    "query": {"k": 20},
}
"""The same as configs/toy.yaml, here so that an installed package has it too."""

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo made."""

    table: Table
    """All predictors on the held-out section."""
    ceiling: float
    """Mean over genes of what an oracle reaches that knows the law: the rest is noise."""
    predictions: Path
    """The query's output."""


def run_demo(out: Path) -> Demo:
    """Make tissue, train both tasks, index, query tiles of a held-out section, and evaluate; replace an earlier demo.

    Raises:
        DataError: `out` holds something else than an earlier demo.

    """
    folders = {task: out / task for task in ("contrastive", "regression")}
    for task, folder in folders.items():
        log.info("training (%s)", task)
        fit(Config.load(RECIPE, {"loss": {"task": task}, "out": str(folder)}), overwrite=True)
    run = runs.Run.load(folders["contrastive"])
    log.info("indexing the training spots")
    build_reference(run).save(folders["contrastive"] / runs.REFERENCE)
    *_, held_out = sections = toy_sections()
    tissue = out / "tissue"
    if not (tissue / "test.csv").exists():
        write_folder(sections[-2:], tissue)
    log.info("querying the tiles in %s", tissue / "test.csv")
    experiment = Experiment.of(run, folders["contrastive"])
    prediction = experiment.predict(open_tiles(tissue / "test.csv", run, mpp=1.0))
    predictions = out / "predictions.h5ad"
    write_prediction(prediction, predictions)
    log.info("evaluating on the section held out")
    table = evaluate(list(folders.values()))
    return Demo(table, float(noise_ceiling(held_out).reindex(list(run.panel.genes)).mean()), predictions)
