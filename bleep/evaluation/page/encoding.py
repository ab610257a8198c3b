"""Values small enough for a page: 255 levels a gene, packed, as text."""

import base64
import gzip

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from bleep.tissue.slides import jpeg_bytes

LEVELS = 254
"""The highest level; one more stands for what is not a number."""
MISSING = 255


def quantised(values: Float32[np.ndarray, "spots genes"]) -> dict[str, object]:
    """Return values as one byte each, a gene after another, with each gene's least and greatest value.

    So a value is known to 1/508 of its gene's range, finer than a colour can be told.
    """
    finite = np.isfinite(values)
    low = np.where(finite, values, np.inf).min(axis=0, initial=np.inf)
    high = np.where(finite, values, -np.inf).max(axis=0, initial=-np.inf)
    empty = ~np.isfinite(low)
    low, high = np.where(empty, 0.0, low), np.where(empty, 0.0, high)
    width = np.where(high > low, high - low, 1.0)
    levels = np.rint((np.where(finite, values, low) - low) / width * LEVELS).astype(np.uint8)
    levels = np.where(finite, levels, np.uint8(MISSING))
    return {"low": rounded(low), "high": rounded(high), "packed": packed(np.ascontiguousarray(levels.T))}


def packed(array: Shaped[np.ndarray, "..."]) -> str:
    """Return the bytes of an array, compressed, as text."""
    # No time of writing in the header: the same page has the same bytes.
    return base64.b64encode(gzip.compress(array.tobytes(), compresslevel=6, mtime=0)).decode("ascii")


def rounded(values: Shaped[np.ndarray, " some"], digits: int = 5) -> list[float]:
    """Return numbers with no more digits than a reader needs."""
    return [float(f"{value:.{digits}g}") for value in values.tolist()]


def jpeg(picture: UInt8[np.ndarray, "height width 3"]) -> str:
    """Return a picture as the address of itself."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg_bytes(picture)).decode("ascii")
