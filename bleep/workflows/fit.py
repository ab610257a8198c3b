"""From a configuration to a trained run."""

import contextlib
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import Dataset

from bleep import registry, runs
from bleep.collectives import of_main
from bleep.config import Config
from bleep.data.array_scale import check_arrays
from bleep.data.datasets import AffineJitter, FeatureDataset, TileDataset
from bleep.data.labels import one_hot
from bleep.data.panel import GenePanel
from bleep.data.section import Section
from bleep.data.splits import Split
from bleep.data.stain import StainJitter, StainMatch, target_of
from bleep.data.tiles import Tiles
from bleep.errors import ConfigError, MismatchError
from bleep.features import FeatureReader
from bleep.models.backbones import GIVEN, check_weights
from bleep.models.factory import resolve_precision
from bleep.models.image import READY
from bleep.models.own import is_built_in
from bleep.records import Batch
from bleep.registry import Origin
from bleep.runs import Run
from bleep.training.checkpoint import CheckpointLog, accelerator_of, begin, end
from bleep.training.loop import EpochBatches, View, train
from bleep.training.optimizers import check_schedule
from bleep.training.own_losses import OwnLoss, check_own_losses, same_losses
from bleep.training.tasks import losses_of, rehearse_own, task_of
from bleep.workflows.place import (
    check_place,
    check_same_data,
    check_same_kind,
    check_same_parts,
    clear,
    losses_spoken,
)
from bleep.workflows.scoring import can_validate, check_validation, validation
from bleep.workflows.tissue import load_split

log = logging.getLogger(__name__)


def fit(
    config: Config,
    *,
    resume: bool = False,
    overwrite: bool = False,
    on_epoch: Callable[[int, float], None] | None = None,
    trunk: nn.Module | None = None,
    loss: OwnLoss | None = None,
) -> Run:
    """Train as the configuration says, write the run to `config.out`, and return it.

    Args:
        config: the recipe.
        resume: go on with the training in `config.out`.
        overwrite: replace the run in `config.out`.
        on_epoch: is told each epoch and its validation score, on the main process; what it raises ends training.
        trunk: a network in the place of `image.trunk`: `[batch, channels]` from `[batch, 3, height, width]`, red, green and
            blue from 0 to 1. `image.train` says which weights learn, of a copy: the network given stays as it is. `Run.load`
            needs one that does the same.
        loss: a loss in the place of the settings' own: under `loss.task: contrastive` called with
            `bleep.models.losses.Sides` and the inverse temperature, otherwise with predicted and measured scaled
            values `[batch, genes]`; it returns one number. It is called once more before training, on made-up predictions.

    Raises:
        ConfigError: a loss that is not bleep's own fails, is of the other kind, or is not what `loss.task` makes small; or
            `trunk` is no module, cannot be copied, or gives no tensor `[batch, channels]`.
        DataError: `config.out` already holds a run, and neither `resume` nor `overwrite` was given.
        MismatchError: `resume` was given with other settings, or other data, trunk or loss, than training began with.

    """
    check_schedule(config)
    _check_names(config, own=trunk is not None)
    check_own_losses(config.loss, loss)
    if config.data.features is not None and config.image.trunk != READY:
        log.warning("data.features is not read, as image.trunk is %s: set that to %s", config.image.trunk, READY)
    if trunk is None:
        check_weights(config.image)
    accelerator = accelerator_of(config)
    config = _resolved(config, accelerator.device, resume=resume)
    with contextlib.ExitStack() as held:
        if accelerator.is_main_process:
            check_place(config, resume=resume, overwrite=overwrite)
            held.enter_context(runs.changing(config.out))
            # Another may have finished there before the lock was had.
            check_place(config, resume=resume, overwrite=overwrite)
        return _fit(config, accelerator, on_epoch, (trunk, loss), resume=resume, overwrite=overwrite)


def _check_names(config: Config, *, own: bool) -> None:
    """Refuse parts of other packages that are called as one of bleep's own that the settings name; an `own` trunk has no name.

    Raises:
        ConfigError: naming the package.

    """
    used: dict[registry.KindName, list[str]] = {
        "readers": [config.data.source],
        "losses": [config.loss.form, *config.loss.more],
        "indexes": [config.index.kind],
    }
    for kind, names in used.items():
        for name in names:
            registry.refuse_clash(kind, name, registry.OWN[kind])
    there = registry.names("trunks")
    for name in () if own else (config.image.trunk, *config.image.also):
        if name in there and is_built_in(name):
            registry.refuse_clash("trunks", name, (name,))


