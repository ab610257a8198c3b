"""Colour as optical density: what is bare glass, and how strong the two stains of H&E are."""

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

CLEAR = 0.15
"""Optical density below which a pixel lets light through like glass (Macenko et al., ISBI 2009)."""
GREY = 30
"""Channels of glass differ by less than this, of 255: pale tissue is as bright, but coloured."""
VECTORS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]], dtype=np.float32)
"""Optical density of haematoxylin and of eosin in red, green and blue (Ruifrok & Johnston, Anal Quant Cytol Histol 2001)."""
_UNMIX = np.linalg.pinv(VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True))
_BRIGHT = 256 * 10**-CLEAR - 1


def optical_density(tile: UInt8[np.ndarray, "3 height width"]) -> Float32[np.ndarray, "3 height width"]:
    """Return how much light each pixel takes, by Beer and Lambert: -log10 of the share let through; white is 0."""
    return -np.log10((tile.astype(np.float32) + 1) / 256)


def glass(tile: UInt8[np.ndarray, "3 height width"]) -> Bool[np.ndarray, "height width"]:
    """Return the pixels that show bare glass: clear in every channel, and grey."""
    low, high = tile.min(axis=0).astype(np.int16), tile.max(axis=0).astype(np.int16)
    return (low > _BRIGHT) & (high - low < GREY)


def stains(density: Float[np.ndarray, "3 pixels"]) -> Float[np.ndarray, "2 pixels"]:
    """Return the optical density of haematoxylin and of eosin, by least squares; what falls below zero is zero."""
    return np.maximum(_UNMIX.T.astype(density.dtype) @ density, 0)
