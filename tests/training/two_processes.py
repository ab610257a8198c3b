"""Run by torchrun on two CPU processes: loss and gradients of each task, from half of the batch each.

Arguments: the folder to write to. Not a test by itself: see test_tasks.py.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from bleep.encoders.dual import DualEncoder
from bleep.encoders.image import build_trunk
from bleep.encoders.regressor import Regressor
from bleep.records import Batch
from bleep.settings import Config
from bleep.training.tasks import task_of

KINDS = ("hard", "projected", "inputs", "regression")
SPOTS, GENES = 12, 6


def make(kind: str) -> tuple[nn.Module, Batch]:
    """Return the same task and the same whole batch on every process."""
    loss = {"task": "regression"} if kind == "regression" else {"targets": kind, "temperature": 0.2}
    config = Config.load(
        {
            "loss": loss,
            "head": {"dim": 8, "dropout": 0.0},
            "expression": {"hidden": [10]},
            "image": {"trunk": "test_resnet", "weights": "random"},
        }
    )
    torch.manual_seed(0)
    trunk, _ = build_trunk(config.image, 32)
    model = (Regressor if kind == "regression" else DualEncoder)(trunk, GENES, config)
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(SPOTS, trunk.width, generator=generator)
    values = torch.randn(SPOTS, GENES, generator=generator)
    return task_of(model, config.loss), Batch(features, values, torch.arange(SPOTS))


def gradients(task: nn.Module) -> dict[str, torch.Tensor]:
    """Return the gradients of what learns."""
    return {name: parameter.grad.clone() for name, parameter in task.named_parameters() if parameter.grad is not None}


def main(out: Path) -> None:
    """Write loss and gradients of every kind, from the first process."""
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    assert world == 2, f"this must run on 2 processes, not {world}"
    results = {}
    for kind in KINDS:
        task, batch = make(kind)
        half = slice(rank * SPOTS // world, (rank + 1) * SPOTS // world)
        wrapped = DistributedDataParallel(task)
        loss = wrapped(Batch(*(part[half] for part in batch)))
        loss.backward()
        mean = loss.detach().clone()
        dist.all_reduce(mean)
        results[kind] = {"loss": mean / world, "gradients": gradients(task)}
    if rank == 0:
        torch.save(results, out / "results.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
