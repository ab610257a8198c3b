"""Optimizers by name, their rates and decay."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from accelerate import Accelerator
from timm.optim._param_groups import param_groups_layer_decay
from torch import nn

from bleep.config import ImageConfig, OptimConfig, OptimizerName
from bleep.models.factory import build_trunk
from bleep.training.checkpoint import CheckpointLog, Progress
from bleep.training.optimizers import OPTIMIZERS, build_optimizer, clip, drop_not_started, set_rate


def model() -> nn.Module:
    holder = nn.Module()
    holder.trunk = nn.Linear(3, 3)
    holder.head = nn.Linear(3, 2)
    holder.still = nn.Parameter(torch.zeros(2), requires_grad=False)
    return holder


def test_the_trunk_has_its_own_rate_and_vectors_have_no_decay() -> None:
    made = model()
    optimizer = build_optimizer(made, OptimConfig(lr=1e-2, trunk_lr=1e-4, weight_decay=0.3))
    found = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert found == {
        id(made.trunk.weight): (1e-4, 0.3),
        id(made.trunk.bias): (1e-4, 0.0),
        id(made.head.weight): (1e-2, 0.3),
        id(made.head.bias): (1e-2, 0.0),
    }


def test_a_group_that_starts_later_has_no_rate_and_no_gradient_before() -> None:
    made = model()
    optimizer = build_optimizer(made, OptimConfig(lr=1.0, trunk_lr=0.5))
    late = next(group for group in optimizer.param_groups if group["params"][0] is made.trunk.weight)
    late["start"] = 0.5
    for parameter in made.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert set_rate(optimizer, 0.1, 0.49) == pytest.approx(0.1)
    drop_not_started(optimizer, 0.49)
    assert late["lr"] == 0
    assert made.trunk.weight.grad is None
    assert made.head.weight.grad is not None
    set_rate(optimizer, 0.1, 0.5)
    assert late["lr"] == pytest.approx(0.05)


@pytest.mark.parametrize("trunk", ["test_vit", "test_resnet"])
def test_each_block_of_a_trunk_is_slower_than_the_next_as_timm_has_it(trunk: str) -> None:
    made = build_trunk(ImageConfig(trunk=trunk, weights="random", train="full", layer_decay=0.5), 64)[0]
    holder = nn.ModuleDict({"trunk": made, "head": nn.Linear(3, 2)})
    optimizer = build_optimizer(holder, OptimConfig(lr=1.0, trunk_lr=0.1, weight_decay=0.3))
    found = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    expected = {
        id(p): (pytest.approx(0.1 * group["lr_scale"]), group["weight_decay"])
        for group in param_groups_layer_decay(made.model, 0.3, layer_decay=0.5)
        for p in group["params"]
    }
    assert len({rate for rate, _ in found.values()}) > 4
    for parameter in made.parameters():
        assert found[id(parameter)] == expected[id(parameter)]


PLAIN = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.2),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.2),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.2, momentum=0.7),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.1, weight_decay=0.2, momentum=0.7),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1, weight_decay=0.2),
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=0.1, weight_decay=0.2),
}


def walked(weight: nn.Parameter, optimizer: torch.optim.Optimizer, steps: range) -> torch.Tensor:
    for step in steps:
        weight.grad = torch.sin(weight.detach() + step)
        optimizer.step()
    return weight.detach().clone()


def named(name: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    holder = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        holder.weight.copy_(torch.arange(6.0).reshape(2, 3))
    config = OptimConfig.model_validate({"name": name, "lr": 0.1, "weight_decay": 0.2, "momentum": 0.7})
    return holder, build_optimizer(holder, config)


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_an_optimizer_by_name_steps_as_torchs(name: str) -> None:
    assert set(OPTIMIZERS) == set(get_args(OptimizerName))
    holder, optimizer = named(name)
    plain = nn.Parameter(torch.arange(6.0).reshape(2, 3))
    expected = walked(plain, PLAIN[name]([plain]), range(5))
    torch.testing.assert_close(walked(holder.weight, optimizer, range(5)), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_an_optimizer_by_name_goes_on_where_it_stood(name: str, tmp_path: Path) -> None:
    journal = CheckpointLog(tmp_path / "log.jsonl", tmp_path / "state")
    holder, optimizer = named(name)
    expected = walked(*_parts(named(name)), range(8))
    walked(holder.weight, optimizer, range(4))
    journal.save(holder, optimizer, Progress.start())
    again, fresh = named(name)
    journal.resume(again, fresh)
    torch.testing.assert_close(walked(again.weight, fresh, range(4, 8)), expected, rtol=0, atol=0)


def _parts(made: tuple[nn.Module, torch.optim.Optimizer]) -> tuple[nn.Parameter, torch.optim.Optimizer]:
    return made[0].weight, made[1]


@pytest.mark.parametrize("most", [0.5, 1e3])
def test_gradients_are_clipped_as_pytorch_clips_them(most: float) -> None:
    ours, theirs = (nn.Linear(5, 3) for _ in range(2))
    for model in (ours, theirs):
        for number, parameter in enumerate(model.parameters()):
            parameter.grad = torch.arange(parameter.numel(), dtype=torch.float32).reshape(parameter.shape) + number
    clip(list(ours.parameters()), most, Accelerator())
    nn.utils.clip_grad_norm_(list(theirs.parameters()), most)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine.grad, other.grad)
