"""Two encoders that meet in one space: tiles on one side, expression on the other."""

import math
from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import normalize

from bleep.config import BeforeName, LayersName
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
from bleep.models.stored import Trunk

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
    logits: Float[Tensor, "batch classes"]
    """Of each class, under `loss.labels`; no columns otherwise."""


@final
class DualEncoder(nn.Module):
    """An image and an expression encoder with BLEEP's projection head each, and a temperature.

    For both tasks it has a regression head too, on the same standardised features as the image side's projection.
    """

    retrieves, classifies = True, False

    def __init__(
        self,
        trunk: Trunk,
        standardize: Standardizer,
        genes: int,
        *,
        dim: int = 256,
        dropout: float = 0.1,
        layers: Sequence[int] = (),
        layer_dropout: float = 0.0,
        gene_dropout: float = 0.0,
        temperature: float = 1.0,
        learn_temperature: bool = True,
        unit: bool = True,
        siglip: bool = False,
        regress: bool = False,
        hidden: int = 0,
        before: BeforeName = "none",
        classes: int = 0,
    ) -> None:
        """Join the trunk, what standardises its features, and the heads.

        Args:
            trunk: tiles in, features out.
            standardize: brings features to one scale; its width is that of a tile's features.
            genes: columns of the panel.
            dim: width of the shared space.
            dropout: inside the heads.
            layers: widths of the expression encoder's hidden layers; none: the panel's values go to their head as they are.
            layer_dropout: after each of those.
            gene_dropout: share of a spot's values that are hidden at each step of training.
            temperature: at the start.
            learn_temperature: whether it learns.
            unit: whether embeddings are brought to unit length.
            siglip: whether logits have a bias that learns.
            regress: whether there is a regression head, for both tasks.
            hidden: width of its hidden layer; 0: it has none.
            before: what features go through before it.
            classes: labels that are learnt beside the expression, by a head like the regression's; 0: none.

        """
        super().__init__()
        self.trunk, self.standardize, self.unit = trunk, standardize, unit
        self.image_head = ProjectionHead(standardize.width, dim, dropout)
        self.expression_encoder = ExpressionEncoder(genes, layers, layer_dropout, gene_dropout)
        self.expression_head = ProjectionHead(self.expression_encoder.width, dim, dropout)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=learn_temperature)
        # Made last, so that the other weights are the same with and without them.
        self.bias = nn.Parameter(torch.tensor(BIAS)) if siglip else None
        self.regression_head = regression_head(standardize.width, genes, hidden, dropout, before) if regress else None
        self.label_head = classifier_head(standardize.width, classes, hidden, dropout, before) if classes else None

    @property
    def regresses(self) -> bool:
        """Whether it predicts values by a head of its own, as one trained for both tasks does."""
        return self.regression_head is not None

    def prepare(self, values: Float[Tensor, "spots genes"], features: Float[Tensor, "some features"]) -> None:
        """Measure the means of the scaled training values, which stand for those that are hidden."""
        self.expression_encoder.hide.fit(values)

    def forward(self, inputs: Shaped[Tensor, "batch *what"], expression: Float[Tensor, "batch genes"]) -> Pair:
        features = self.standardize(inputs if inputs.is_floating_point() else self.trunk(inputs))
        if self.log_scale.requires_grad:
            with torch.no_grad():
                self.log_scale.clamp_(-math.log(WARMEST), -math.log(COLDEST))
        image = self._normed(self.image_head(features))
        bias = features.new_zeros(()) if self.bias is None else self.bias
        nothing = features.new_zeros((len(features), 0))
        predicted = nothing if self.regression_head is None else self.regression_head(features)
        logits = nothing if self.label_head is None else self.label_head(features)
        embedded = self.embed_expression(expression)
        return Pair(image, embedded, features, expression, self.log_scale.exp(), bias, predicted, logits)

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

    def label_features(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch classes"]:
        """Predict the probability of each class from what the trunk gave.

        Raises:
            MismatchError: the model learnt no labels.

        """
        if self.label_head is None:
            raise MismatchError("this run learnt no labels: train with loss.labels above 0")
        return self.label_head(self.standardize(features)).softmax(dim=1)

    def _normed(self, embedding: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        return normalize(embedding, dim=1) if self.unit else embedding


@final
class Regressor(nn.Module):
    """Pooled trunk features to scaled panel values; it may say the logarithms of rates of counts."""

    retrieves, regresses, classifies = False, True, False

    def __init__(
        self,
        trunk: Trunk,
        standardize: Standardizer,
        genes: int,
        *,
        hidden: int = 0,
        dropout: float = 0.1,
        before: BeforeName = "none",
        counts: bool = False,
    ) -> None:
        """Join the trunk, what standardises its features, and a regression head: see `regression_head`.

        With `counts` the head says the logarithms of rates of counts.
        """
        super().__init__()
        self.trunk, self.standardize = trunk, standardize
        self.head = regression_head(standardize.width, genes, hidden, dropout, before)
        self.link = CountLink(genes) if counts else None

    def prepare(self, values: Float[Tensor, "spots genes"], features: Float[Tensor, "some features"]) -> None:
        """Learn nothing of the training spots before training."""

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

    retrieves, regresses, classifies = False, True, True

    def __init__(
        self,
        trunk: Trunk,
        standardize: Standardizer,
        classes: int,
        *,
        parts: int = 1,
        components: int = 0,
        floor: float = 0.0,
        hidden: int = 0,
        dropout: float = 0.1,
        before: BeforeName = "none",
        layers: LayersName = "silu",
    ) -> None:
        """Join the trunk, what standardises its features, principal axes of them where asked for, and a head.

        Args:
            trunk: tiles in, features out.
            standardize: brings features to one scale; its width is that of a tile's features.
            classes: columns of the panel.
            parts: a tile's own features, and one more for each scale of context.
            components: principal components of each part that the head sees; 0: it sees the features.
            floor: least spread along an axis, as a share of the median one.
            hidden: width of the head's hidden layer; 0: it has none.
            dropout: inside the head.
            before: what features go through before it.
            layers: form of the hidden layer.

        """
        super().__init__()
        self.trunk, self.standardize = trunk, standardize
        width = standardize.width
        self.axes = PrincipalAxes(width // parts, parts, components, floor) if components else None
        self.head = classifier_head(width if self.axes is None else self.axes.width, classes, hidden, dropout, before, layers)

    def prepare(self, values: Float[Tensor, "spots classes"], features: Float[Tensor, "some features"]) -> None:
        """Fit the principal axes on the trunk's features of the training tiles, where it has such."""
        if self.axes is not None:
            self.axes.fit(self.standardize(features))

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


Model = DualEncoder | Regressor | Classifier
"""What a run trains: `retrieves`, `regresses` and `classifies` say what it can do."""
