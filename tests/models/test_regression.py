"""Each regression loss against its definition written out with numpy and scipy."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import nbinom, pearsonr

from bleep.config import LossConfig
from bleep.models.losses import (
    OVER_STEP,
    TERMS,
    Rules,
    huber,
    log_cosh,
    negative_binomial,
    pearson_distance,
    squared_error,
)

RULES = Rules(0.7, torch.tensor([3, 1]), torch.tensor([0, 4, 2]))


def pair(spots: int = 40, genes: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    measured = torch.randn(spots, genes, generator=generator)
    return measured * 0.4 + torch.randn(spots, genes, generator=generator), measured


def by_hand(name: str, p: np.ndarray, m: np.ndarray) -> float:
    error, size = p - m, np.abs(p - m)
    if name == "huber":
        return float(np.where(size <= 0.7, error**2 / 2, 0.7 * (size - 0.35)).mean())
    if name == "log_cosh":
        return float(np.log(np.cosh(error)).mean())
    if name == "pearson":
        return 1 - float(np.mean([pearsonr(p[:, g], m[:, g]).statistic for g in range(p.shape[1])]))
    columns = {"mse": list(range(p.shape[1])), "heg_mse": [1, 3], "hvg_mse": [0, 2, 4]}[name]
    return float((error[:, columns] ** 2).mean())


@pytest.mark.parametrize("name", TERMS)
def test_a_term_has_the_value_of_its_equation(name: str) -> None:
    predicted, measured = pair()
    found = TERMS[name](predicted, measured, RULES)
    assert float(found) == pytest.approx(by_hand(name, predicted.double().numpy(), measured.double().numpy()), rel=1e-5)


@pytest.mark.parametrize("name", TERMS)
def test_the_gradient_of_a_term_is_its_derivative(name: str) -> None:
    predicted, measured = (side.double() for side in pair(7, 5))
    assert torch.autograd.gradcheck(lambda p: TERMS[name](p, measured, RULES), (predicted.requires_grad_(),))


@pytest.mark.parametrize("name", TERMS)
def test_a_perfect_prediction_has_no_loss(name: str) -> None:
    measured = pair()[1]
    assert float(TERMS[name](measured.clone(), measured, RULES)) == pytest.approx(0, abs=1e-6)


def test_every_term_has_a_weight_in_the_settings_and_only_the_squared_error_counts_by_default() -> None:
    assert LossConfig().terms == {"mse": 1.0}
    assert list(LossConfig.model_validate(dict.fromkeys(TERMS, 2.0)).terms) == list(TERMS)


def test_terms_but_those_said_so_are_means_over_spots() -> None:
    predicted, measured = pair()
    for name, term in TERMS.items():
        halves = [float(term(predicted[part], measured[part], RULES)) for part in (slice(0, 20), slice(20, 40))]
        whole = float(term(predicted, measured, RULES))
        assert (abs(np.mean(halves) - whole) > 1e-3) == (name in OVER_STEP), name


def test_large_errors_do_not_overflow() -> None:
    far, near = torch.full((2, 2), 1e6), torch.zeros(2, 2)
    assert float(log_cosh(far, near)) == pytest.approx(1e6, rel=1e-5)
    assert float(huber(far, near, 1.0)) == pytest.approx(1e6, rel=1e-5)


@pytest.mark.parametrize("level", [0.0, 0.1, -3.7, 1000.1])
def test_genes_whose_measured_values_do_not_vary_are_left_out_of_the_correlation(level: float) -> None:
    predicted, measured = pair()
    flat = measured.clone()
    flat[:, 2] = level
    rest = [0, 1, 3, 4, 5]
    torch.testing.assert_close(pearson_distance(predicted, flat), pearson_distance(predicted[:, rest], measured[:, rest]))
    every = predicted.clone().requires_grad_()
    nothing = pearson_distance(every, torch.full_like(measured, level))
    nothing.backward()
    assert float(nothing.detach()) == 1
    assert float(every.grad.abs().sum()) == 0


def test_a_constant_prediction_has_no_correlation_but_a_gradient_that_is_a_number() -> None:
    predicted, measured = torch.zeros(40, 6, requires_grad=True), pair()[1]
    loss = pearson_distance(predicted, measured)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(1)
    assert bool(torch.isfinite(predicted.grad).all())
    assert float((predicted.grad * measured).sum()) < 0, "a step against the gradient goes towards what was measured"


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_correlation_does_not_depend_on_the_scale_of_the_values(scale: float) -> None:
    predicted, measured = pair()
    torch.testing.assert_close(pearson_distance(predicted * scale, measured * scale), pearson_distance(predicted, measured))
    torch.testing.assert_close(pearson_distance(predicted * scale + 5, measured), pearson_distance(predicted, measured),
                               rtol=1e-2, atol=1e-3)  # fmt: skip


def counted(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(30, 4, generator=generator, dtype=torch.float64) * 2
    counts = torch.poisson(mean.exp(), generator=generator)
    return counts, mean, torch.randn(30, 4, generator=generator, dtype=torch.float64)


def test_the_likelihood_of_counts_is_scipys() -> None:
    counts, log_mean, log_dispersion = counted()
    mean, size = log_mean.exp().numpy(), log_dispersion.exp().numpy()
    expected = -nbinom.logpmf(counts.numpy(), size, size / (size + mean)).mean()
    assert float(negative_binomial(counts, log_mean, log_dispersion)) == pytest.approx(expected, rel=1e-9)
    single = negative_binomial(counts.float(), log_mean.float(), log_dispersion.float())
    assert float(single) == pytest.approx(expected, rel=1e-4)


def test_the_gradient_of_the_likelihood_is_its_derivative() -> None:
    counts, log_mean, log_dispersion = (side[:4] for side in counted())
    inputs = (log_mean.requires_grad_(), log_dispersion.requires_grad_())
    assert torch.autograd.gradcheck(lambda m, d: negative_binomial(counts, m, d), inputs)


def test_the_likelihood_is_best_at_the_mean_that_was_counted() -> None:
    counts = torch.tensor([[3.0], [5.0], [10.0]])
    losses = [
        float(negative_binomial(counts, torch.full((3, 1), float(np.log(mean))), torch.zeros(3, 1))) for mean in (5.0, 6.0, 7.0)
    ]
    assert losses[1] == min(losses)


def test_any_dispersion_and_mean_gives_a_number() -> None:
    counts = torch.tensor([[0.0, 1.0, 50_000.0]])
    for dispersion in (-1e4, -20.0, 20.0, 1e4):
        for mean in (-80.0, 0.0, 15.0):
            assert bool(torch.isfinite(negative_binomial(counts, torch.full((1, 3), mean), torch.full((1, 3), dispersion))))


LOSSES: list[Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = [squared_error, log_cosh, pearson_distance]


@pytest.mark.parametrize("loss", LOSSES)
def test_permuting_spots_changes_no_loss(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
    predicted, measured = pair()
    order = torch.randperm(len(predicted), generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(loss(predicted[order], measured[order]), loss(predicted, measured))
