"""Losses: contrastive, of regression, and of labels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, huber_loss, logsigmoid, mse_loss, normalize, softplus

from bleep.config import TargetsName, TermName

Square = Float[Tensor, "batch batch"]
Pairs = Bool[Tensor, "batch batch"]


class Sides(NamedTuple):
    """All spots of a step, over all processes: both embeddings and both inputs before projection."""

    image: Float[Tensor, "batch dim"]
    expression: Float[Tensor, "batch dim"]
    features: Float[Tensor, "batch features"]
    values: Float[Tensor, "batch genes"]


def clip_loss(sides: Sides, scale: Float[Tensor, ""], targets: Square, ignored: Pairs | None = None) -> Float[Tensor, ""]:
    """Return the mean cross entropy of tile to spots and spot to tiles.

    Row i of `targets` says how much of each tile belongs to spot i and sums to 1; the other direction takes the
    transpose, as BLEEP does (Xie et al., NeurIPS 2023, and its released code). With `hard_targets` this is CLIP
    (Radford et al., ICML 2021). Pairs that are `ignored`, none of them on the diagonal, stand in neither softmax, and
    what the targets gave them is spread over the rest of their row.
    """
    logits = scale * sides.expression @ sides.image.T
    if ignored is None:
        return (cross_entropy(logits, targets) + cross_entropy(logits.T, targets.T)) / 2
    rest = targets.masked_fill(ignored, 0)
    rest = rest / rest.sum(dim=1, keepdim=True).clamp_min(torch.finfo(rest.dtype).tiny)
    return (_cross_entropy_without(ignored, logits, rest) + _cross_entropy_without(ignored.T, logits.T, rest.T)) / 2


def _cross_entropy_without(ignored: Pairs, logits: Square, targets: Square) -> Float[Tensor, ""]:
    """Return the mean cross entropy of the rows, each over its own columns alone."""
    logs = logits.masked_fill(ignored, -torch.inf).log_softmax(dim=1)
    # An ignored pair's logarithm is minus infinity, and its target 0: their product is no number, so it is left out.
    return -(targets * logs.masked_fill(ignored, 0)).sum(dim=1).mean()


def siglip_loss(
    sides: Sides, scale: Float[Tensor, ""], bias: Float[Tensor, ""], ignored: Pairs | None = None
) -> Float[Tensor, ""]:
    """Return the sigmoid loss of SigLIP (Zhai et al., ICCV 2023): a yes or no for each pair, summed, over the spots.

    Pairs that are `ignored`, none of them on the diagonal, do not stand in the sum.
    """
    logits = scale * sides.expression @ sides.image.T + bias
    own = torch.eye(len(logits), device=logits.device, dtype=logits.dtype)
    each = -logsigmoid((2 * own - 1) * logits)
    return (each if ignored is None else each.masked_fill(ignored, 0)).sum() / len(logits)


def hard_targets(sides: Sides, scale: Float[Tensor, ""], temperature: float) -> Square:
    """Return the identity: a spot belongs to its own tile alone."""
    return torch.eye(len(sides.image), device=sides.image.device, dtype=sides.image.dtype)


def projected_targets(sides: Sides, scale: Float[Tensor, ""], temperature: float) -> Square:
    """Return BLEEP's soft targets: the mean of the similarities within both sides' embeddings, over the temperature.

    BLEEP's published form multiplies by a temperature of 1; with a learning one the inverse temperature of the logits is
    used. Gradients flow through, as in the released code.
    """
    within = (sides.image @ sides.image.T + sides.expression @ sides.expression.T) / 2
    return (within * scale).softmax(dim=1)


def input_targets(sides: Sides, scale: Float[Tensor, ""], temperature: float) -> Square:
    """Return soft targets from what was there before projection: cosine similarities of features and of expression.

    They cannot collapse with the embeddings, which soft targets from projections can.
    """
    with torch.no_grad():
        features, values = normalize(sides.features, dim=1), normalize(sides.values, dim=1)
        return ((features @ features.T + values @ values.T) / (2 * temperature)).softmax(dim=1)


TARGETS: Mapping[TargetsName, Callable[[Sides, Float[Tensor, ""], float], Square]] = {
    "hard": hard_targets,
    "projected": projected_targets,
    "inputs": input_targets,
}


def near_pairs(place: Float[Tensor, "batch 2"], section: Int[Tensor, " batch"], microns: float) -> Bool[Tensor, "batch batch"]:
    """Return which other spots of the same section lie closer than this; places are in microns."""
    # The other ways to compute distances lose several microns where coordinates are large.
    distance = torch.cdist(place, place, compute_mode="donot_use_mm_for_euclid_dist")
    return _others((distance < microns) & (section[:, None] == section))


def alike_pairs(values: Float[Tensor, "batch genes"], correlation: float) -> Bool[Tensor, "batch batch"]:
    """Return which other spots' values correlate over the genes (Pearson) more than this."""
    with torch.no_grad():
        centred = normalize(values - values.mean(dim=1, keepdim=True), dim=1)
        return _others(centred @ centred.T > correlation)


def _others(pairs: Bool[Tensor, "batch batch"]) -> Bool[Tensor, "batch batch"]:
    """Leave out the diagonal: a spot's own tile is always its own."""
    return pairs & ~torch.eye(len(pairs), dtype=torch.bool, device=pairs.device)


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


def class_weights(power: float, share: Float[Tensor, " classes"]) -> Float[Tensor, " classes"]:
    """Return the weight of a spot of each class, 1 in the mean over spots; `share` is that of each class among the spots.

    Where no spot has a label, as in a rehearsal that leaves out all that have one, the weights are numbers all the same.

    >>> class_weights(1.0, torch.tensor([0.75, 0.25])).tolist()  # balanced: each class counts for a half
    [0.6666666865348816, 2.0]

    """
    weights = share.clamp_min(1e-6) ** -power
    return weights / (weights * share).sum() if share.any() else torch.ones_like(share)


def label_loss(
    logits: Float[Tensor, "batch classes"],
    label: Float[Tensor, "batch classes"],
    weights: Float[Tensor, " classes"],
    smoothing: float = 0.0,
    focal: float = 0.0,
) -> Float[Tensor, ""]:
    """Return the weighted cross-entropy, mean over spots.

    `smoothing` spreads that share of a label over all classes (Szegedy et al., CVPR 2016); `focal` is the exponent of
    (1 - probability of the own class) that each spot is multiplied by (Lin et al., ICCV 2017).
    """
    log_probability = logits.log_softmax(dim=1)
    wanted = label * (1 - smoothing) + smoothing / label.shape[1]
    entropy = -(wanted * log_probability).sum(dim=1)
    if focal > 0:
        # The power's slope at zero, where a class is certain and where a spot has no label, is infinite below an exponent of 1.
        others = (-(label * log_probability).sum(dim=1).expm1()).clamp_min(1e-12)
        entropy = entropy * others**focal
    return (entropy * (label @ weights)).mean()
