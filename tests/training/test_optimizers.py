"""Rates and decay."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from bleep.settings import OptimConfig
from bleep.training.optimizers import build_optimizer, set_rate


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


def test_the_rate_rises_then_falls_as_a_cosine_to_nearly_nothing() -> None:
    optimizer = build_optimizer(model(), OptimConfig(lr=1.0, trunk_lr=0.1))
    rates = [set_rate(optimizer, step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert all(later <= earlier for earlier, later in pairwise(rates[10:]))
    assert rates[55] == pytest.approx(0.5)
    assert rates[-1] < 1e-3
    assert [group["lr"] / group["peak"] for group in optimizer.param_groups] == pytest.approx([rates[-1]] * 4)


def test_without_warm_up_the_first_step_has_the_peak_rate() -> None:
    assert set_rate(build_optimizer(model(), OptimConfig(lr=1.0)), 0, 10, 0.0) == 1.0
