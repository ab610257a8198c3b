"""From a configuration to a trained run."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from torch import nn
from torch.utils.data import Dataset

from bleep import runs
from bleep.encoders.dual import DualEncoder
from bleep.errors import DataError, MismatchError
from bleep.evaluation.correlation import pearson
from bleep.features import FeatureReader, Features
from bleep.files import read_json
from bleep.prediction.retrieval import averaged
from bleep.prediction.search import FlatIndex
from bleep.prediction.weights import WEIGHTS
from bleep.records import Batch
from bleep.runs import Model, Run, regresses
from bleep.settings import Config
from bleep.tissue.datasets import FeatureDataset, TileDataset
from bleep.tissue.panel import GenePanel
from bleep.tissue.sources import read_sections
from bleep.tissue.splits import Split, split
from bleep.tissue.stain import StainJitter
from bleep.tissue.tiles import Tiles
from bleep.training.journal import Journal
from bleep.training.loop import EpochBatches, train
from bleep.training.schedules import check_schedule
from bleep.training.tasks import ContrastiveTask, RegressionTask, task_of
from bleep.training.trackers import accelerator_of, begin


def load_split(config: Config) -> Split:
    """Read the sections of a configuration and divide them.

    Raises:
        DataError, ConfigError: see `read_sections` and `split`.

    """
    return split(read_sections(config.data, config.cache), config.data, config.seed)


def fit(
    config: Config,
    *,
    resume: bool = False,
    overwrite: bool = False,
    on_epoch: Callable[[int, float], None] | None = None,
) -> Run:
    """Train as the configuration says, write the run to `config.out`, and return it.

    `on_epoch` is told each epoch and its validation score, on the main process; what it raises ends training.

    Raises:
        DataError: `config.out` already holds a run, and neither `resume` nor `overwrite` was given.
        MismatchError: `resume` was given with other settings, or other data, than training began with.

    """
    check_schedule(config)
    accelerator = accelerator_of(config)
    if accelerator.is_main_process:
        _check_place(config, resume=resume, overwrite=overwrite)
    accelerator.wait_for_everyone()
    with accelerator.main_process_first():
        divided = load_split(config)
    panel = GenePanel.fit(divided.train, config.panel)
    run = Run.new(config, panel, divided)
    if resume and (config.out / runs.MODEL).exists():
        return Run.load(config.out)
    task = task_of(run.model, config.loss, divided.train)
    tiles, values = run.tiles(divided.train), np.concatenate([panel.apply(section) for section in divided.train])
    batches = EpochBatches(len(tiles), config.optim.batch, config.seed, accelerator.process_index, accelerator.num_processes)
    run.model.to(accelerator.device)
    reader = FeatureReader.of(run.model.trunk, run.model.standardize, config)
    with accelerator.main_process_first():
        dataset = _dataset(run, reader, tiles, values)
    validate = _validation(run, divided, values) if divided.val and accelerator.is_main_process else None
    journal = Journal(config.out / runs.LOG, config.out / runs.STATE)
    told = validate or (_never if divided.val else None)
    if accelerator.is_main_process:
        # Only now, when all that was asked for has proved possible, is anything written or replaced.
        if resume:
            _check_same_data(config.out, run)
        else:
            _clear(config.out)
        run.save_plan(config.out)
    accelerator.wait_for_everyone()
    begin(accelerator, config)
    epoch = train(task, dataset, batches, config.optim, journal, told, accelerator, _view(run, len(tiles)), on_epoch)
    run = run.finished(epoch)
    run.model.eval()
    if accelerator.is_main_process:
        run.save(config.out)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return run


def is_main_process() -> bool:
    """Return whether this process is the one that writes and prints."""
    return PartialState().is_main_process


def _dataset(run: Run, reader: FeatureReader, tiles: Tiles, values: np.ndarray) -> Dataset[Batch]:
    """Return cached features under a frozen trunk, tiles otherwise; and fit the standardising layer."""
    config = run.config
    if isinstance(run.model, DualEncoder):
        run.model.expression_encoder.hide.fit(torch.from_numpy(values))
    needed = not run.model.trunk.learns or config.image.standardize == "train"
    raw = reader.raw().read(tiles) if needed else np.empty((0, 0), np.float32)
    if config.image.standardize != "none":
        # Under `section` it is not applied, and is there for sections of few tiles.
        run.model.standardize.fit(torch.from_numpy(raw).to(run.device))
    if run.model.trunk.learns:
        return TileDataset(tiles, values, config.seed, augment=config.optim.augment)
    return FeatureDataset(torch.from_numpy(reader.read(tiles) if reader.per_section else raw), values)


def _view(run: Run, spots: int) -> StainJitter | None:
    """Return what jitters the stains of training tiles, where it is asked for and the trunk sees them."""
    strength = run.config.optim.stain
    return StainJitter(run.config.seed, spots, strength) if strength and run.model.trunk.learns else None


def _validation(run: Run, divided: Split, values: np.ndarray) -> Callable[[nn.Module], dict[str, float]]:
    """Return what scores the model on validation tissue: the mean per-gene correlation of its own kind of prediction.

    A model of both kinds is scored by the mean of the two, and each is told too.
    """
    train_values = run.panel.unscaled(values)
    measured = [run.panel.values(section) for section in divided.val]
    reader, query = FeatureReader.to_predict(run.model.trunk, run.model.standardize, run.config), run.config.query
    alone = [run.tiles((section,)) for section in divided.val]
    frozen = None if run.model.trunk.learns else [reader.read(tiles) for tiles in alone]

    def retrieved(model: DualEncoder, found: list[Features], device: torch.device) -> Iterator[np.ndarray]:
        embedded = model.embed_expression(torch.from_numpy(values).to(device)).float().cpu().numpy()
        index = FlatIndex.build(embedded)
        for features in found:
            inputs = torch.from_numpy(features).to(device)
            neighbors = index.search(model.embed_features(inputs).float().cpu().numpy(), query.k)
            yield averaged(train_values, neighbors, WEIGHTS[query.weights](neighbors.similarity, query.temperature))[0]

    def regressed(model: Model, found: list[Features], device: torch.device) -> Iterator[np.ndarray]:
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


def _never(task: nn.Module) -> dict[str, float]:
    raise AssertionError("only the main process validates")


def _check_place(config: Config, *, resume: bool, overwrite: bool) -> None:
    out = config.out
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file; expected a folder for the run: choose another --out")
    # A process killed while it wrote leaves names with .part in them; they say nothing.
    found = {path.name for path in out.iterdir() if ".part" not in path.name} if out.exists() else set()
    if found <= {runs.CONFIG, runs.PANEL, runs.BATCH, runs.FACTS}:
        return
    if resume:
        kept = Config.load(out / runs.CONFIG)
        for key, old, new in differences(kept.dump(), config.dump()):
            raise MismatchError(
                f"{out}: training there began with {key} = {old}, now it is {new}; resume with the same settings"
            )
    elif overwrite:
        if runs.FACTS not in found:
            raise DataError(f"{out}: holds files but no run; --overwrite only replaces runs: choose another --out")
    else:
        raise DataError(
            f"{out}: already holds files; add --resume to go on, --overwrite to start anew, or choose another --out"
        )


def _clear(out: Path) -> None:
    """Remove an earlier run, and nothing else that may be in its folder."""
    for name in (runs.CONFIG, runs.PANEL, runs.BATCH, runs.FACTS, runs.MODEL, runs.LOG):
        (out / name).unlink(missing_ok=True)
    for name in (runs.STATE, runs.REFERENCE):
        shutil.rmtree(out / name, ignore_errors=True)


def _check_same_data(out: Path, run: Run) -> None:
    if not (out / runs.FACTS).exists():
        return
    began = runs.Facts.from_dict(read_json(out / runs.FACTS, "the run's facts"))
    if began.train != run.facts.train:
        raise MismatchError(f"{out}: training there began on other files than data.root holds now; start anew with --overwrite")


def differences(old: object, new: object, at: str = "") -> list[tuple[str, object, object]]:
    """Return (dotted name, old value, new value) of every leaf that differs between two trees."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [found for key in new for found in differences(old.get(key), new[key], f"{at}.{key}".lstrip("."))]
    return [] if old == new else [(at, old, new)]
