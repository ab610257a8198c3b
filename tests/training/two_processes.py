"""Run by torchrun on two CPU processes: loss and gradients of each task, from half of the batch each.

Arguments: the folder to write to. Not a test by itself: see test_tasks.py.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from bleep.config import Config
from bleep.data.datasets import Counts, Places
from bleep.data.panel import GenePanel
from bleep.models.factory import build_model, build_trunk
from bleep.models.models import DualEncoder, Regressor
from bleep.records import Batch
from bleep.training.optimizers import backward
from bleep.training.tasks import ContrastiveTask, RegressionTask

KINDS = {
    "hard": {"targets": "hard"},
    "projected": {"targets": "projected"},
    "inputs": {"targets": "inputs"},
    "siglip": {"form": "siglip", "targets": "hard"},
    "near": {"targets": "hard", "near": 150.0},
    "alike": {"targets": "inputs", "alike": 0.3},
    "siglip near alike": {"form": "siglip", "targets": "hard", "near": 150.0, "alike": 0.3},
    "both": {"task": "both", "regression": 0.7},
    "both near": {"task": "both", "targets": "projected", "near": 150.0},
    "regression": {"task": "regression"},
    "regression by genes": {"task": "regression", "mse": 0.0, "pearson": 1.0, "huber": 1.0, "heg_mse": 2.0, "top": 2},
    "regression of counts": {"task": "regression", "mse": 0.5, "nb": 1.0},
    "both by genes": {"task": "both", "pearson": 2.0, "mse": 0.0, "hvg_mse": 1.0, "top": 2},
}
"""Settings of the loss, by name."""
CHUNKS = (None, 4, 1)
SPOTS, GENES = 12, 6


def make(kind: str) -> tuple[nn.Module, Batch]:
    """Return the same task and the same whole batch on every process."""
    config = Config.load(
        {
            "loss": {"temperature": 0.2, **KINDS[kind]},
            "head": {"dim": 8, "dropout": 0.0},
            "expression": {"hidden": [10]},
            "image": {"trunk": "test_resnet", "weights": "random"},
        }
    )
    torch.manual_seed(0)
    trunk, _ = build_trunk(config.image, 32)
    model = build_model(trunk, GENES, config)
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(SPOTS, trunk.width, generator=generator)
    values = torch.randn(SPOTS, GENES, generator=generator)
    # The batch's spots are not the first of all, nor in order: a task that took their number in the batch would fail.
    batch = Batch(features, values, torch.randperm(2 * SPOTS, generator=generator)[:SPOTS])
    if isinstance(model, Regressor):
        counted = torch.poisson(torch.full((2 * SPOTS, GENES), 4.0), generator=generator)
        counts = Counts(counted, torch.randn(2 * SPOTS, generator=generator)) if config.loss.nb else None
        return RegressionTask(model, config.loss, panel(), counts), batch
    assert isinstance(model, DualEncoder)
    return ContrastiveTask(model, config.loss, places(), panel()), batch


def panel() -> GenePanel:
    """Return a panel of made-up statistics."""
    mean, one = np.linspace(0.5, 2, GENES), np.ones(GENES)
    words = {"species": "none", "normalise": "log1p", "target": 1e4, "denominator": "all", "scale": "zscore"}
    statistics = {"low": -one, "high": one, "shift": mean, "factor": one, "mean": mean, "variance": mean[::-1] ** 3}
    genes = tuple(f"gene{number}" for number in range(GENES))
    return GenePanel(genes=genes, others=genes, sections=(), batch=None, **words, **statistics)


def places() -> Places:
    """Return two sections of spots 100 microns apart, in rows of four."""
    number = torch.arange(2 * SPOTS) % SPOTS
    place = torch.stack([number % 4, number // 4], dim=1) * 100.0
    return Places(place + 30_000, torch.arange(2 * SPOTS) // SPOTS)


def gradients(task: nn.Module) -> dict[str, torch.Tensor]:
    """Return the gradients of what learns."""
    return {name: parameter.grad.clone() for name, parameter in task.named_parameters() if parameter.grad is not None}


def main(out: Path) -> None:
    """Write loss and gradients of every kind, from the first process."""
    accelerator = Accelerator(cpu=True)
    rank, world = dist.get_rank(), dist.get_world_size()
    assert world == 2, f"this must run on 2 processes, not {world}"
    results = {}
    half = slice(rank * SPOTS // world, (rank + 1) * SPOTS // world)
    for kind in KINDS:
        for chunk in CHUNKS:
            task, batch = make(kind)
            wrapped = DistributedDataParallel(task)
            mean = backward(wrapped, task.loss, Batch(*(part[half] for part in batch)), chunk, accelerator).clone()
            dist.all_reduce(mean)
            results[kind, chunk] = {"loss": mean / world, "gradients": gradients(task)}
    if rank == 0:
        torch.save(results, out / "results.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