def _fit(
    config: Config,
    accelerator: Accelerator,
    on_epoch: Callable[[int, float], None] | None,
    given: tuple[nn.Module | None, OwnLoss | None],
    *,
    resume: bool,
    overwrite: bool,
) -> Run:
    """Train in a folder that is this launch's own."""
    trunk, loss = given
    if resume:
        check_same_kind(config.out, given=trunk is not None)
    accelerator.wait_for_everyone()
    with accelerator.main_process_first():
        divided = load_split(config)
    check_arrays([*divided.train, *divided.val, *divided.test], config.data.mpp)
    config = config_for_sharing(config, divided.train)
    if resume and (config.out / runs.CONFIG).exists():
        check_place(config, resume=resume, overwrite=overwrite)
    panel = GenePanel.fit(divided.train, config.panel)
    run = Run.new(config, panel, divided, trunk)
    if loss is not None:
        origin = Origin("losses", GIVEN + getattr(loss, "__name__", type(loss).__name__), str(loss.__module__))
        run = replace(run, facts=replace(run.facts, parts=(*run.facts.parts, origin)))
    task = task_of(run.model, config.loss, divided.train, panel, loss, _labels(run, divided)).to(accelerator.device)
    run = replace(run, facts=replace(run.facts, losses=losses_of(task, run)))
    if resume:
        check_same_parts(config.out, run)
    if resume and (config.out / runs.MODEL).exists():
        return Run.load(config.out, trunk)
    check_validation(run, divided)
    tiles, values = run.tiles(divided.train), np.concatenate([panel.apply(section) for section in divided.train])
    batches = EpochBatches(len(tiles), config.optim.batch, config.seed, accelerator.process_index, accelerator.num_processes)
    rehearse_own(task, torch.from_numpy(values[: batches.batch]).to(accelerator.device))
    reader = FeatureReader.of(run.model.trunk, run.model.standardize, config)
    _note_stains(run, tiles)
    reader.share(tiles)
    if divided.val:
        FeatureReader.to_predict(run.model.trunk, run.model.standardize, config).share(run.tiles(divided.val))
    with accelerator.main_process_first():
        dataset = _dataset(run, reader, tiles, values)
    validate = validation(run, divided, values) if divided.val and accelerator.is_main_process else None
    journal = CheckpointLog(config.out / runs.LOG, config.out / runs.STATE)
    told = validate or (_never if divided.val else None)
    if accelerator.is_main_process:
        # Only now, when all that was asked for has proved possible, is anything written or replaced.
        if resume:
            check_same_data(config.out, run)
        begin(accelerator, config, resume=resume)
        if not resume:
            clear(config.out)
        run.save_plan(config.out)
    accelerator.wait_for_everyone()
    view, keep = _view(run, tiles), _keeper(run) if config.optim.keep else None
    try:
        epoch = train(task, dataset, batches, config.optim, journal, told, accelerator, view, on_epoch, keep)
    finally:
        end(accelerator)
    run = run.finished(epoch)
    run.model.eval()
    if accelerator.is_main_process:
        never = [number for number in config.optim.keep if not (config.out / runs.EPOCHS / str(number)).exists()]
        if never:
            log.warning("optim.patience ended training before epoch %s of optim.keep", ", ".join(map(str, never)))
        run.save(config.out)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return run


def refit(run: Run, divided: Split, panel: GenePanel, place: Path) -> Run:
    """Train the run's recipe on other tissue, without writing a run; the journal, from which it is resumed, goes to `place`.

    A run of `optim.keep` is trained by the rate of the longer training that it was kept in, and has the weights of its epoch.

    Raises:
        WeightsError: the trunk learns, and its first weights cannot be had again.
        ConfigError: the run was trained by a loss that was given in Python.
        MismatchError: it was trained by one that does something else by now.

    """
    lost = next((part for part in run.facts.parts if part.kind == "losses" and part.name.startswith(GIVEN)), None)
    if lost is not None:
        raise ConfigError(
            f"the run was trained by {lost.name.removeprefix(GIVEN)} of {lost.package}, a loss given in Python, which cannot "
            "be trained by again here: register it by bleep.registry.register and name it in loss.more or loss.form"
        )
    fresh, accelerator = run.untrained(panel, divided), Accelerator()
    if accelerator.gradient_accumulation_steps > 1:
        raise ConfigError(
            f"accelerate launch asks for gradient_accumulation_steps {accelerator.gradient_accumulation_steps}, by which a "
            "contrastive loss would not be that of the larger batch; leave it out, and set optim.batch to the whole batch and "
            "optim.chunk to what fits into memory"
        )
    task = task_of(fresh.model, run.config.loss, divided.train, panel, label=_labels(fresh, divided))
    if not same_losses(run.facts.losses, losses_of(task.to(accelerator.device), run)):
        raise MismatchError(
            f"{run.config.out}: was trained by {losses_spoken(run.facts)} of other code than now, since it gives other numbers "
            "for the same step; put that code back, or train again"
        )
    tiles, values = run.tiles(divided.train), np.concatenate([panel.apply(section) for section in divided.train])
    batches = EpochBatches(len(tiles), run.config.optim.batch, run.config.seed, 0, 1)
    reader = FeatureReader.of(fresh.model.trunk, fresh.model.standardize, run.config)
    _note_stains(fresh, tiles)
    dataset = _dataset(fresh, reader, tiles, values)
    validate = validation(fresh, divided, values) if can_validate(fresh, divided) else None
    journal = CheckpointLog(place / runs.LOG, place / runs.STATE)
    optim, stop = run.config.optim, None
    if run.facts.of_epochs:
        optim, stop = optim.model_copy(update={"epochs": run.facts.of_epochs}), optim.epochs
    epoch = train(task, dataset, batches, optim, journal, validate, accelerator, _view(fresh, tiles), stop=stop)
    fresh.model.eval()
    return fresh.finished(epoch)


