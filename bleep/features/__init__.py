"""What a trunk says of tiles: computed once, kept on disk by weights, tile spec and picture."""

from bleep.features.cache import BLOCK
from bleep.features.extractor import FEW, FeatureReader, Features, trunk_digest

__all__ = ["BLOCK", "FEW", "FeatureReader", "Features", "trunk_digest"]
