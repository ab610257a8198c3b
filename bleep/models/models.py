"""Two encoders that meet in one space: tiles on one side, expression on the other."""

import math
from typing import NamedTuple, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import normalize

from bleep.config import Config
from bleep.errors import MismatchError
from bleep.models.heads import (
    CountLink,
    ExpressionEncoder,
    PrincipalAxes,
    ProjectionHead,
    Standardizer,
    classifier_head,
    regression_head,
)
from bleep.models.image import Trunk
from bleep.spreads import limit_of

COLDEST, WARMEST = 0.01, 1.0
"""Bounds of a temperature that learns, as CLIP's (Radford et al., ICML 2021) on the cold side."""
BIAS = -10.0
"""Where SigLIP's bias starts (Zhai et al., ICCV 2023): at first nearly every pair is taken for a wrong one, as it is."""


class Pair(NamedTuple):
    """Both sides of a batch, and what they were projected from."""

    image: Float[Tensor, "batch dim"]
    expression: Float[Tensor, "batch dim"]
    features: Float[Tensor, "batch features"]
    """Standardised trunk features, before projection."""
    values: Float[Tensor, "batch genes"]
    """Scaled panel values, before the encoder."""
    scale: Float[Tensor, ""]
    """Inverse temperature."""
    bias: Float[Tensor, ""]
    """What SigLIP adds to every logit; 0 under CLIP."""
    predicted: Float[Tensor, "batch predicted"]
    """Scaled values that the regression head says, under `loss.task: both`; no columns otherwise."""


def feature_width(trunk: Trunk, config: Config) -> int:
    """Return how many features a tile has: the trunk's of every window, and as many again for each scale of context."""
    return trunk.width * len(config.tiles.microns) * (1 + len(config.image.context))


def _standardizer(width: int, trunk: Trunk, config: Config) -> Standardizer:
    kind, floor = config.image.standardize, config.image.floor
    limit = limit_of(floor, learns=trunk.learns) if kind == "train" else math.inf
    return Standardizer(width, applied=kind != "section", floor=floor, limit=limit)


