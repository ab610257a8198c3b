"""The loss of direct regression."""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import mse_loss


def squared_error(predicted: Float[Tensor, "batch genes"], measured: Float[Tensor, "batch genes"]) -> Float[Tensor, ""]:
    """Return the mean squared error over spots and genes, on the panel's scaled values."""
    return mse_loss(predicted, measured)
