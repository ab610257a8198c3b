"""The CLIP losses."""

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from bleep.losses.contrastive import TARGETS, Sides, clip_loss, hard_targets, input_targets, projected_targets


@pytest.fixture
def sides() -> Sides:
    torch.manual_seed(3)
    image, expression = (normalize(torch.randn(7, 5), dim=1) for _ in range(2))
    return Sides(image, expression, torch.randn(7, 11), torch.randn(7, 4))


def test_hard_targets_give_clips_cross_entropy_with_the_pairs_own_numbers(sides: Sides) -> None:
    scale = torch.tensor(14.0)
    logits = scale * sides.image @ sides.expression.T
    own = torch.arange(7)
    standard = (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2
    torch.testing.assert_close(clip_loss(sides, scale, hard_targets(sides, scale, 0.1)), standard)


@pytest.mark.parametrize("name", TARGETS)
def test_the_loss_is_symmetric_in_its_two_sides(name, sides: Sides) -> None:
    scale = torch.tensor(9.0)
    turned = Sides(sides.expression, sides.image, sides.values, sides.features)
    # The transpose stands for the other direction, so that a symmetric matrix of targets makes the loss symmetric.
    targets = TARGETS[name](sides, scale, 0.1)
    torch.testing.assert_close(clip_loss(sides, scale, targets), clip_loss(turned, scale, targets.T))
    torch.testing.assert_close(TARGETS[name](turned, scale, 0.1), targets)


@pytest.mark.parametrize("name", TARGETS)
def test_each_row_of_the_targets_sums_to_one(name, sides: Sides) -> None:
    targets = TARGETS[name](sides, torch.tensor(9.0), 0.1)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(7))
    assert (targets >= 0).all()


def test_the_loss_is_least_when_pairs_agree_and_nothing_else_does() -> None:
    apart = torch.eye(6)
    together = Sides(apart, apart, apart, apart)
    mixed = Sides(apart, apart.roll(1, 0), apart, apart)
    scale = torch.tensor(20.0)
    targets = hard_targets(together, scale, 0.1)
    assert clip_loss(together, scale, targets) < 1e-6
    assert clip_loss(mixed, scale, targets) > 10


def test_soft_targets_from_inputs_carry_no_gradient_and_those_from_projections_do() -> None:
    leaves = [torch.randn(5, 3, requires_grad=True) for _ in range(4)]
    sides = Sides(*leaves)
    assert not input_targets(sides, torch.tensor(1.0), 0.1).requires_grad
    projected_targets(sides, torch.tensor(1.0), 0.1)[0, 0].backward()
    assert leaves[0].grad is not None
    assert leaves[1].grad is not None
    assert leaves[2].grad is None


def test_soft_targets_from_inputs_are_colder_with_a_lower_temperature(sides: Sides) -> None:
    cold, warm = (input_targets(sides, torch.tensor(1.0), temperature).diagonal().mean() for temperature in (0.05, 1.0))
    assert cold > 0.9 > warm
