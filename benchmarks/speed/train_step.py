"""What a training step costs above the model itself, and what cached gradients cost and save; all in one run.

    OMP_NUM_THREADS=1 python benchmarks/speed/train_step.py [--out benchmarks/results]

Tiles, features and values are random numbers held in memory, so that reading costs next to nothing. Our step is that of
`bleep.training.loop.train`, from the data set to the next step. The bare step is forward, backward and AdamW, as PyTorch makes
it, of the same model on batches made before; once more with AdamW's fused kernel, which our step uses on a CPU. Their epochs
alternate; a ratio is the median over pairs of neighbouring epochs, of processor time on a CPU. Memory is the largest resident
memory of a process of its own (on CUDA, what torch has given out), less what was there before the step. On a CUDA device
everything runs in bf16, and images a second are told.
"""

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from bleep.config import Config
from bleep.data.datasets import FeatureDataset
from bleep.files import write_json, write_text
from bleep.models.factory import build_model, build_trunk
from bleep.records import Batch
from bleep.training.checkpoint import CheckpointLog
from bleep.training.loop import EpochBatches, train
from bleep.training.optimizers import backward
from bleep.training.tasks import ContrastiveTask, task_of

CUDA = torch.cuda.is_available()
TRUNKS = {"CNN (ResNet-10t)": "resnet10t", "ViT (tiny, 16 px patches)": "vit_tiny_patch16_224"}
PIXELS, GENES, TIMES = 64, 250, 32
CHUNK = 64 if CUDA else 8
MEMORY_CHUNK = 64
STEP = 128 if CUDA else 16
Row = tuple[str, float, float, float, str]
LIMITS = {"step": 1.08, "time": 1.45, "memory": 1.3}


