"""Whether a gene's predicted map has the structure of the measured one: Moran's I, and structural similarity on spots."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Float64
from scipy import sparse
from scipy.spatial import cKDTree

from bleep.evaluation.metrics import FLAT, Column

Places = Float64[np.ndarray, "spots 2"]
Values = Float[np.ndarray, "spots genes"]

REACH = 1.6
"""Neighbours lie within this many spot pitches: the 6 around a spot of a hexagonal grid (the next ring is at 1.73), the 8
around one of a square grid (diagonals at 1.41, the next at 2)."""
SIGMA, WINDOW = 1.0, 3.0
"""Width of the Gaussian window of structural similarity, and where it ends, in spot pitches."""


def neighbour_graph(xy: Places) -> sparse.csr_array:
    """Return each spot's neighbours, as rows that sum to 1; a spot without any has an empty row."""
    near = _within(xy, REACH)
    near.setdiag(0)
    near.eliminate_zeros()
    near.data[:] = 1.0
    return _rows_to_1(near)


def smoothing(xy: Places) -> sparse.csr_array:
    """Return the mean over a spot and its neighbours, as a matrix."""
    near = _within(xy, REACH)
    near.data[:] = 1.0
    return _rows_to_1(near)


def morans_i(values: Values, graph: sparse.csr_array) -> Column:
    """Return each gene's Moran's I (Biometrika 1950): n / S0 x sum of w_ij z_i z_j / sum of z_i squared.

    Rows of the graph sum to 1, so S0 is the number of spots with neighbours. A gene that does not vary has none.
    """
    z = values - values.mean(axis=0, dtype=np.float64)
    square = np.einsum("sg,sg->g", z, z)
    linked = float(graph.sum())
    if linked == 0:
        return np.full(values.shape[1], np.nan)
    cross = np.einsum("sg,sg->g", z, graph @ z)
    varies = square > FLAT * len(values)
    return np.where(varies, len(values) / linked * cross / np.where(varies, square, 1.0), np.nan)


@final
@dataclass(frozen=True, slots=True)
class Windows:
    """Gaussian windows around the spots, and what the measured maps look like through them."""

    weights: sparse.csr_array
    """Rows sum to 1."""
    mean: Values
    variance: Values

    @classmethod
    def of(cls, measured: Values, xy: Places) -> "Windows":
        """Look at measured maps."""
        weights = gaussian_windows(xy)
        return cls(weights, *local_moments(weights, measured.astype(np.float64)))


def gaussian_windows(xy: Places) -> sparse.csr_array:
    """Return the Gaussian window around each spot, over the spots that are there."""
    near = _within(xy, WINDOW)
    near.data = np.exp(-(near.data**2) / (2 * SIGMA**2))
    return _rows_to_1(near)


def local_moments(weights: sparse.csr_array, values: Values) -> tuple[Values, Values]:
    """Return mean and variance of each gene within each window."""
    mean = weights @ values
    return mean, np.maximum(weights @ values**2 - mean**2, 0.0)


def structural_similarity(predicted: Values, measured: Values, windows: Windows) -> Column:
    """Return each gene's SSIM (Wang et al., IEEE TIP 2004), mean over spots.

    Spots are no pixels: instead of a grid filled in between them, each window is over the spots that are there. L is the
    gene's measured range, k1 = .01, k2 = .03, and the prediction is not rescaled. A gene that does not vary has none.
    """
    span = np.ptp(measured, axis=0).astype(np.float64)
    varies = span > 1e-6
    p, m = predicted.astype(np.float64), measured.astype(np.float64)
    mean, variance = local_moments(windows.weights, p)
    cross = windows.weights @ (p * m) - mean * windows.mean
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    bottom = (mean**2 + windows.mean**2 + c1) * (variance + windows.variance + c2)
    top = (2 * mean * windows.mean + c1) * (2 * cross + c2)
    whole: Column = (top / np.where(bottom > 0, bottom, 1.0)).mean(axis=0)
    return np.where(varies, whole, np.nan)


def _within(xy: Places, reach: float) -> sparse.csr_array:
    """Return distances in spot pitches between spots nearer than `reach`; a spot to itself is there, with a stored 0."""
    tree = cKDTree(xy)
    if len(xy) < 2:
        return sparse.csr_array(np.ones((len(xy), len(xy))))
    pitch = float(np.median(tree.query(xy, k=2)[0][:, 1])) or 1.0
    pairs = tree.query_pairs(reach * pitch, output_type="ndarray")
    rows = np.concatenate([pairs[:, 0], pairs[:, 1], np.arange(len(xy))])
    columns = np.concatenate([pairs[:, 1], pairs[:, 0], np.arange(len(xy))])
    distance = np.linalg.norm(xy[rows] - xy[columns], axis=1) / pitch
    return sparse.csr_array((distance, (rows, columns)), shape=(len(xy), len(xy)))


def _rows_to_1(graph: sparse.csr_array) -> sparse.csr_array:
    total = np.asarray(graph.sum(axis=1)).ravel()
    return sparse.csr_array(sparse.diags_array(1.0 / np.where(total > 0, total, 1.0)) @ graph)
