"""Losses of direct regression, as functions of predicted and measured values on the panel's scaled values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import huber_loss, mse_loss, softplus

from bleep.config import TermName

Values = Float[Tensor, "batch genes"]

FLAT = 1e-8
"""A gene whose variance over the step is this share of the other side's, or less, is taken for one that does not vary."""


@final
@dataclass(frozen=True, slots=True)
class Rules:
    """What some losses need to know beside the values."""

    delta: float
    """Error from which the Huber loss goes straight."""
    heg: Int[Tensor, " heg"]
    """Columns of the genes of highest training mean."""
    hvg: Int[Tensor, " hvg"]
    """Columns of the genes that vary most in training."""


def squared_error(predicted: Values, measured: Values) -> Float[Tensor, ""]:
    """Return the mean squared error over spots and genes."""
    return mse_loss(predicted, measured)


def huber(predicted: Values, measured: Values, delta: float) -> Float[Tensor, ""]:
    """Return the mean Huber loss (Huber, Ann Math Stat 1964): half the squared error up to `delta`, a straight line above."""
    return huber_loss(predicted, measured, delta=delta)


def log_cosh(predicted: Values, measured: Values) -> Float[Tensor, ""]:
    """Return the mean of log cosh of the error: half its square where it is small, its size less log 2 where it is large."""
    size = (predicted - measured).abs()
    # The same as log(cosh(size)), written so that large errors do not overflow.
    return (size + softplus(-2 * size)).mean() - torch.log(size.new_tensor(2.0))


def pearson_distance(predicted: Values, measured: Values) -> Float[Tensor, ""]:
    """Return 1 - r, where r is each gene's Pearson correlation over the spots, mean over genes.

    Genes whose measured values do not vary are left out; where only the prediction does not vary, r is 0. It is no mean over
    spots: give it all spots of a step.
    """
    p, m = predicted - predicted.mean(dim=0), measured - measured.mean(dim=0)
    square, spread = (p**2).mean(dim=0), (m**2).mean(dim=0)
    # Rounding leaves a variance of about 1e-14 of the squared mean where all values are the same.
    varies = spread > FLAT * FLAT + 1e-12 * measured.mean(dim=0) ** 2
    safe = torch.where(varies, spread, torch.ones_like(spread))
    r = (p * m).mean(dim=0) / ((square + FLAT * safe).sqrt() * safe.sqrt())
    return 1 - torch.where(varies, r, torch.zeros_like(r)).sum() / varies.sum().clamp_min(1)


TERMS: Mapping[TermName, Callable[[Values, Values, Rules], Float[Tensor, ""]]] = {
    "mse": lambda predicted, measured, rules: squared_error(predicted, measured),
    "huber": lambda predicted, measured, rules: huber(predicted, measured, rules.delta),
    "log_cosh": lambda predicted, measured, rules: log_cosh(predicted, measured),
    "pearson": lambda predicted, measured, rules: pearson_distance(predicted, measured),
    "heg_mse": lambda predicted, measured, rules: squared_error(predicted[:, rules.heg], measured[:, rules.heg]),
    "hvg_mse": lambda predicted, measured, rules: squared_error(predicted[:, rules.hvg], measured[:, rules.hvg]),
}
"""Terms of the regression loss, by the name of the setting that holds their weight."""
OVER_STEP: frozenset[TermName] = frozenset({"pearson"})
"""Those that are no means over spots, so that all spots of a step have to be gathered first."""


WIDEST = 7.0
"""The logarithm of the dispersion is kept between minus this and this: beyond, in single precision, lgamma loses its digits."""


def negative_binomial(
    counts: Float[Tensor, "batch genes"],
    log_mean: Float[Tensor, "batch genes"],
    log_dispersion: Float[Tensor, "batch genes"],
) -> Float[Tensor, ""]:
    """Return the mean negative log-likelihood of counts under a negative binomial.

    Its variance is mean + mean^2 / dispersion, the form of Lopez et al. (Nat Methods 2018, scVI): a large dispersion is nearly
    a Poisson law.
    """
    log_dispersion = log_dispersion.clamp(-WIDEST, WIDEST)
    dispersion = log_dispersion.exp()
    both = torch.logaddexp(log_dispersion, log_mean)
    ways = torch.lgamma(counts + dispersion) - torch.lgamma(dispersion) - torch.lgamma(counts + 1)
    return -(ways + dispersion * (log_dispersion - both) + counts * (log_mean - both)).mean()
