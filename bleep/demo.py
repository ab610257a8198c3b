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


def run_demo(out: Path, epochs: int | None = None) -> Demo:
    """Make tissue, train both tasks, index, query tiles of a held-out section, and evaluate; replace an earlier demo.

    `epochs`: fewer or more than the recipe `toy` has.

    Raises:
        DataError: `out` holds something else than an earlier demo.

    """
    over: dict[str, Any] = {} if epochs is None else {"optim": {"epochs": epochs}}
    folders = {task: out / task for task in ("contrastive", "regression")}
    for task, folder in folders.items():
        log.info("training (%s)", task)
        fit(Config.load("toy", over, {"loss": {"task": task}, "out": str(folder)}), overwrite=True)
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
