"""Direct regression: the same trunk, and a head that gives the values themselves."""

from typing import final

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from bleep.encoders.fusion import Trunk
from bleep.encoders.heads import Standardizer, regression_head
from bleep.encoders.links import CountLink
from bleep.settings import Config


@final
class Regressor(nn.Module):
    """Pooled trunk features to scaled panel values; under `loss.nb` the head says the logarithms of rates of counts."""

    def __init__(self, trunk: Trunk, genes: int, config: Config) -> None:
        super().__init__()
        self.trunk = trunk
        width = trunk.width * len(config.tiles.microns)
        self.standardize = Standardizer(width, applied=config.image.standardize != "section")
        self.head = regression_head(width, genes, config.head.hidden, config.head.dropout, config.head.before)
        self.link = CountLink(genes) if config.loss.nb > 0 else None

    def forward(self, inputs: Shaped[Tensor, "batch *what"]) -> Float[Tensor, "batch genes"]:
        """Return what the head says of tiles, or of what the trunk gave of them."""
        return self.head(self.standardize(inputs if inputs.is_floating_point() else self.trunk(inputs)))

    def scaled(self, said: Float[Tensor, "batch genes"]) -> Float[Tensor, "batch genes"]:
        """Return the scaled values that the head's words mean."""
        return said if self.link is None else self.link(said)

    def predict_features(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch genes"]:
        """Predict scaled values from what the trunk gave."""
        return self.scaled(self.head(self.standardize(features)))
