"""Losses of labels."""

from jaxtyping import Float
from torch import Tensor


def class_weights(power: float, share: Float[Tensor, " classes"]) -> Float[Tensor, " classes"]:
    """Return the weight of a spot of each class, 1 in the mean over spots; `share` is that of each class among the spots."""
    weights = share.clamp_min(1e-6) ** -power
    return weights / (weights * share).sum()


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
        own = (label * log_probability).sum(dim=1).exp()
        entropy = entropy * (1 - own) ** focal
    return (entropy * (label @ weights)).mean()
