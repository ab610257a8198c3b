"""Rates and decay."""

import pytest
import torch
from timm.optim._param_groups import param_groups_layer_decay
from torch import nn

from bleep.encoders.image import build_trunk
from bleep.settings import ImageConfig, OptimConfig
from bleep.training.optimizers import build_optimizer, drop_sleeping, set_rate


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
    drop_sleeping(optimizer, 0.49)
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
