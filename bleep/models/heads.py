"""What stands on the encoders, and the means and spreads that features are standardised by."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from numpy import ndarray
from torch import Tensor, nn
from torch.nn.functional import softplus

from bleep.config import FLOOR, BeforeName, LayersName
from bleep.errors import ConfigError

LIMIT = 10.0
"""Standardised features are clipped to this many spreads: in one odd tile no single feature can decide."""


def limit_of(floor: float, *, learns: bool) -> float:
    """Return the limit of a run: none for a trunk that learns, as its features grow, nor for an old run without a floor."""
    return LIMIT if floor and not learns else math.inf


def floored(spread: Float[np.ndarray, " features"], floor: float = FLOOR) -> Float[np.ndarray, " features"]:
    """Return spreads of at least `floor` times the median of those that vary; where a feature does not vary, the median or 1.

    A feature that is nearly dead over the training tiles has a spread near 0, by which one tile that looks a little different
    would lie thousands of standard deviations away. Without a floor (0), only spreads below 1e-6 are replaced, by 1.
    """
    varies = spread > 1e-6
    if not floor or not varies.any():
        return np.where(varies, spread, np.ones_like(spread))
    usual = np.median(spread[varies]).astype(spread.dtype)
    # What never varied in training says nothing: divided by a small number it would decide wherever it wakes up.
    return np.where(varies, np.maximum(spread, floor * usual), np.maximum(usual, 1)).astype(spread.dtype)


@final
@dataclass(frozen=True, slots=True)
class RunningStats:
    """What features are standardised by."""

    mean: Float32[np.ndarray, " features"]
    spread: Float32[np.ndarray, " features"]

    @classmethod
    def of(cls, blocks: Iterable[Float32[np.ndarray, "_ features"]], floor: float = FLOOR) -> "RunningStats":
        """Return mean and standard deviation over all rows, merged block by block in double precision; the latter floored.

        The rule is Chan, Golub and LeVeque's (The American Statistician 37:242, 1983).
        """
        rows, mean, squares = 0, np.zeros(()), np.zeros(())
        for block in blocks:
            here = block.mean(axis=0, dtype=np.float64)
            apart, both = here - mean, rows + len(block)
            squares = squares + ((block - here) ** 2).sum(axis=0) + apart**2 * (rows * len(block) / both)
            mean, rows = mean + apart * (len(block) / both), both
        spread = np.sqrt(squares / rows)
        spread = floored(spread, floor) if floor else np.maximum(spread, 1e-6)
        return cls(mean.astype(np.float32), spread.astype(np.float32))

    def standard(self, table: Float32[np.ndarray, "tiles features"]) -> Float32[np.ndarray, "tiles features"]:
        """Return features with this mean taken away and divided by this spread."""
        return (table - self.mean) / self.spread


@final
class ProjectionHead(nn.Module):
    """BLEEP's head (Xie et al., NeurIPS 2023): linear, then GELU, linear and dropout with a residual, then LayerNorm."""

    def __init__(self, width: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Linear(width, dim)
        self.refine = nn.Sequential(nn.GELU(), nn.Linear(dim, dim), nn.Dropout(dropout))
        self.norm = nn.LayerNorm(dim)

    def forward(self, features: Float[Tensor, "batch width"]) -> Float[Tensor, "batch dim"]:
        projected = self.project(features)
        return self.norm(projected + self.refine(projected))


@final
class Standardizer(nn.Module):
    """Subtract the training tiles' mean, divide by their spread, and clip at `limit` spreads; until `fit`, only the latter.

    Where features come standardised by section, it is not applied, and only remembers the numbers for small sections.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, width: int, *, applied: bool = True, floor: float = FLOOR, limit: float = math.inf) -> None:
        super().__init__()
        self.width, self.applied, self.floor, self.limit = width, applied, floor, limit
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    def fit(self, features: Float[Tensor, "spots width"]) -> None:
        """Measure mean and spread; that of a feature that hardly varies is raised to `floor` of the median one."""
        spread = features.std(dim=0, correction=0).cpu().numpy()
        self.mean.copy_(features.mean(dim=0))
        self.spread.copy_(torch.from_numpy(floored(spread, self.floor)))

    @property
    def fitted(self) -> bool:
        """Whether it holds numbers of its own."""
        return bool((self.mean != 0).any() or (self.spread != 1).any())

    def forward(self, features: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
        return ((features - self.mean) / self.spread).clamp(-self.limit, self.limit) if self.applied else features


BEFORE: Mapping[BeforeName, Callable[[float], list[nn.Module]]] = {
    "none": lambda dropout: [],
    "silu": lambda dropout: [nn.SiLU(), nn.Dropout(dropout)],
    "dropout": lambda dropout: [nn.Dropout(dropout)],
}
"""What the features go through before the first layer of the regression head, made from the dropout."""


def regression_head(width: int, genes: int, hidden: int, dropout: float, before: BeforeName = "none") -> nn.Module:
    """Return what `before` names and a linear layer, or with `hidden` a layer of that width, SiLU and dropout between."""
    parts = BEFORE[before](dropout)
    if hidden:
        parts += [nn.Linear(width, hidden), nn.SiLU(), nn.Dropout(dropout)]
    last = nn.Linear(hidden or width, genes)
    return nn.Sequential(*parts, last) if parts else last


def classifier_head(
    width: int, classes: int, hidden: int, dropout: float, before: BeforeName = "none", layers: LayersName = "silu"
) -> nn.Module:
    """Return a head that gives a logit a class: one linear layer, or with `hidden` the layer that `layers` names before it."""
    parts = BEFORE[before](dropout)
    if hidden:
        parts += [nn.Linear(width, hidden), *HIDDEN[layers](hidden), nn.Dropout(dropout)]
    return nn.Sequential(*parts, nn.Linear(hidden or width, classes))


HIDDEN: Mapping[LayersName, Callable[[int], list[nn.Module]]] = {
    "silu": lambda width: [nn.SiLU()],
    "dense-norm": lambda width: [nn.ReLU(), nn.BatchNorm1d(width)],
}
"""What follows the hidden linear layer of a classifier's head."""


@final
class PrincipalAxes(nn.Module):
    """Project each part of standardised features onto the main axes of the first, whitened; until `fit`, onto nothing.

    Parts are of equal width: a tile's own features, and their means over each scale of context.
    """

    axes: Tensor
    spread: Tensor

    def __init__(self, width: int, parts: int, components: int, floor: float = FLOOR) -> None:
        """Take the width of a part, and the least spread along an axis as a share of the median one.

        Raises:
            ConfigError: there are fewer features than components.

        """
        super().__init__()
        if components > width:
            raise ConfigError(f"head.components is {components}, but a tile has {width} features: lower it")
        self.parts, self.floor = parts, floor
        self.register_buffer("axes", torch.zeros(width, components))
        self.register_buffer("spread", torch.ones(parts * components))

    @property
    def width(self) -> int:
        """How many numbers come out."""
        return len(self.spread)

    def fit(self, features: Float[Tensor, "spots features"]) -> None:
        """Find the axes of largest variance of the first part, and the spread of every part along them."""
        first = features[:, : len(self.axes)].double()
        vectors = torch.linalg.eigh(first.T @ first / len(first))[1]
        main = vectors.flip(1)[:, : self.axes.shape[1]]
        # The sign of an axis is free: its largest entry is made positive, so that any library gives the same.
        largest = main.abs().argmax(dim=0)
        self.axes.copy_(main * main[largest, torch.arange(main.shape[1], device=main.device)].sign())
        spread = self._projected(features).std(dim=0, correction=0).cpu().numpy()
        self.spread.copy_(torch.from_numpy(floored(spread, self.floor)))

    def forward(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch components"]:
        return self._projected(features) / self.spread

    def _projected(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch components"]:
        parts = features.reshape(len(features), self.parts, len(self.axes))
        return (parts @ self.axes).flatten(1)


@final
class GeneDropout(nn.Module):
    """In training, set a share of each spot's values to the genes' training means; otherwise change nothing.

    Nothing is scaled up in return, unlike in torch's dropout: a value that is the mean says nothing of the spot.
    """

    mean: Tensor

    def __init__(self, genes: int, share: float) -> None:
        super().__init__()
        self.share = share
        # Measured again whenever training begins, and of no use after it: so it is not among the weights.
        self.register_buffer("mean", torch.zeros(genes), persistent=False)

    def fit(self, values: Float[Tensor, "spots genes"]) -> None:
        """Measure the means of the scaled training values; until then they are 0, which is the mean under `zscore`."""
        self.mean.copy_(values.mean(dim=0))

    def forward(self, values: Float[Tensor, "batch genes"]) -> Float[Tensor, "batch genes"]:
        # With nothing to hide, torch's generator is not touched, so that other dropout draws what it always did.
        if not self.training or self.share == 0:
            return values
        return torch.where(torch.rand_like(values) < self.share, self.mean.to(values.dtype), values)


@final
class ExpressionEncoder(nn.Module):
    """A perceptron over the panel's scaled values; with no hidden layer it hands them on as they are."""

    def __init__(self, genes: int, hidden: Sequence[int] = (), dropout: float = 0.0, hidden_share: float = 0.0) -> None:
        """Take the widths of its hidden layers; `hidden_share` of a spot's values are hidden at each step of training."""
        super().__init__()
        self.hide = GeneDropout(genes, hidden_share)
        layers: list[nn.Module] = []
        width = genes
        for wide in hidden:
            layers += [nn.Linear(width, wide), nn.GELU(), nn.Dropout(dropout)]
            width = wide
        self.layers = nn.Sequential(*layers)
        self.width = width

    def forward(self, expression: Float[Tensor, "batch genes"]) -> Float[Tensor, "batch width"]:
        return self.layers(self.hide(expression))


LEAST = 1e-3
"""Mean of the normalised values that a gene seen less is taken to have, when the head starts."""


@final
class CountLink(nn.Module):
    """From the logarithm of an expected rate to log1p of that rate, scaled as the panel scales.

    A rate is the counts expected when a spot's total is the panel's `target`. Until `fit`, nothing is shifted or scaled.
    """

    start: Tensor
    shift: Tensor
    factor: Tensor

    def __init__(self, genes: int) -> None:
        super().__init__()
        for name, value in (("start", 0.0), ("shift", 0.0), ("factor", 1.0)):
            self.register_buffer(name, torch.full((genes,), value))

    def fit(
        self, mean: Float64[ndarray, " genes"], shift: Float64[ndarray, " genes"], factor: Float64[ndarray, " genes"]
    ) -> None:
        """Take over the panel's scaling, and let a head that says 0 predict each gene's training mean."""
        self.shift.copy_(torch.from_numpy(shift))
        self.factor.copy_(torch.from_numpy(factor))
        self.start.copy_(torch.from_numpy(mean.clip(min=LEAST)).expm1().log())

    def log_rate(self, said: Float[Tensor, "batch genes"]) -> Float[Tensor, "batch genes"]:
        """Return the logarithm of the expected rate."""
        return said + self.start

    def forward(self, said: Float[Tensor, "batch genes"]) -> Float[Tensor, "batch genes"]:
        # log1p(exp(x)) is softplus(x).
        return (softplus(self.log_rate(said)) - self.shift) / self.factor
