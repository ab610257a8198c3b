"""The negative binomial likelihood of counts."""

import torch
from jaxtyping import Float
from torch import Tensor

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
