"""Direct regression: the same trunk, and a head that gives the values themselves."""

from typing import final

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from bleep.encoders.heads import Standardizer, regression_head
from bleep.encoders.image import ImageTrunk
from bleep.settings import Config


@final
class Regressor(nn.Module):
    """Pooled trunk features to scaled panel values."""

    def __init__(self, trunk: ImageTrunk, genes: int, config: Config) -> None:
        super().__init__()
        self.trunk = trunk
        width = trunk.width * len(config.tiles.microns)
        self.standardize = Standardizer(width, applied=config.image.standardize != "section")
        self.head = regression_head(width, genes, config.head.hidden, config.head.dropout)

    def forward(self, inputs: Shaped[Tensor, "batch *what"]) -> Float[Tensor, "batch genes"]:
        return self.predict_features(inputs if inputs.is_floating_point() else self.trunk(inputs))

    def predict_features(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch genes"]:
        """Predict scaled values from what the trunk gave."""
        return self.head(self.standardize(features))
