"""Many trainings from one recipe: every fold of it in one table, or settings of a search space and the best of them."""

import csv
import importlib.util
import io
import logging
import math
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
import yaml

from bleep import runs
from bleep.config import Config
from bleep.data.panel import GenePanel
from bleep.data.readers import read_sections
from bleep.data.splits import HOLD_OUT
from bleep.errors import ConfigError, DataError
from bleep.evaluation import report
from bleep.files import read_lines, whole, write_text
from bleep.find import MANIFEST
from bleep.marks import marked_csv
from bleep.outputs import check_output
from bleep.progress import Progress
from bleep.records import Table
from bleep.runs import LOG, Run
from bleep.training.search_space import Space, nested
from bleep.training.tuning import Study, Trial, Tried
from bleep.workflows import Inputs
from bleep.workflows.calibrate import calibrate
from bleep.workflows.ensemble import check_place
from bleep.workflows.evaluate import evaluate
from bleep.workflows.fit import config_for_sharing, fit
from bleep.workflows.labels import WRITTEN, LabelTable, evaluate_labels
from bleep.workflows.launch import best_device
from bleep.workflows.place import check_reads
from bleep.workflows.query import build_reference
from bleep.workflows.tissue import divide, load_split

BEST, TABLE, IMPORTANCE, DATABASE, TRIALS = "best.yaml", "trials.csv", "importance", "study.db", "trials"
"""Names inside the folder of a tuning."""
KINDS = ("png", "svg")
OLD = {
    BEST: re.compile(r"# Trial \d+ of \d+ tried: validation score "),
    TABLE: re.compile("trial,state,score,epochs,seconds,.*why$"),
}
"""What files of versions began with that left no mark in them."""
STUDY = "bleep"
"""Name of the study inside its database."""
SCALES = ("panel.scale", "panel.clip", "loss.")
"""How settings begin that change what a loss is measured in."""
UNPRUNED = 5
"""One part in so many of a training's epochs is always done."""

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, slots=True)
class Tuned:
    """What a tuning found."""

    tried: list[Tried]
    """The trials that ended, the best first."""
    importances: dict[str, float]
    """Share of each setting in the spread of the scores; empty when too few trials are done."""
    written: list[Path]


