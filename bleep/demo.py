"""Everything once: on toy tissue train both tasks, index, query, evaluate; on real tissue a released run or a new one."""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from bleep import runs
from bleep.config import Config
from bleep.data.downloads import fetch, public_set
from bleep.data.toy import noise_ceiling, toy_sections, write_folder
from bleep.errors import DataError, MismatchError
from bleep.evaluation import report
from bleep.outputs import check_output
from bleep.predictors.io import write_prediction
from bleep.records import Table
from bleep.runs import Run
from bleep.viz.page import write_page
from bleep.workflows.calibrate import calibrate
from bleep.workflows.evaluate import evaluate
from bleep.workflows.experiment import Experiment
from bleep.workflows.fit import fit
from bleep.workflows.hub import copy, is_link
from bleep.workflows.pack import pack, unpack
from bleep.workflows.place import is_run
from bleep.workflows.query import build_reference, open_tiles
from bleep.workflows.report import evaluation_page

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
    predictions = out / "predictions.h5ad"
    for path in (predictions, *(out / name for name in report.WRITTEN)):
        check_output(path, overwrite=None)
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
    write_prediction(prediction, predictions)
    log.info("evaluating on the section held out")
    table = evaluate(list(folders.values()))
    return Demo(table, float(noise_ceiling(held_out).reindex(list(run.panel.genes)).mean()), predictions)


RECIPE, SET = "released-mob", "mob"
"""What is trained where no run is given, and the public set it is of."""


@final
@dataclass(frozen=True, slots=True)
class RealDemo:
    """What was made."""

    run: Path
    """The run's folder."""
    data: Path
    """Where the tissue is."""
    packed: Path | None
    """The run in one file, where it was trained here."""
    trained: tuple[str, ...]
    """Sections that the run learnt from."""
    held_out: str
    """The section predicted."""
    predictions: Path
    page: Path
    table: Table
    """The run's predictors and the floors on all sections held out."""


def run_real_demo(
    out: Path, given: str | None = None, data: Path | None = None, settings: Mapping[str, Any] | None = None
) -> RealDemo:
    """Take a run, or train, calibrate and pack one; predict a section held out, score it beside the floors, write the page.

    With both `given` and `data` no network is needed.

    Args:
        out: folder of the demo; what an earlier one left there is replaced.
        given: a file of `bleep pack`, a folder of a run, or `hf:user/name`; none: one is trained by the recipe.
        data: folder of the tissue, as `bleep data download mob` leaves it; none: it is downloaded to `data/mob`.
        settings: where a run is trained, settings over the recipe's.

    Raises:
        DataError: the run or the tissue cannot be had, or `out` holds something else.
        MismatchError: the run was not trained on this tissue, or held nothing of it out.

    """
    root = _tissue(data)
    page, packed = out / "page.html", out / f"{RECIPE}.bleep.zip"
    for place in (page, packed, *(out / name for name in report.WRITTEN if given is not None)):
        check_output(place, (root,), overwrite=None)
    folder = out / "run" if given is None or not Path(given).is_dir() else Path(given)
    if given is None:
        _train(folder, root, settings or {})
    elif folder == out / "run":
        _taken(given, folder)
    experiment = _on(folder, root, out / "cache")
    if not experiment.split.test:
        raise MismatchError(f"{folder}: held no section out, so there is none to show it on; train with a data.split that does")
    held = experiment.split.test[0]
    predictions = out / f"{held.name}.h5ad"
    check_output(predictions, (root,), overwrite=None)
    log.info("predicting section %s, of a mouse that the run never saw", held.name)
    write_prediction(experiment.predict(experiment.tiles((held,))), predictions)
    log.info("scoring it beside the floors, on %s", ", ".join(section.name for section in experiment.split.test))
    table = evaluate([experiment])
    report.save(table, folder if given is None else out)
    write_page(evaluation_page([experiment], table), page)
    if given is None:
        pack(folder, packed)
    trained = tuple(facts.name for facts in experiment.run.facts.train)
    return RealDemo(folder, root, packed if given is None else None, trained, held.name, predictions, page, table)


def _tissue(data: Path | None) -> Path:
    if data is not None:
        if not data.is_dir():
            raise DataError(f"{data}: no such folder; expected the tissue that `bleep data download {SET}` fetches")
        return data
    chosen, root = public_set(SET), Path("data") / SET
    log.info("%s; licence: %s; cite: %s", chosen.title, chosen.licence, chosen.citation)
    fetch(chosen, root)
    return root


def _train(folder: Path, root: Path, settings: Mapping[str, Any]) -> None:
    place = {"data": {"root": str(root)}, "out": str(folder), "cache": str(folder.parent / "cache")}
    run = fit(Config.load(RECIPE, dict(settings), place), overwrite=True)
    build_reference(run).save(folder / runs.REFERENCE)
    log.info("calibrating: each training section is left out once")
    calibrate(Experiment.of(run, folder))


def _taken(given: str, folder: Path) -> None:
    """Write a run that was sent to a folder of its own, in the place of what an earlier demo left."""
    if folder.exists():
        if folder.resolve() in Path(given).resolve().parents:
            raise DataError(f"{given}: lies in {folder}, which the demo replaces; choose another --out")
        if not is_run(folder):
            raise DataError(f"{folder}: is there already and is no run; choose another --out")
        shutil.rmtree(folder)
    if is_link(given):
        log.info("run: %s", copy(given, folder))
    else:
        unpack(Path(given), folder)


def _on(folder: Path, root: Path, cache: Path) -> Experiment:
    """Open a run with its tissue where it lies here; what a run was sent with names no place."""
    run = Run.load(folder)
    config = run.config.model_copy(update={"data": run.config.data.model_copy(update={"root": root}), "cache": cache})
    return Experiment.of(replace(run, config=config), folder)
