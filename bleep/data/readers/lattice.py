"""The scale, from the array that the spots stand on: their rows and columns against their places, by least squares.

Unlike the distance of the nearest listed spot, this holds where a table lists only some of the spots.
"""

import logging
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, final

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy.spatial import cKDTree

from bleep.data.array_scale import note_array
from bleep.errors import DataError

if TYPE_CHECKING:
    from anndata import AnnData

PITCH = 100.0
"""Microns from a spot to its nearest neighbour on a Visium slide."""
FIDUCIAL = 104.75
"""Microns across the frame's dots of a Visium slide: 104.5 to 105.0 in folders of Space Ranger 1 to 3 and of CytAssist."""
AGREE = 1.1
"""Ratio up to which two statements of the scale agree."""
NEIGHBOURS = 6
"""Of a spot of a Visium slide, which stand in a honeycomb."""
FEWEST = 6
"""Spots from which an array can be told."""
STRAY = 0.2
"""Root mean square distance of spots from their places in the array, in pitches, above which they stand in no array."""
ALIKE = 1.05
"""Steps to the nearest spots are of one length up to this ratio."""
SAME = 1.005
"""Two measures of the pitch are the same up to this ratio."""
EVEN = 0.1
"""Without rows and columns: nearest spots of an array are this near to one and the same distance, nine of ten of them."""
RING = 1.3
"""Without rows and columns: neighbours up to this many pitches are a spot's own ring."""

log = logging.getLogger(__name__)

Places = Float64[np.ndarray, "spots 2"]


@final
@dataclass(frozen=True, slots=True)
class Lattice:
    """An array of spots as it lies in a picture."""

    pitch: float
    """Pixels from a place of the array to the nearest."""
    neighbours: int
    """Places at that distance: six in a honeycomb, four in a square array."""


def lattice(steps: Float64[np.ndarray, "spots 2"], xy: Places) -> Lattice | None:
    """Return the array whose columns and rows are `steps`; none where they do not give one.

    The places are fitted as an affine map of the steps, which allows any turn, flip and unequal sides. Where rows and
    columns are always both even or both odd, as on Visium and 2k arrays, only every second step holds a spot.
    """
    used = np.isfinite(steps).all(axis=1) & np.isfinite(xy).all(axis=1)
    steps, xy = steps[used], xy[used]
    if len(steps) < FEWEST:
        return None
    design = np.column_stack([steps, np.ones(len(steps))])
    with np.errstate(all="ignore"):
        try:
            fitted, _, rank, _ = np.linalg.lstsq(design, xy, rcond=None)
        except np.linalg.LinAlgError:
            return None
    if rank < 3 or not np.isfinite(fitted).all():
        return None
    staggered = bool((np.mod(steps.sum(axis=1), 2) == np.mod(steps[0].sum(), 2)).all())
    moves = [np.array(move) for move in product((-2, -1, 0, 1, 2), repeat=2) if any(move)]
    lengths = np.array([np.linalg.norm(move @ fitted[:2]) for move in moves if not staggered or sum(move) % 2 == 0])
    near = lengths[lengths <= ALIKE * lengths.min()]
    pitch = float(near.mean())
    stray = float(np.sqrt(np.square(xy - design @ fitted).sum(axis=1).mean()))
    return Lattice(pitch, len(near)) if pitch > 0 and stray <= STRAY * pitch else None


def pitch_of(steps: Float64[np.ndarray, "spots 2"], xy: Places) -> float | None:
    """Return the pitch of the array in pixels, for checks to compare with; none where rows and columns do not give it."""
    found = lattice(steps, xy)
    return None if found is None else found.pitch


def visium_mpp(name: str, found: Lattice | None, xy: Places, fiducial: float | None = None) -> float:
    """Return the microns per pixel of a Visium slide, whose spots stand in a honeycomb with a pitch of 100 microns.

    Args:
        name: Of the section, for messages.
        found: The array; none: it is not known, and the honeycomb is looked for among the places themselves.
        xy: Places of the spots in pixels.
        fiducial: Diameter of the frame's dots in the same pixels, where the files state it.

    Raises:
        DataError: the spots do not stand like that, or array and fiducials contradict each other.

    """
    by_frame = FIDUCIAL / fiducial if fiducial else None
    if np.isfinite(xy).all() and not nearest(xy):
        raise DataError(f"section {name}: its positions do not give the scale; set data.mpp, the microns per pixel")
    if found is None and by_frame is not None:
        log.info("section %s: scale from the fiducials, which are %.4g um wide", name, FIDUCIAL)
        return by_frame
    if found is None and len(xy) >= FEWEST and np.isfinite(xy).all():
        found = _honeycomb(xy)
    if found is None or found.neighbours != NEIGHBOURS:
        raise DataError(f"section {name}: nothing says its scale, and {_standing(found)}; set data.mpp, the microns per pixel")
    mpp = PITCH / settled(found.pitch, xy)
    if by_frame is not None and _apart(mpp, by_frame) > AGREE:
        raise DataError(
            f"section {name}: its array of spots says {mpp:.4g} microns per full-resolution pixel, its fiducials "
            f"{by_frame:.4g}: positions and scale factors are of different pictures; take those of one, or set data.mpp"
        )
    return mpp


