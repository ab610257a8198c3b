"""Nearest neighbours by inner product: exact, or faster with a recall that is measured; on GPUs where FAISS finds them."""

from bleep.retrieval.index.approximate import choose_kind, keeps
from bleep.retrieval.index.base import VectorIndex, facts
from bleep.retrieval.index.factory import Measured, build_index, load_index, measure
from bleep.retrieval.index.flat import FlatIndex
from bleep.retrieval.index.where import Where, select

__all__ = [
    "FlatIndex",
    "Measured",
    "VectorIndex",
    "Where",
    "build_index",
    "choose_kind",
    "facts",
    "keeps",
    "load_index",
    "measure",
    "select",
]
