"""The running average of weights."""

import pytest
import torch
from torch import nn

from bleep.training.optimizers import WeightAverage


def test_the_average_is_what_its_formula_says_and_leaves_still_weights_alone() -> None:
    model = nn.Linear(2, 1)
    model.bias.requires_grad_(False)
    average, expected = WeightAverage(model, 0.5), model.weight.detach().clone()
    assert set(average.values) == {"weight"}
    for step in range(8):
        with torch.no_grad():
            model.weight.add_(1.0)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    torch.testing.assert_close(average.values["weight"], expected)


def test_the_model_holds_the_average_for_a_while_and_gets_its_own_weights_back() -> None:
    model = nn.Linear(2, 1)
    average, own = WeightAverage(model, 0.9), model.weight.detach().clone()
    average.values["weight"].fill_(7.0)

    def failing() -> None:
        with average.swapped_in():
            assert (model.weight == 7).all()
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert torch.equal(model.weight, own)
    average.keep()
    assert (model.weight == 7).all()
    average.values["weight"].fill_(8.0)
    assert (model.weight == 7).all()


def test_without_a_decay_nothing_is_kept() -> None:
    model = nn.Linear(2, 1)
    average, own = WeightAverage(model, 0.0), model.weight.detach().clone()
    average.update(0)
    with average.swapped_in():
        assert torch.equal(model.weight, own)
    assert average.values == {}
