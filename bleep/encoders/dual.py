"""Two encoders that meet in one space: tiles on one side, expression on the other."""

import math
from typing import NamedTuple, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import normalize

from bleep.encoders.expression import ExpressionEncoder
from bleep.encoders.heads import ProjectionHead, Standardizer
from bleep.encoders.image import ImageTrunk
from bleep.settings import Config

COLDEST, WARMEST = 0.01, 1.0
"""Bounds of a temperature that learns, as CLIP's (Radford et al., ICML 2021) on the cold side."""


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


@final
class DualEncoder(nn.Module):
    """An image and an expression encoder with BLEEP's projection head each, and a temperature."""

    def __init__(self, trunk: ImageTrunk, genes: int, config: Config) -> None:
        super().__init__()
        self.trunk = trunk
        width = trunk.width * len(config.tiles.microns)
        self.standardize = Standardizer(width)
        self.image_head = ProjectionHead(width, config.head.dim, config.head.dropout)
        self.expression_encoder = ExpressionEncoder(genes, config.expression)
        self.expression_head = ProjectionHead(self.expression_encoder.width, config.head.dim, config.head.dropout)
        self.log_scale = nn.Parameter(
            torch.tensor(-math.log(config.loss.temperature)), requires_grad=config.loss.learn_temperature
        )
        self.unit = config.head.norm == "l2"

    def forward(self, inputs: Shaped[Tensor, "batch *what"], expression: Float[Tensor, "batch genes"]) -> Pair:
        features = self.standardize(inputs if inputs.is_floating_point() else self.trunk(inputs))
        if self.log_scale.requires_grad:
            with torch.no_grad():
                self.log_scale.clamp_(-math.log(WARMEST), -math.log(COLDEST))
        image = self._normed(self.image_head(features))
        return Pair(image, self.embed_expression(expression), features, expression, self.log_scale.exp())

    def embed_features(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch dim"]:
        """Embed what the trunk gave."""
        return self._normed(self.image_head(self.standardize(features)))

    def embed_expression(self, expression: Float[Tensor, "batch genes"]) -> Float[Tensor, "batch dim"]:
        """Embed scaled panel values."""
        return self._normed(self.expression_head(self.expression_encoder(expression)))

    def _normed(self, embedding: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        return normalize(embedding, dim=1) if self.unit else embedding
