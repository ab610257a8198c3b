"""Contrastive losses between tiles and spots, as functions of tensors: CLIP with targets of any softness, and SigLIP."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid, normalize

from bleep.config import TargetsName

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