class Held(Dataset[Batch]):
    """A data set in memory."""

    def __init__(self, inputs: Tensor, expression: Tensor) -> None:
        self.inputs, self.expression = inputs, expression

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, key: tuple[int, list[int]]) -> Batch:
        rows = torch.as_tensor(key[1])
        return Batch(self.inputs[rows], self.expression[rows], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--memory", nargs=2, metavar=("TRUNK", "SPOTS"), help="for this script itself: measure one step")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if arguments.memory:
        print(json.dumps(memory_here(arguments.memory[0], int(arguments.memory[1]))))
        return
    rows = []
    for row in measured():
        print(row, file=sys.stderr)
        rows.append(row)
    report(rows, arguments.out)


def measured() -> Iterator[Row]:
    """Yield what is compared, the ratio, both sides, and which limit holds."""
    for name, trunk in TRUNKS.items():
        data = tiles(4 * STEP if CUDA else 2 * STEP)
        yield f"our step / bare step, {name} learning", *steps(task_with(trunk), data, STEP), "step"
    for name, fused in (("our step / bare step, heads on frozen features", False), ("the same, both with fused AdamW", True)):
        data = FeatureDataset(torch.randn(2048, 384), torch.randn(2048, GENES).numpy())
        yield name, *steps(task_with(None), data, 256, fused=fused), "step"
    for name, trunk in TRUNKS.items():
        yield f"{TIMES} chunks cached / gradients of a chunk, a sample, {name}", *cached(task_with(trunk)), "time"
    for name, trunk in TRUNKS.items():
        one, many = (memory(trunk, spots) for spots in (MEMORY_CHUNK, TIMES * MEMORY_CHUNK))
        yield f"memory of {TIMES} chunks / of one, {name}", many / one, many, one, "memory"


def tiles(spots: int) -> Held:
    return Held(torch.randint(0, 256, (spots, 1, 3, PIXELS, PIXELS), dtype=torch.uint8), torch.randn(spots, GENES))


def task_with(trunk: str | None) -> ContrastiveTask:
    """Return a task with this trunk learning, or for features of 384 numbers."""
    image = {"trunk": trunk or "test_vit", "weights": "random", "train": "full" if trunk else "frozen"}
    config = Config.load({"image": image, "tiles": {"pixels": PIXELS, "microns": [64]}})
    built, _ = build_trunk(config.image, PIXELS)
    if trunk is None:
        built.width = 384
    task = task_of(build_model(built, GENES, config), config.loss)
    assert isinstance(task, ContrastiveTask)
    return task


def accelerator() -> Accelerator:
    return Accelerator(mixed_precision="bf16" if CUDA else "no")


def cast() -> torch.autocast:
    return torch.autocast("cuda" if CUDA else "cpu", torch.bfloat16, enabled=CUDA)


def now() -> float:
    """Return seconds: on a CPU those of this process alone, so that others on the machine do not count."""
    if not CUDA:
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def steps(
    task: ContrastiveTask, data: Held | FeatureDataset, batch: int, pairs: int = 15, *, fused: bool = False
) -> tuple[float, float, float]:
    """Return the ratio, and milliseconds a step of ours and of the bare one; the first two epochs warm up."""
    place = accelerator()
    bare = copy.deepcopy(task).to(place.device).train()
    config = Config().optim.model_copy(update={"epochs": pairs + 2, "batch": batch, "patience": 1000, "workers": 0})
    optimizer = torch.optim.AdamW(bare.parameters(), config.lr, weight_decay=config.weight_decay, fused=fused or None)
    at = range(0, len(data), batch)
    held = [Batch(*(field.to(place.device) for field in data[(0, list(range(start, start + batch)))])) for start in at]
    began: list[float] = []
    ended: list[float] = []
    theirs: list[float] = []

    def end(task: nn.Module) -> dict[str, float]:
        ended.append(now())
        return {"score": 0.0}

    def bare_epoch(epoch: int, score: float) -> None:
        start = now()
        for one in held:
            with cast():
                encoded = bare(one)
            bare.loss(encoded).backward()
            optimizer.step()
            optimizer.zero_grad()
        began.append(now())
        theirs.append((began[-1] - start) / len(held))

    with tempfile.TemporaryDirectory() as temporary:
        journal = CheckpointLog(Path(temporary) / "log.jsonl", Path(temporary) / "state")
        train(task, data, EpochBatches(len(data), batch, 0, 0, 1), config, journal, end, place, on_epoch=bare_epoch)
    # An epoch of ours begins where the bare one before it has ended.
    ours = [(end - begin) / len(held) for begin, end in zip(began, ended[1:], strict=False)]
    return middle(ours[1:], theirs[2:])


def middle(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
    return ratio, 1e3 * statistics.median(ours), 1e3 * statistics.median(theirs)


def gradients(task: nn.Module, place: Accelerator, chunk: int | None) -> Callable[[Batch], None]:
    """Return a step without its optimizer, whose cost would be shared by more samples where the step is larger."""
    loss_of = task.loss
    wrapped = place.prepare(task.train())

    def step(batch: Batch) -> None:
        backward(wrapped, loss_of, batch, chunk, place)
        wrapped.zero_grad()

    return step


def cached(task: ContrastiveTask, pairs: int = 15 if CUDA else 3) -> tuple[float, float, float]:
    """Return the ratio, and milliseconds a sample with and without cached gradients."""
    place = accelerator()
    whole, part = gradients(copy.deepcopy(task), place, CHUNK), gradients(task, place, None)
    data = tiles(TIMES * CHUNK)
    rows = list(range(len(data)))
    batch = Batch(*(field.to(place.device) for field in data[(0, rows)]))
    parts = [Batch(*(field[at : at + CHUNK] for field in batch)) for at in range(0, len(data), CHUNK)]
    ours, theirs = [], []
    for number in tqdm(range(pairs + 1), desc="cached gradients", leave=False):
        began = now()
        whole(batch)
        between = now()
        for one in parts:
            part(one)
        ended = now()
        if number:
            ours.append((between - began) / len(data))
            theirs.append((ended - between) / len(data))
    return middle(ours, theirs)


def memory(trunk: str, spots: int) -> float:
    """Return the megabytes a step of so many spots takes, in a process of its own; the least of some."""
    command = [sys.executable, __file__, "--memory", trunk, str(spots)]
    # Freed memory goes back to the system at once, so that what is resident is what is held.
    calm = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_THRESHOLD_": "65536"}
    return min(float(subprocess.run(command, env=calm, stdout=subprocess.PIPE, check=True).stdout) for _ in range(2))


def memory_here(trunk: str, spots: int) -> float:
    place, data = accelerator(), tiles(spots)
    batch = Batch(*(field.to(place.device) for field in data[(0, list(range(spots)))]))
    task = task_with(trunk)
    step = gradients(task, place, MEMORY_CHUNK)
    # Pages of code are there before what is measured.
    step(Batch(*(field[:2] for field in batch)))
    if CUDA:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(batch)
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    # Linux forgets the largest resident memory so far, which importing torch may have set, when asked like this.
    Path("/proc/self/clear_refs").write_text("5")
    resident = kilobytes("VmRSS")
    step(batch)
    return (kilobytes("VmHWM") - resident) / 1e3


def kilobytes(name: str) -> int:
    """Return a line of what Linux says of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def report(rows: list[Row], out: Path) -> None:
    device = torch.cuda.get_device_name() + ", bf16" if CUDA else "one thread of a CPU, float32"
    lines = ["# What a training step costs", "",
             f"`python benchmarks/speed/train_step.py`, {device}, torch {torch.__version__}, tiles of {PIXELS} px. Steps of "
             f"{STEP} tiles or 256 features; chunks of {CHUNK} tiles for time, {MEMORY_CHUNK} for memory.", "",
             "| ratio | asked: at most | found | this | that | |", "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    units = {"step": "ms a step", "time": "ms a sample", "memory": "MB"}
    for name, ratio, ours, theirs, kind in rows:
        lines.append(f"| {name} | {LIMITS[kind]} | {ratio:.3f} | {ours:.2f} | {theirs:.2f} | {units[kind]} |")
    if CUDA:
        lines += ["", "| images/s | ours | bare |", "| --- | --- | --- |"]
        lines += [
            f"| {n} | {1e3 * STEP / a:,.0f} | {1e3 * STEP / b:,.0f} |"
            for n, _, a, b, kind in rows
            if kind == "step" and "heads" not in n
        ]
    print("\n".join([*lines, ""]))
    write_text(out / "train_step.md", "\n".join([*lines, ""]))
    keys = ("name", "ratio", "this", "that", "kind")
    write_json(out / "train_step.json", {"device": device, "rows": [dict(zip(keys, row, strict=True)) for row in rows]})


if __name__ == "__main__":
    main()
