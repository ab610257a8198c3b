"""Hiding genes from the expression encoder while it learns."""

import pytest
import torch

from bleep.config import Config
from bleep.models.factory import build_model, build_trunk
from bleep.models.heads import ExpressionEncoder, GeneDropout
from bleep.models.models import DualEncoder

VALUES = torch.randn(200, 30, generator=torch.Generator().manual_seed(0)) + 5


def hidden(layer: GeneDropout) -> torch.Tensor:
    torch.manual_seed(1)
    return layer(VALUES)


def test_a_share_of_each_spots_values_becomes_the_training_mean_and_the_rest_stays() -> None:
    layer = GeneDropout(30, 0.3)
    layer.fit(VALUES)
    found = hidden(layer)
    gone = found != VALUES
    torch.testing.assert_close(found[gone], VALUES.mean(dim=0).expand_as(VALUES)[gone])
    assert gone.float().mean() == pytest.approx(0.3, abs=0.03)
    assert gone.any(dim=1).all()
    assert not torch.equal(gone[0], gone[1])


def test_until_the_means_are_measured_they_are_those_of_zscores() -> None:
    found = hidden(GeneDropout(30, 0.5))
    assert (found[found != VALUES] == 0).all()


def test_nothing_is_hidden_outside_training() -> None:
    assert hidden(GeneDropout(30, 0.5).eval()) is VALUES
    encoder = ExpressionEncoder(30, hidden_share=0.5)
    torch.testing.assert_close(encoder.eval()(VALUES), VALUES, rtol=0, atol=0)
    assert (encoder.train()(VALUES) != VALUES).any()


def test_with_nothing_to_hide_the_generator_is_not_touched() -> None:
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    assert GeneDropout(30, 0.0)(VALUES) is VALUES
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_the_same_seed_hides_the_same_genes() -> None:
    layer = GeneDropout(30, 0.3)
    torch.testing.assert_close(hidden(layer), hidden(layer), rtol=0, atol=0)


def test_the_weights_of_a_run_are_the_same_with_and_without_it_and_the_targets_are_not_damaged() -> None:
    def model(share: float) -> DualEncoder:
        tree = {"image": {"trunk": "test_resnet", "weights": "random"}, "optim": {"gene_dropout": share}}
        config = Config.load(tree)
        torch.manual_seed(0)
        trunk, _ = build_trunk(config.image, 32)
        return build_model(trunk, 30, config)

    with_it, without = model(0.5), model(0.0)
    assert list(with_it.state_dict()) == list(without.state_dict())
    for name, weight in without.state_dict().items():
        torch.testing.assert_close(with_it.state_dict()[name], weight, rtol=0, atol=0)
    pair = with_it.train()(torch.zeros(4, with_it.trunk.width), VALUES[:4])
    torch.testing.assert_close(pair.values, VALUES[:4], rtol=0, atol=0)
    shown = with_it.eval()(torch.zeros(4, with_it.trunk.width), VALUES[:4])
    assert not torch.allclose(pair.expression, shown.expression, atol=1e-3)
