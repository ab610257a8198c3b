"""Nearest neighbours by inner product: exact, or faster with a recall that is measured; on GPUs where FAISS finds them."""

from bleep.prediction.search.building import build_index, load_index
from bleep.prediction.search.choose import choose_kind
from bleep.prediction.search.flat import FlatIndex
from bleep.prediction.search.library import facts
from bleep.prediction.search.measure import Measured, measure, measured_recall
from bleep.prediction.search.protocol import VectorIndex

__all__ = [
    "FlatIndex",
    "Measured",
    "VectorIndex",
    "build_index",
    "choose_kind",
    "facts",
    "load_index",
    "measure",
    "measured_recall",
]
