"""The one training loop: it knows neither model nor loss."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from bleep.config import OptimConfig
from bleep.data.datasets import FeatureDataset, TileDataset
from bleep.data.loading import as_it_is, loaded, read
from bleep.errors import ConfigError, StoppedError, one_sentence
from bleep.models.image import ImageTrunk
from bleep.progress import Progress
from bleep.records import Batch
from bleep.training.checkpoint import CheckpointLog, tell
from bleep.training.guard import TrainingGuard, asked_in
from bleep.training.optimizers import (
    WeightAverage,
    after_epoch,
    backward,
    build_optimizer,
    clip,
    drop_not_started,
    factor,
    least_rate,
    set_rate,
)

Key = tuple[int, list[int]]
Scores = dict[str, float]
View = Callable[[Batch, int], Batch]
"""What a batch is changed into, once it is on its device, in an epoch."""


@final
class EpochBatches(Sampler[Key]):
    """The rows of each step for one process: the steps of an epoch are the same on any number of processes.

    Spots are shuffled anew each epoch from (seed, epoch). A step holds `batch` of them over all processes, or all there are
    when they are fewer, less what exceeds a multiple of 8, so that 1, 2, 4 or 8 processes share it alike; what does not
    fill a step waits for another epoch.

    Raises:
        ConfigError: the processes cannot share a step alike.

    """

    def __init__(self, spots: int, batch: int, seed: int, rank: int, world: int) -> None:
        whole = min(batch, spots)
        whole -= whole % 8 if whole >= 8 else 0
        if whole < max(2, world):
            least = max(2, world)
            way_out = f"raise optim.batch to {least} or more" if batch < least else f"train on {least} spots or more"
            raise ConfigError(
                f"{spots} training spots in steps of {batch} on {world} processes leave nothing to compare; {way_out}"
            )
        if whole % world:
            raise ConfigError(
                f"{world} processes cannot share steps of {whole} spots alike; set optim.batch to {8 * world} or so"
            )
        self.spots, self.batch, self.seed, self.rank, self.world = spots, whole, seed, rank, world
        self.epoch = 0

    def __len__(self) -> int:
        return self.spots // self.batch

    def __iter__(self) -> Iterator[Key]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.spots)
        share = self.batch // self.world
        for step in range(len(self)):
            start = step * self.batch + self.rank * share
            yield self.epoch, order[start : start + share].tolist()


def train(
    task: nn.Module,
    dataset: Dataset[Batch],
    batches: EpochBatches,
    config: OptimConfig,
    journal: CheckpointLog,
    validate: Callable[[nn.Module], Scores] | None,
    accelerator: Accelerator,
    view: View | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
    keep: Callable[[int], None] | None = None,
    stop: int | None = None,
) -> int:
    """Train the task in place and return the epoch whose weights it holds at the end.

    With `validate`, the epoch of the highest `score` among what it returns is kept, and training stops after `patience`
    epochs without a better one; without it the last epoch is kept. Where the journal holds a state, training goes on from
    there, and ends with the same weights as if it had never stopped. Through `view`, if given, every batch is seen.
    On the main process, `on_epoch` is told each epoch and its score once the journal holds them; what it raises ends training.
    There `keep` is told each epoch too, while the task holds the weights after it, or their average where there is one.
    With `stop`, the task ends with what `keep` is told after that many epochs, whichever had the best score.

    Raises:
        StoppedError: SIGTERM came; the epoch begun is lost, the state of the one before is kept.
        ConfigError: the loss or a weight is no number; the state of the epoch before is kept.
        DataError: the state or the log cannot be written; the state of the epoch before is kept.

    """
    loader = _loader(dataset, batches, config, accelerator.device)
    task.to(accelerator.device)
    optimizer, last = build_optimizer(task, config), config.epochs if stop is None else stop
    average, watch = WeightAverage(task, config.ema), TrainingGuard(accelerator)
    progress, chooses = journal.resume(task, optimizer, average.values), validate is not None and stop is None
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        journal.forget_after(progress.epoch)
    if config.compile:
        _compile(task)
    wrapped, prepared = accelerator.prepare(task, optimizer)
    # Accelerate's wrapper searches the disk for a package at each step; it is needed to scale gradients, and on a TPU.
    stepped = prepared if accelerator.scaler is not None or accelerator.device.type == "xla" else optimizer
    # Listed once: going through a frozen trunk's modules at each step would cost as much as the heads' own step.
    learning = [parameter for parameter in task.parameters() if parameter.requires_grad]
    bar = Progress(
        total=last, initial=progress.epoch + 1, desc="training", unit="epoch", disable=not accelerator.is_main_process
    )
    with bar, watch.listening(), one_sentence(), _repeatable():
        for epoch in range(progress.epoch + 1, last):
            if chooses and epoch - progress.best_epoch > config.patience and progress.best_epoch >= 0:
                break
            batches.epoch = epoch
            # Seeded anew each epoch, so that a resumed run draws the same dropout as an uninterrupted one.
            torch.manual_seed((batches.seed * 100_003 + epoch) * 1009 + accelerator.process_index)
            # A loader once drew one number of these each epoch: without it a training that an older version began would
            # not end as it would have.
            torch.empty((), dtype=torch.int64).random_()
            step = _Step(wrapped, learning, stepped, config, accelerator, view, average, watch, progress.falls)
            line = _one_epoch(step, loader, epoch)
            asked = watch.finish(learning, epoch)
            with average.swapped_in():
                scores = _validated(task, validate, accelerator)
                score = scores.get("score", float(epoch))
                better = score > progress.best_score
                if better and accelerator.is_main_process and validate is not None:
                    journal.save_best(task)
                if keep is not None and accelerator.is_main_process:
                    keep(epoch)
            best = (epoch, score) if better else (progress.best_epoch, progress.best_score)
            progress = replace(progress, epoch=epoch, best_epoch=best[0], best_score=best[1])
            progress = after_epoch(progress, score, config)
            if accelerator.is_main_process:
                told = {"epoch": epoch} | line | {f"val_{key}": value for key, value in scores.items()}
                journal.write(told)
                journal.save(task, optimizer, progress, average.values)
                tell(accelerator, told, epoch)
            shown = {"loss": f"{line['loss']:.4f}", "lr": f"{line['lr']:.1e}", "spots/s": f"{line['spots_per_s']:.0f}"}
            bar.set_postfix(shown | {key: f"{value:.4f}" for key, value in scores.items()})
            bar.update()
            if on_epoch is not None and accelerator.is_main_process:
                on_epoch(epoch, score)
            if asked and epoch + 1 < last:
                raise StoppedError(asked_in(epoch + 1))
    accelerator.wait_for_everyone()
    if chooses and progress.best_epoch >= 0:
        journal.load_best(task)
    else:
        average.keep()
    task.eval()
    return progress.epoch if stop is not None else progress.best_epoch


@final
@dataclass(frozen=True, slots=True)
class _Step:
    """Everything a step of one epoch works with."""

    task: nn.Module
    learning: list[nn.Parameter]
    """What of it learns."""
    optimizer: torch.optim.Optimizer
    config: OptimConfig
    accelerator: Accelerator
    view: View | None
    average: WeightAverage
    watch: TrainingGuard
    falls: int
    """How often the learning rate has fallen before this epoch."""


def _one_epoch(do: _Step, loader: DataLoader[Batch], epoch: int) -> Scores:
    task, optimizer, config, accelerator = do.task, do.optimizer, do.config, do.accelerator
    task.train()
    loss_of = accelerator.unwrap_model(task).loss
    began, seen, rate = time.perf_counter(), 0, 0.0
    total = torch.zeros((), device=accelerator.device)
    steps = len(loader)
    for step, batch in enumerate(read(loader)):
        done, last = epoch * steps + step, config.epochs * steps
        rate = set_rate(optimizer, factor(config, done, last, do.falls), done / last, least_rate(config, done, last))
        moved = Batch(*(field.to(accelerator.device, non_blocking=True) for field in batch))
        seen_as = moved if do.view is None else do.view(moved, epoch)
        loss = backward(task, loss_of, seen_as, config.chunk, accelerator)
        drop_not_started(optimizer, done / last)
        clip(do.learning, config.clip, accelerator)
        optimizer.step()
        optimizer.zero_grad()
        do.average.update(done)
        do.watch.look(epoch, step, loss)
        total += loss
        seen += len(batch.rows) * accelerator.num_processes
    mean = float(accelerator.reduce(total, "mean")) / steps
    return {"loss": mean, "lr": rate, "spots_per_s": seen / (time.perf_counter() - began)}


@contextlib.contextmanager
def _repeatable() -> Iterator[None]:
    """Let cuDNN choose among convolutions that give the same bits each time; on a GPU they took no longer (docs/log.md)."""
    before, torch.backends.cudnn.deterministic = torch.backends.cudnn.deterministic, True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


def _compile(task: nn.Module) -> None:
    """Compile every trunk that learns, in place: the names of its weights stay."""
    for module in task.modules():
        if isinstance(module, ImageTrunk) and module.learns:
            module.compile()


def _validated(task: nn.Module, validate: Callable[[nn.Module], Scores] | None, accelerator: Accelerator) -> Scores:
    """Score on the main process and tell the others, so that all stop together."""
    if validate is None:
        return {}
    told: list[Scores] = [{}]
    if accelerator.is_main_process:
        task.eval()
        with torch.no_grad():
            told = [validate(task)]
    if accelerator.num_processes > 1:
        broadcast_object_list(told)
    return told[0]


def _loader(dataset: Dataset[Batch], batches: EpochBatches, config: OptimConfig, device: torch.device) -> DataLoader[Batch]:
    if isinstance(dataset, FeatureDataset):
        own = torch.Generator()
        return DataLoader(dataset.on(device), sampler=batches, batch_size=None, collate_fn=as_it_is, generator=own)
    tiles = dataset.tiles if isinstance(dataset, TileDataset) else None
    step_bytes = batches.batch // batches.world * tiles.tile_bytes if tiles is not None else 0
    slides = tiles.cut_from if tiles is not None else ()
    return loaded(dataset, batches, device, workers=config.workers, step_bytes=step_bytes, slides=slides, stays=True)