def _labels(run: Run, divided: Split) -> np.ndarray | None:
    """Return the labels that a run learns beside the expression, if it learns any."""
    return one_hot(divided.train, run.config.data.label, run.facts.classes) if run.facts.classes else None


def _keeper(run: Run) -> Callable[[int], None]:
    """Return what writes the run as it is after the numbers of epochs of `optim.keep`, each with that number as its own."""

    def keep(epoch: int) -> None:
        if epoch + 1 in run.config.optim.keep:
            out = run.config.out / runs.EPOCHS / str(epoch + 1)
            config = Config.load(run.config.dump(), {"out": out, "optim": {"epochs": epoch + 1, "keep": ()}})
            kept = run.finished(epoch)
            replace(kept, config=config, facts=replace(kept.facts, of_epochs=run.config.optim.epochs)).save(out)

    return keep


def _note_stains(run: Run, tiles: Tiles) -> None:
    """Measure what tiles' stains are brought to; features are kept by it, so none is asked for before."""
    kind = run.config.image.stain
    if kind != "none":
        run.model.trunk.stain.fit(torch.from_numpy(target_of(kind, tiles)))


def _dataset(run: Run, reader: FeatureReader, tiles: Tiles, values: np.ndarray) -> Dataset[Batch]:
    """Return cached features under a frozen trunk, tiles otherwise; and fit the standardising layer."""
    config = run.config
    needed = not run.model.trunk.learns or config.image.standardize == "train"
    raw = reader.raw().read(tiles) if needed else np.empty((0, 0), np.float32)
    if config.image.standardize != "none":
        # Under `section` it is not applied, and is there for sections of few tiles.
        run.model.standardize.fit(torch.from_numpy(raw).to(run.device))
    run.model.prepare(torch.from_numpy(values), torch.from_numpy(raw).to(run.device))
    if run.model.trunk.learns:
        return TileDataset(tiles, values, config.seed, augment=config.optim.augment)
    return FeatureDataset(torch.from_numpy(reader.read(tiles) if reader.per_section else raw), values)


def _view(run: Run, tiles: Tiles) -> View | None:
    """Return what changes the stains of training tiles, where it is asked for and the trunk sees them."""
    wanted, strength = run.config.image.stain, run.config.optim.stain
    views: list[View] = []
    if not run.model.trunk.learns:
        return None
    if wanted != "none":
        target = run.model.trunk.stain.get_buffer("numbers").cpu().numpy()
        views.append(StainMatch.of(wanted, tiles, target))
    if (affine := AffineJitter.of(run.config.optim, run.config.seed, len(tiles))) is not None:
        views.append(affine)
    if strength:
        views.append(StainJitter(run.config.seed, len(tiles), strength))
    if not views:
        return None
    return lambda batch, epoch: reduce(lambda seen, view: view(seen, epoch), views, batch)


def _resolved(config: Config, device: torch.device, *, resume: bool) -> Config:
    """Return the configuration with what was left to this machine: measured, or as it was when training began."""
    kept = config.out / runs.CONFIG
    if resume and kept.is_file() and config.image.precision == "auto":
        precision = Config.load(runs.BEFORE, kept).image.precision
    else:
        precision = resolve_precision(config.image, device)
    return Config.load(config.dump(), {"image": {"precision": of_main(precision)}})


OVERLAP = 4.0
"""How often the smallest windows must show each place for `image.sharing auto` to share them."""


def config_for_sharing(config: Config, sections: tuple[Section, ...]) -> Config:
    """Return the configuration with `image.sharing auto` resolved by how much the windows of training tissue overlap."""
    if config.image.sharing != "auto":
        return config
    able = config.image.can_share and config.query.views == 1 and all(s.has_positions for s in sections)
    smallest = min(config.tiles.microns)
    # A lone spot says nothing of how far spots stand apart.
    apart = [pitch * section.mpp for section in sections if (pitch := section.pitch()) < math.inf] if able else []
    times = min(((smallest / pitch) ** 2 for pitch in apart), default=0.0)
    chosen = "tokens" if times > OVERLAP else "none"
    log.info("image.sharing auto: %s, since windows of %g um show each place %.1f times", chosen, smallest, times)
    return Config.load(config.dump(), {"image": {"sharing": chosen}})


def _never(task: nn.Module) -> dict[str, float]:
    raise AssertionError("only the main process validates")
