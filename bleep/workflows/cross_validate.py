"""Every fold of a recipe trained, and one table over all of them."""

import logging
from pathlib import Path

from bleep import runs
from bleep.config import Config
from bleep.data.readers import read_sections
from bleep.data.splits import split
from bleep.errors import ConfigError
from bleep.evaluation import report
from bleep.outputs import check_output
from bleep.records import Table
from bleep.workflows import Inputs
from bleep.workflows.calibrate import calibrate
from bleep.workflows.ensemble import check_place
from bleep.workflows.evaluate import evaluate
from bleep.workflows.fit import best_device, fit
from bleep.workflows.place import check_reads
from bleep.workflows.query import build_reference

log = logging.getLogger(__name__)


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


def cross_validate(config: Config, *, calibrated: bool = False, overwrite: bool = False) -> tuple[Table, list[Path]]:
    """Train, index and, if asked for, calibrate a run for each fold below `config.out`, and score all of them in one table.

    Each test section (or block) is held out once, so that the table's spread is over all of them. Folds that are finished are
    used again, so a cross-validation that was stopped goes on.

    Raises:
        ConfigError: the recipe holds out by name or nothing at all, or there are fewer groups than folds.
        DataError: the tissue cannot be read, or the table would replace what bleep did not write.
        MismatchError: a fold's folder is of other settings or other tissue.

    """
    if config.data.test or config.data.split == "none":
        what = "data.test names what is held out" if config.data.test else "data.split is none"
        raise ConfigError(f"{what}, so there are no folds; leave data.test out and set data.split to patient, section or block")
    for name in report.WRITTEN:
        check_output(config.out / name, Inputs(configs=(config,)), overwrite=overwrite or None)
    folds = [Config.load(config.dump(), _place(config, fold)) for fold in range(config.data.folds)]
    sections = read_sections(config.data, config.cache)
    for one in folds:
        if overwrite:
            check_reads(one)
        split(sections, one.data, one.seed)  # what no training could mend is said before the first
    for number, one in enumerate(folds):
        log.info("fold %d of %d", number + 1, len(folds))
        begun = not overwrite and (one.out / runs.CONFIG).exists()
        run = fit(one, resume=begun, overwrite=overwrite)
        run.model.to(best_device())
        if run.model.retrieves and not (one.out / runs.REFERENCE).exists():
            build_reference(run).save(one.out / runs.REFERENCE)
        if calibrated:
            calibrate(one.out)
    folders = [one.out for one in folds]
    return evaluate(folders), folders


def _place(config: Config, fold: int) -> dict[str, object]:
    return {"data": {"fold": fold}, "out": str(fold_folder(config.out, fold))}
