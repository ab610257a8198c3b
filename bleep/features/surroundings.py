"""Means of a section's features around each place: what `image.context` puts beside a tile's own."""

import numpy as np
from jaxtyping import Float32, Float64, Int64

from bleep.data.section import Section
from bleep.errors import DataError

STEP, PAIRS = 1024, 1 << 24
"""Spots whose surroundings are averaged at a time; fewer of a large section, so that no more distances than this are held."""
MANY = 20_000
"""Spots of a section beyond which only those within reach are weighed; fewer take no time, and keep the numbers of before."""
REACH = 8.0
"""Widths of the Gaussian within which spots are weighed: one farther counts less than 2e-14 of the one in the middle."""


def around(
    xy: Float64[np.ndarray, "places 2"], whole: Section, every: Float32[np.ndarray, "spots features"], sigma: float
) -> Float32[np.ndarray, "places features"]:
    """Return the mean of a section's features around each place, weighed by a Gaussian of distance in microns.

    In a section of many spots each place knows those of the cells of a grid that its reach touches, so that time grows with
    the spots and not with their square. What is left out is below the rounding of single precision.

    Args:
        xy: places, in level-0 pixels, each a spot of the section.
        whole: the section.
        every: its features.
        sigma: width of the Gaussian, in microns.

    Raises:
        DataError: the section is of ready-cut tiles, which have no places.

    """
    if not whole.has_positions:
        raise DataError(
            f"section {whole.name}: image.context needs places, which its ready-cut tiles lack; empty image.context"
        )
    here, there = xy * whole.mpp, whole.xy * whole.mpp
    if len(whole) <= MANY:
        return _weighed(here, there, every, sigma)
    out = np.empty((len(xy), every.shape[1]), np.float32)
    # Cells of half the reach: two to each side of a place's own hold all within it.
    side = REACH * sigma / 2
    cells, asked = (np.floor(places / side).astype(np.int64) for places in (there, here))
    order = np.lexsort((cells[:, 0], cells[:, 1]))
    sorted_cells = cells[order]
    turn = np.lexsort((asked[:, 0], asked[:, 1]))
    borders = np.flatnonzero((np.diff(asked[turn], axis=0) != 0).any(axis=1)) + 1
    for rows in np.split(turn, borders):
        near = np.sort(order[_within(sorted_cells, asked[rows[0]])])
        out[rows] = _weighed(here[rows], there[near], every[near], sigma)
    return out


def _within(cells: Int64[np.ndarray, "spots 2"], cell: Int64[np.ndarray, "2"]) -> Int64[np.ndarray, " found"]:
    """Return which of the cells, sorted by row and then by column, lie up to two columns and two rows off."""
    found = []
    for row in range(int(cell[1]) - 2, int(cell[1]) + 3):
        start, stop = np.searchsorted(cells[:, 1], [row, row + 1])
        columns = cells[start:stop, 0]
        found.append(np.arange(start + np.searchsorted(columns, cell[0] - 2), start + np.searchsorted(columns, cell[0] + 3)))
    return np.concatenate(found)


def _weighed(
    here: Float64[np.ndarray, "places 2"],
    there: Float64[np.ndarray, "near 2"],
    every: Float32[np.ndarray, "near features"],
    sigma: float,
) -> Float32[np.ndarray, "places features"]:
    """Return the mean of all these features around each place."""
    out = np.empty((len(here), every.shape[1]), np.float32)
    step = max(min(STEP, PAIRS // len(there)), 1)
    for start in range(0, len(here), step):
        x, y = here[start : start + step].T
        apart = np.subtract.outer(x, there[:, 0]) ** 2 + np.subtract.outer(y, there[:, 1]) ** 2
        weights = np.exp(-apart / (2 * sigma**2)).astype(np.float32)
        out[start : start + step] = (weights / weights.sum(axis=1, keepdims=True)) @ every
    return out
