"""The contrastive losses."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from bleep.models.losses import (
    TARGETS,
    Sides,
    clip_loss,
    hard_targets,
    input_targets,
    projected_targets,
    siglip_loss,
)


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


def test_soft_targets_are_those_of_their_definition_at_any_temperature(sides: Sides) -> None:
    def by_hand(one: torch.Tensor, other: torch.Tensor, cold: float) -> torch.Tensor:
        rows = [[math.exp(cold * float(one[i] @ one[j] + other[i] @ other[j]) / 2) for j in range(7)] for i in range(7)]
        return torch.tensor([[part / sum(row) for part in row] for row in rows])

    for cold in (2.0, 5.0):
        found = projected_targets(sides, torch.tensor(cold), 0.1), input_targets(sides, torch.tensor(1.0), 1 / cold)
        torch.testing.assert_close(found[0], by_hand(sides.image, sides.expression, cold))
        features, values = (one / one.norm(dim=1, keepdim=True) for one in (sides.features, sides.values))
        torch.testing.assert_close(found[1], by_hand(features, values, cold))


def test_soft_targets_from_inputs_are_colder_with_a_lower_temperature(sides: Sides) -> None:
    cold, warm = (input_targets(sides, torch.tensor(1.0), temperature).diagonal().mean() for temperature in (0.05, 1.0))
    assert cold > 0.9 > warm


def test_the_loss_with_targets_from_projections_is_bleeps_at_its_temperature_of_one() -> None:
    torch.manual_seed(4)
    # As published: embeddings that LayerNorm alone has scaled, temperature 1 above and below.
    image, expression = (torch.randn(6, 5, requires_grad=True) for _ in range(2))
    sides, one = Sides(image, expression, image, expression), torch.tensor(1.0)
    loss = clip_loss(sides, one, projected_targets(sides, one, 0.1))
    total = torch.zeros(())
    weights = [[((image[i] @ image[j] + expression[i] @ expression[j]) / 2).exp() for j in range(6)] for i in range(6)]
    targets = [[weights[i][j] / sum(weights[i]) for j in range(6)] for i in range(6)]
    logits = [[expression[i] @ image[j] for j in range(6)] for i in range(6)]
    for i in range(6):
        row, column = sum(logits[i][j].exp() for j in range(6)), sum(logits[j][i].exp() for j in range(6))
        for j in range(6):
            total = total - targets[i][j] * (logits[i][j].exp() / row).log() / 2
            total = total - targets[j][i] * (logits[j][i].exp() / column).log() / 2
    torch.testing.assert_close(loss, total / 6)
    found, expected = (torch.autograd.grad(value, (image, expression)) for value in (loss, total / 6))
    torch.testing.assert_close(found, expected)


@pytest.fixture
def ignored() -> torch.Tensor:
    pairs = torch.zeros(7, 7, dtype=torch.bool)
    for i, j in ((0, 1), (0, 2), (3, 6), (4, 5)):
        pairs[i, j] = pairs[j, i] = True
    return pairs


@pytest.mark.parametrize("name", TARGETS)
def test_ignored_pairs_stand_in_no_softmax_and_their_target_goes_to_the_rest_of_the_row(
    name, sides: Sides, ignored: torch.Tensor
) -> None:
    scale = torch.tensor(5.0)
    targets = TARGETS[name](sides, scale, 0.1)
    logits = (scale * sides.expression @ sides.image.T).tolist()
    total = 0.0
    rest = [[0.0 if ignored[i, j] else float(targets[i, j]) for j in range(7)] for i in range(7)]
    rest = [[part / sum(row) for part in row] for row in rest]
    for i in range(7):
        kept = [j for j in range(7) if not ignored[i, j]]
        row, column = sum(math.exp(logits[i][j]) for j in kept), sum(math.exp(logits[j][i]) for j in kept)
        for j in kept:
            total -= rest[i][j] * math.log(math.exp(logits[i][j]) / row) / 2
            total -= rest[j][i] * math.log(math.exp(logits[j][i]) / column) / 2
    assert float(clip_loss(sides, scale, targets, ignored)) == pytest.approx(total / 7, rel=1e-5)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_ignored_is_the_loss_as_it_was(name, sides: Sides) -> None:
    scale = torch.tensor(5.0)
    targets = TARGETS[name](sides, scale, 0.1)
    nothing = torch.zeros(7, 7, dtype=torch.bool)
    torch.testing.assert_close(clip_loss(sides, scale, targets, nothing), clip_loss(sides, scale, targets))
    bias = torch.tensor(-2.0)
    torch.testing.assert_close(siglip_loss(sides, scale, bias, nothing), siglip_loss(sides, scale, bias))


@pytest.mark.parametrize("form", ["clip", "siglip"])
def test_an_ignored_pair_pushes_nothing_apart(form: str) -> None:
    # Spot 1 is ignored beside spot 0, so spot 0's embeddings draw nothing from spot 1's.
    torch.manual_seed(5)
    image, expression = (torch.randn(2, 4, requires_grad=True) for _ in range(2))
    sides, scale, bias = Sides(image, expression, image, expression), torch.tensor(3.0), torch.tensor(-1.0)
    both = torch.tensor([[False, True], [True, False]])

    def loss(ignored: torch.Tensor | None) -> torch.Tensor:
        if form == "siglip":
            return siglip_loss(sides, scale, bias, ignored)
        return clip_loss(sides, scale, hard_targets(sides, scale, 0.1), ignored)

    def pushes(ignored: torch.Tensor | None) -> torch.Tensor:
        (gradient,) = torch.autograd.grad(loss(ignored), image)
        # What of the gradient at tile 0 does not lie along its own spot's expression came from the other spot.
        own = normalize(expression[0].detach(), dim=0)
        return (gradient[0] - gradient[0] @ own * own).norm()

    assert pushes(None) > 0.01
    assert pushes(both) < 1e-6
    if form == "clip":
        assert float(loss(both).detach()) == 0


def test_siglip_is_a_yes_or_no_for_each_pair(sides: Sides, ignored: torch.Tensor) -> None:
    scale, bias = torch.tensor(10.0), torch.tensor(-10.0)
    for left_out in (None, ignored):
        total = 0.0
        for i in range(7):
            for j in range(7):
                logit = 10 * float(sides.expression[i] @ sides.image[j]) - 10
                if left_out is None or not left_out[i, j]:
                    total += math.log1p(math.exp(-logit if i == j else logit))
        assert float(siglip_loss(sides, scale, bias, left_out)) == pytest.approx(total / 7, rel=1e-5)


def test_siglip_is_least_when_pairs_agree_and_nothing_else_does() -> None:
    apart = torch.eye(6)
    scale, bias = torch.tensor(40.0), torch.tensor(-20.0)
    assert siglip_loss(Sides(apart, apart, apart, apart), scale, bias) < 1e-6
    assert siglip_loss(Sides(apart, apart.roll(1, 0), apart, apart), scale, bias) > 10


def test_extreme_similarities_leave_losses_and_gradients_finite() -> None:
    image = (torch.randn(5, 64, generator=torch.Generator().manual_seed(6)) * 40).requires_grad_()
    sides, scale = Sides(image, image.roll(1, 0), image, image), torch.tensor(100.0)
    pairs = ~torch.eye(5, dtype=torch.bool)
    for loss in (
        clip_loss(sides, scale, projected_targets(sides, scale, 0.1), pairs),
        siglip_loss(sides, scale, torch.tensor(-10.0), pairs),
    ):
        (gradient,) = torch.autograd.grad(loss, image, retain_graph=True)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()