@final
class DualEncoder(nn.Module):
    """An image and an expression encoder with BLEEP's projection head each, and a temperature.

    Under `loss.form: siglip` there is a bias too, and under `loss.task: both` a regression head on the same standardised
    features as the image side's projection.
    """

    def __init__(self, trunk: Trunk, genes: int, config: Config) -> None:
        super().__init__()
        self.trunk = trunk
        width = feature_width(trunk, config)
        self.standardize = _standardizer(width, trunk, config)
        self.image_head = ProjectionHead(width, config.head.dim, config.head.dropout)
        self.expression_encoder = ExpressionEncoder(genes, config.expression, config.optim.gene_dropout)
        self.expression_head = ProjectionHead(self.expression_encoder.width, config.head.dim, config.head.dropout)
        self.log_scale = nn.Parameter(
            torch.tensor(-math.log(config.loss.temperature)), requires_grad=config.loss.learn_temperature
        )
        self.unit = config.head.norm == "l2"
        # Made last, so that the other weights are the same with and without them.
        self.bias = nn.Parameter(torch.tensor(BIAS)) if config.loss.form == "siglip" else None
        self.regression_head = (
            regression_head(width, genes, config.head.hidden, config.head.dropout, config.head.before)
            if config.loss.task == "both"
            else None
        )

    @property
    def retrieves(self) -> bool:
        """Whether tiles and spots meet in one space."""
        return True

    @property
    def regresses(self) -> bool:
        """Whether it predicts values by a head of its own, as one trained for both tasks does."""
        return self.regression_head is not None

    def forward(self, inputs: Shaped[Tensor, "batch *what"], expression: Float[Tensor, "batch genes"]) -> Pair:
        features = self.standardize(inputs if inputs.is_floating_point() else self.trunk(inputs))
        if self.log_scale.requires_grad:
            with torch.no_grad():
                self.log_scale.clamp_(-math.log(WARMEST), -math.log(COLDEST))
        image = self._normed(self.image_head(features))
        bias = features.new_zeros(()) if self.bias is None else self.bias
        predicted = features.new_zeros((len(features), 0)) if self.regression_head is None else self.regression_head(features)
        return Pair(image, self.embed_expression(expression), features, expression, self.log_scale.exp(), bias, predicted)

    def embed_features(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch dim"]:
        """Embed what the trunk gave."""
        return self._normed(self.image_head(self.standardize(features)))

    def embed_expression(self, expression: Float[Tensor, "batch genes"]) -> Float[Tensor, "batch dim"]:
        """Embed scaled panel values."""
        return self._normed(self.expression_head(self.expression_encoder(expression)))

    def predict_features(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch genes"]:
        """Predict scaled values from what the trunk gave.

        Raises:
            MismatchError: the model has no regression head.

        """
        if self.regression_head is None:
            raise MismatchError("this run is contrastive and has no regression head: build an index and retrieve")
        return self.regression_head(self.standardize(features))

    def _normed(self, embedding: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        return normalize(embedding, dim=1) if self.unit else embedding


@final
class Regressor(nn.Module):
    """Pooled trunk features to scaled panel values; under `loss.nb` the head says the logarithms of rates of counts."""

    def __init__(self, trunk: Trunk, genes: int, config: Config) -> None:
        super().__init__()
        self.trunk = trunk
        width = feature_width(trunk, config)
        self.standardize = _standardizer(width, trunk, config)
        self.head = regression_head(width, genes, config.head.hidden, config.head.dropout, config.head.before)
        self.link = CountLink(genes) if config.loss.nb > 0 else None

    @property
    def retrieves(self) -> bool:
        """Whether tiles and spots meet in one space."""
        return False

    @property
    def regresses(self) -> bool:
        """Whether it predicts values by a head of its own."""
        return True

    def forward(self, inputs: Shaped[Tensor, "batch *what"]) -> Float[Tensor, "batch genes"]:
        """Return what the head says of tiles, or of what the trunk gave of them."""
        return self.head(self.standardize(inputs if inputs.is_floating_point() else self.trunk(inputs)))

    def scaled(self, said: Float[Tensor, "batch genes"]) -> Float[Tensor, "batch genes"]:
        """Return the scaled values that the head's words mean."""
        return said if self.link is None else self.link(said)

    def predict_features(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch genes"]:
        """Predict scaled values from what the trunk gave."""
        return self.scaled(self.head(self.standardize(features)))


@final
class Classifier(nn.Module):
    """Pooled trunk features to the probabilities of classes.

    Its embedding, by which a reference of labelled tiles is searched, is the square roots of these probabilities: of unit
    length, and alike (by Bhattacharyya's coefficient) where tiles look as much like each class.
    """

    def __init__(self, trunk: Trunk, classes: int, config: Config) -> None:
        super().__init__()
        self.trunk = trunk
        width = feature_width(trunk, config)
        self.standardize = _standardizer(width, trunk, config)
        parts = 1 + len(config.image.context)
        components = config.head.components
        self.axes = PrincipalAxes(width // parts, parts, components, config.image.floor) if components else None
        self.head = classifier_head(width if self.axes is None else self.axes.width, classes, config.head)

    @property
    def retrieves(self) -> bool:
        """Whether it predicts from a reference alone: it has a head of its own."""
        return False

    @property
    def regresses(self) -> bool:
        """Whether it has a head that predicts."""
        return True

    def forward(self, inputs: Shaped[Tensor, "batch *what"]) -> Float[Tensor, "batch classes"]:
        """Return a logit for each class, of tiles or of what the trunk gave of them."""
        return self._logits(inputs if inputs.is_floating_point() else self.trunk(inputs))

    def _logits(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch classes"]:
        standard = self.standardize(features)
        return self.head(standard if self.axes is None else self.axes(standard))

    def predict_features(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch classes"]:
        """Return the probability of each class from what the trunk gave."""
        return self._logits(features).softmax(dim=1)

    def embed_features(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch classes"]:
        """Return a vector of unit length for what the trunk gave: alike where the same classes are thought as likely."""
        probability = self.predict_features(features)
        # The square roots of probabilities lie on the unit sphere; their inner product is the Bhattacharyya coefficient.
        return probability.clamp_min(1e-12).sqrt()