def check_stated(name: str, stated: float, found: Lattice | None, fiducial: float | None) -> None:
    """Refuse a stated scale that the array of a Visium slide and its fiducials, which agree, both contradict.

    Raises:
        DataError: naming all three.

    """
    if found is None or found.neighbours != NEIGHBOURS or not fiducial:
        return
    by_array, by_frame = PITCH / found.pitch, FIDUCIAL / fiducial
    if _apart(by_array, by_frame) <= AGREE < min(_apart(stated, by_array), _apart(stated, by_frame)):
        raise DataError(
            f"section {name}: its scale factors state {stated:.4g} microns per full-resolution pixel, but its array of spots "
            f"says {by_array:.4g} and its fiducials {by_frame:.4g}; correct microns_per_pixel, or set data.mpp, which is that "
            "of the picture that tiles are cut from"
        )


def _apart(one: float, other: float) -> float:
    return max(one / other, other / one)


def settled(pitch: float, xy: Places) -> float:
    """Return the usual distance of nearest listed spots where it is the array's pitch, else the pitch itself.

    The first is what version 0.1 took: runs of complete tables go on seeing the very same tiles.
    """
    listed = nearest(xy)
    return listed if listed and max(listed / pitch, pitch / listed) <= SAME else pitch


def nearest(xy: Places) -> float:
    """Return the median distance of a spot to the nearest other, of those that have a place; 0 for less than two."""
    xy = xy[np.isfinite(xy).all(axis=1)]
    return float(np.median(cKDTree(xy).query(xy, k=2)[0][:, 1])) if len(xy) > 1 else 0.0


def honeycomb_pitch(found: Lattice | None, xy: Places) -> float | None:
    """Return the pixels from spot to spot where they stand in a honeycomb, as Visium's do, 100 microns apart; none: elsewhere.

    Args:
        found: The array, in the pixels of `xy`; none: it is not known, and is looked for among the places.
        xy: Places of the spots.

    """
    if found is None and len(xy) >= FEWEST and np.isfinite(xy).all() and _even(xy):
        found = _honeycomb(xy)
    return found.pitch if found is not None and found.neighbours == NEIGHBOURS else None


def _even(xy: Places) -> bool:
    away, usual = cKDTree(xy).query(xy, k=2)[0][:, 1], nearest(xy)
    return bool((np.abs(away - usual) < EVEN * usual).mean() > 0.9)


def _honeycomb(xy: Places) -> Lattice | None:
    distance = nearest(xy)
    if distance <= 0:
        return None
    ring = cKDTree(xy).query_ball_point(xy, RING * distance, return_length=True) - 1
    return Lattice(distance, NEIGHBOURS) if np.quantile(ring, 0.9) >= 5 else None


def _standing(found: Lattice | None) -> str:
    if found is None:
        return "its spots do not stand as on a Visium slide"
    return f"its spots stand in a square array {found.pitch:.4g} pixels apart, not as on a Visium slide"


def steps_of(obs: pd.DataFrame) -> Float64[np.ndarray, "spots 2"] | None:
    """Return `array_col` and `array_row` of a table, where it has them as numbers."""
    pair = ["array_col", "array_row"]
    if not all(column in obs and pd.api.types.is_numeric_dtype(obs[column]) for column in pair):
        return None
    return obs[pair].to_numpy(np.float64)


def mpp_by_array(name: str, xy: Float64[np.ndarray, "spots 2"], obs: pd.DataFrame, fiducial: float | None = None) -> float:
    """Return the microns per pixel of a Visium slide, by `array_row` and `array_col` of `obs` where it has them; say so.

    Raises:
        DataError: the spots do not stand like that, so nothing says what their distance is in microns.

    """
    steps = steps_of(obs)
    mpp = visium_mpp(name, lattice(steps, xy) if steps is not None else None, xy, fiducial)
    log.info("section %s: scale from the spots, which stand %.0f microns apart on a Visium slide", name, PITCH)
    return mpp


def note_honeycomb(counts: "AnnData", obs: pd.DataFrame, xy: Float64[np.ndarray, "spots 2"]) -> None:
    """Note down the pitch of the array where its spots, at these pixels of the picture, stand in a honeycomb as Visium's do."""
    steps = steps_of(obs)
    pitch = honeycomb_pitch(lattice(steps, xy) if steps is not None else None, xy)
    if pitch is not None:
        note_array(counts, pitch, PITCH)