def tune(
    config: Config,
    space: Space,
    trials: int,
    out: Path,
    storage: str | None = None,
    *,
    keep_all: bool = False,
    inputs: Iterable[Path] = (),
) -> Tuned:
    """Train with settings proposed from a search space until `trials` have ended in all, and write what was best to `out`.

    The first trial is the recipe as it is, so that what is written is never worse. A trial is scored by the best validation
    score of its training; test tissue is not scored. Only the folder of the best run is kept, unless `keep_all`. Trials of an
    earlier call on the same database count.

    Raises:
        ConfigError: the recipe holds nothing out for validation or cannot be trained, or no trial could be.
        DataError: the tissue or the database cannot be read.
        MismatchError: the study in the database is of another recipe or space.

    """
    _check(config)
    check_written(out, Inputs(inputs, configs=(config,)))
    one = _laid(config, {name: rule.first() for name, rule in space.items()}, out)
    divided = load_split(one)
    Run.new(one, GenePanel.fit(divided.train, one.panel), divided)
    differing = [name for name in space if name.startswith(SCALES)]
    if differing:
        log.info(
            "trials differ in %s: their losses are on different scales and say nothing of each other; they are compared by the "
            "validation score, %s",
            ", ".join(differing),
            "a ROC area" if config.loss.task == "classify" else "a correlation on the normalised scale",
        )
    storage = storage or f"sqlite:///{out / DATABASE}"
    out.mkdir(parents=True, exist_ok=True)
    facts = {f"recipe: {key}": value for key, value in _leaves(config).items() if key not in ("out", "cache")}
    facts |= {"space": {name: rule.plain() for name, rule in space.items()}}
    study = Study.open(storage, STUDY, space, facts, config.seed, config.optim.epochs // UNPRUNED)
    with Progress(total=trials, initial=min(len(study.tried()), trials), desc="tuning", unit="trial") as bar:

        def objective(trial: Trial) -> float:
            return _score(trial, config, out)

        def after() -> None:
            # What ends meanwhile in another process may be the best, so what may go is asked first.
            ended, tried = study.ended(), study.tried()
            if not keep_all:
                _tidy(out, ended - {tried[0].number})
            best = tried[0].score if tried[0].state == "done" else None
            bar.set_postfix({} if best is None else {"best": f"{best:.4f}"})
            bar.update()

        leaves = _leaves(config)
        study.run(trials, objective, after, {name: leaves[name] for name in space})
    tried = study.tried()
    if not tried or tried[0].state != "done":
        why = f"; the last: {tried[-1].why}" if tried and tried[-1].why else ""
        raise ConfigError(f"{out}: none of {len(tried)} trials could be trained to the end{why}")
    importances = study.importances()
    return Tuned(tried, importances, _write(out, tried, importances, space))


def check_written(out: Path, inputs: Iterable[Path]) -> None:
    """Refuse a folder where what is written at the end would replace an input, or what no tuning wrote.

    Raises:
        DataError: see above.

    """
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file; expected a folder for the tuning: choose another --out")
    for path in (out / BEST, out / TABLE, *(out / f"{IMPORTANCE}.{kind}" for kind in KINDS)):
        check_output(path, inputs, overwrite=_is_unmarked(path) or None)
    for path in inputs:
        if (out / TRIALS).resolve() in path.resolve().parents:
            raise DataError(
                f"{path}: is read by this tuning, which keeps the best of the trials there alone; choose another --out"
            )


def _is_unmarked(path: Path) -> bool:
    """Return whether a table or a recipe is a tuning's of a version that left no mark."""
    try:
        with path.open(encoding="utf-8") as file:
            return OLD[path.name].match(file.readline(10_000)) is not None
    except (OSError, ValueError, KeyError):
        return False


def _check(config: Config) -> None:
    """Refuse what no trial could mend."""
    if config.data.val == "none":
        raise ConfigError(
            f"data.val is none: trials are scored on tissue held out of training, never on the test fold; {HOLD_OUT}"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("bleep tune trains each trial in one process: start the same command several times instead")


def _laid(config: Config, values: Mapping[str, Any], out: Path) -> Config:
    return Config.load(config.dump(), nested(values), {"out": str(out)})


def _leaves(config: Config) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in config.dump().items():
        found |= {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {name: value}
    return found


def _folder(out: Path, number: int) -> Path:
    return out / TRIALS / f"{number:04d}"


def _score(trial: Trial, config: Config, out: Path) -> float:
    folder = _folder(out, trial.number)
    try:
        fit(_laid(config, trial.values, folder), overwrite=True, on_epoch=trial.report)
    except torch.OutOfMemoryError:
        raise ConfigError("the memory of the device does not hold it; lower optim.chunk or optim.batch") from None
    finally:
        lines = _log(folder)
        trial.note(lines)
    # An epoch may have no score, as where it predicts the same for all tiles; `max` would keep one that came first.
    return max((line["val_score"] for line in lines if math.isfinite(line["val_score"])), default=math.nan)


def _log(folder: Path) -> list[dict[str, float | int]]:
    return read_lines(folder / LOG, "a line of JSON for each epoch")


def _tidy(out: Path, numbers: set[int]) -> None:
    """Remove the runs of trials."""
    for number in numbers:
        shutil.rmtree(_folder(out, number), ignore_errors=True)


def _write(out: Path, tried: list[Tried], importances: dict[str, float], space: Space) -> list[Path]:
    best = tried[0]
    about = "# Written by `bleep tune`, to be laid over the recipe.\n"
    about += f"# Trial {best.number} of {len(tried)} tried: validation score {best.score:.4f}.\n"
    if best.recipe:
        about += "# These are the recipe's own settings: none tried was better.\n"
    write_text(out / BEST, about + yaml.safe_dump(nested(best.values), sort_keys=False))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["trial", "state", "score", "epochs", "seconds", *space, "why"])
    for one in tried:
        values = [one.values.get(name) for name in space]
        writer.writerow([one.number, one.state, one.score, len(one.log), round(one.seconds, 1), *values, one.why])
    write_text(out / TABLE, marked_csv(table.getvalue()))
    written = [out / BEST, out / TABLE]
    if importances and importlib.util.find_spec("matplotlib") is not None:
        written += _draw(out, tried, importances)
    return written


def _draw(out: Path, tried: list[Tried], importances: dict[str, float]) -> list[Path]:
    from bleep.viz.figures import COLOURS, DOTS, NOTES, blank, label_text

    names = list(importances)[::-1]
    shares = [100 * importances[name] for name in names]
    figure, axes = blank(7.0, 1.2 + 0.4 * len(names))
    bars = axes.barh([label_text(name) for name in names], shares, color=COLOURS[0], height=0.6)
    axes.bar_label(bars, [f"{share:.0f} %" for share in shares], padding=3)
    axes.set_xlabel("importance, % (PED-ANOVA)")
    axes.set_xlim(0, 1.12 * max(shares))
    done = sum(one.state == "done" for one in tried)
    figure.suptitle(f"{names[-1]} mattered most in {done} trials trained to the end", fontsize=11, x=0.01, ha="left")
    import matplotlib

    written = [out / f"{IMPORTANCE}.{kind}" for kind in KINDS]
    with matplotlib.rc_context({"svg.hashsalt": "bleep"}):
        for path in written:
            with whole(path) as temporary:
                figure.savefig(temporary, dpi=DOTS, metadata=NOTES[path.suffix.removeprefix(".")])
    return written


def fold_folder(out: Path, fold: int) -> Path:
    """Return the folder of a fold's run."""
    return out / f"fold{fold}"


BAG = "bag"
"""Folder of the ensemble of all folds, inside that of the folds."""


def check_bag(config: Config) -> None:
    """Refuse to bag folds whose panels are chosen on their own training tissue, before hours are spent on them.

    Raises:
        ConfigError: saying what to set.
        DataError: the folder of the ensemble holds something else.

    """
    check_place(config.out / BAG)
    if config.panel.choice not in ("all", "list"):
        raise ConfigError(
            f"--bag: panel.choice is {config.panel.choice}, so each fold chooses genes of its own, and their predictions have "
            "no mean; set it to all, or to list with panel.list"
        )


def cross_validate(
    config: Config, *, calibrated: bool = False, overwrite: bool = False
) -> tuple[Table | LabelTable, list[Path]]:
    """Train, index and, if asked for, calibrate a run for each fold below `config.out`, and score all of them in one table.

    Runs that learn labels are scored as such. Each test section (or block) is held out once. The table's mean and spread are
    over sections, each the mean of its blocks, so that blocks of a single section have no spread. Folds that are finished are
    used again, so a cross-validation that was stopped goes on.

    Raises:
        ConfigError: the recipe holds out by name or nothing at all, there are fewer groups than folds, `image.sharing auto`
            would not be the same in all of them, or runs that learn labels shall be calibrated.
        DataError: the tissue cannot be read, or the table would replace what bleep did not write.
        MismatchError: a fold's folder is of other settings or other tissue.

    """
    if config.data.test or config.data.split == "none":
        what = "data.test names what is held out" if config.data.test else "data.split is none"
        raise ConfigError(f"{what}, so there are no folds; leave data.test out and set data.split to patient, section or block")
    classified = config.loss.task == "classify"
    if classified and calibrated:
        raise ConfigError("--calibrate: joins predictions of expression, and loss.task is classify; leave it out")
    labels = ("labels.json", "labels.md", "labels.csv") if config.data.label else ()
    for name in WRITTEN if classified else (*report.WRITTEN, *labels):
        check_output(config.out / name, Inputs(configs=(config,)), overwrite=overwrite or None)
    folds = [Config.load(config.dump(), _place(config, fold)) for fold in range(config.data.folds)]
    sections, shared = read_sections(config.data, config.cache), set[str]()
    for one in folds:
        if overwrite:
            check_reads(one)
        found = divide(sections, one)  # what no training could mend is said before the first
        shared.add(config_for_sharing(one, found.train).image.sharing)
    if len(shared) > 1:
        raise ConfigError(
            f"image.sharing auto: would be {' in some folds and '.join(sorted(shared))} in others, as their windows overlap "
            "more or less, and no table joins such runs; set it to one of them"
        )
    for number, one in enumerate(folds):
        log.info("fold %d of %d", number + 1, len(folds))
        begun = not overwrite and (one.out / runs.CONFIG).exists()
        run = fit(one, resume=begun, overwrite=overwrite)
        run.model.to(best_device())
        # A folder without a manifest is what a killed writer left.
        if run.model.retrieves and not (one.out / runs.REFERENCE / MANIFEST).exists():
            build_reference(run).save(one.out / runs.REFERENCE)
        if calibrated:
            calibrate(one.out)
    folders = [one.out for one in folds]
    return evaluate_labels(folders) if classified else evaluate(folders), folders


def _place(config: Config, fold: int) -> dict[str, object]:
    return {"data": {"fold": fold}, "out": str(fold_folder(config.out, fold))}
