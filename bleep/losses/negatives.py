"""Which pairs are no wrong ones although they are not a spot's own: its neighbours in the tissue, and its likes."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize


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
