"""The index, and how neighbours become a prediction."""

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from bleep.settings.base import Settings

WeightsName = Literal["uniform", "softmax", "distance"]


class IndexConfig(Settings):
    """The FAISS index."""

    kind: Literal["flat"] = "flat"
    """`flat`: exact search by inner product."""


class QueryConfig(Settings):
    """How neighbours become a prediction."""

    views: Literal[1, 2, 4, 8] = 1
    """Turned and mirrored views of each tile whose features are averaged at prediction."""

    k: PositiveInt = 50
    """Reference spots averaged for each tile."""
    weights: WeightsName = "uniform"
    """`uniform`, `softmax` of the similarity, or inverse `distance`."""
    temperature: PositiveFloat = 0.1
    """Temperature of the softmax weights."""
    batch: PositiveInt = 64
    """Tiles embedded at a time."""
