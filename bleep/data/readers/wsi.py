"""Whole slides without counts: a grid of tiles over their tissue, which is detected, or read from a picture.

A section is called as its file, without the ending (`.ome` neither).
"""

import contextlib
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from jaxtyping import Bool, Float64
from scipy import ndimage, sparse

from bleep.config import DataConfig
from bleep.data.readers import chosen_names
from bleep.data.section import Section
from bleep.data.slides import (
    PICTURES,
    SUFFIXES,
    PictureSlide,
    Pixels,
    PyramidSlide,
    is_slide,
    open_slide,
    pixels_of,
    save_png,
    slide_files,
)
from bleep.data.slides.base import question
from bleep.data.slides.pyramid import TIFF
from bleep.errors import DataError
from bleep.files import whole
from bleep.find import inside
from bleep.progress import Progress

Mask = Bool[np.ndarray, "rows columns"]
"""True where there is tissue; it covers a whole slide, at any size."""

MICRONS = 8.0
"""Microns per pixel of the overview that tissue is detected on."""
FLOOR, CEILING = 0.04, 0.07
"""The threshold is kept between these optical densities: blank glass has no tissue, and pale tissue beside dark is some."""
NEIGHBOURHOOD = 20.0
"""Standard deviation in microns of the window that a place is judged by."""
SMALLEST = 50_000.0
"""Specks of tissue and holes in it of fewer square microns are dropped: 0.05 square millimetres."""
DARKEST = 32
"""Intensities below this count as this; the noise of what is black would look coloured."""
SHARE = 0.5
"""A tile is kept when tissue covers this share of its square of the grid."""
MOST = 4_000_000
"""More squares than this are a mistake in the step."""


def detect(overview: Pixels, mpp: float) -> Mask:
    """Return where an overview, of `mpp` microns per pixel, shows stained tissue.

    Stain has colour, while dust, shadows and glass are grey: what counts is how far the optical densities of red, green and
    blue lie apart, mean plus twice the standard deviation around each place; the latter because fat is pale but has
    texture, and a haze of eosin has none. The threshold is Otsu's (IEEE Trans. Syst. Man Cybern. 9:62, 1979), kept between
    two bounds. Marks of a pen and coloured glass are taken for tissue: a mask drawn by hand leaves them out.

    Raises:
        DataError: the extra `wsi` is not installed.

    """
    colour = _colour(overview)
    window = NEIGHBOURHOOD / mpp
    mean = ndimage.gaussian_filter(colour, window)
    square = ndimage.gaussian_filter(colour * colour, window)
    signal = mean + 2 * np.sqrt(np.clip(square - mean * mean, 0, None))
    try:
        from skimage.filters import threshold_otsu
    except ImportError:
        raise DataError(
            "finding tissue on whole slides needs the extra wsi: pip install -e '.[wsi]' in bleep's clone (or give a mask)"
        ) from None
    # The picture of one single value has no threshold of Otsu's; it has no tissue either.
    otsu: Any = threshold_otsu
    found = signal > np.clip(otsu(signal), FLOOR, CEILING) if np.ptp(signal) > 0 else np.zeros_like(signal, bool)
    smallest = SMALLEST / mpp**2
    filled = ~_without_specks(~found, smallest)
    # The window sees tissue a little before it begins: the edge is taken back by its width.
    kept = ndimage.distance_transform_edt(filled) > window if not filled.all() else filled
    return _without_specks(kept, smallest)


def _colour(overview: Pixels) -> np.ndarray:
    """Return how far the optical densities of the three colours lie apart, measured against the brightest twentieth."""
    darkest = overview.min(axis=2)
    glass = np.median(overview[darkest >= np.quantile(darkest, 0.95)], axis=0)
    intensity = np.maximum(overview, DARKEST).astype(np.float32)
    density = np.clip(np.log10(np.maximum(glass, DARKEST).astype(np.float32) / intensity), 0, None)
    apart: np.ndarray = density.max(axis=2) - density.min(axis=2)
    return apart


def _without_specks(mask: Mask, smallest: float) -> Mask:
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    kept = sizes >= smallest
    kept[0] = False
    return kept[labels]


def read_mask(path: Path, size: tuple[int, int], limit: int) -> Mask:
    """Read a picture that is white where a slide of this width and height has tissue; its own size may be any.

    What is transparent in it, as where an editor erased, is no tissue.

    Raises:
        DataError: it cannot be read, is of another shape than the slide, or has dark pixels and no white one.

    """
    brightness = pixels_of(path, limit, ground=0).mean(axis=2)
    mask = brightness > 127
    (high, wide), (width, height) = mask.shape, size
    expected = wide * height / width
    if abs(high - expected) > max(1.5, 0.01 * expected):
        raise DataError(
            f"{path}: the mask has {wide} x {high} pixels, another shape than the slide's {width} x {height}; "
            "it must cover the whole slide, at any size"
        )
    if 0 < brightness.max() <= 127:
        raise DataError(
            f"{path}: the brightest pixel of the mask is {brightness.max():g} of 255, so none is white; "
            "save it with 255 where tissue is and 0 elsewhere"
        )
    return mask


def save_mask(mask: Mask, path: Path) -> None:
    """Write a mask as PNG, white where there is tissue: it can be edited and given back."""
    with whole(path) as temporary:
        save_png(np.repeat(np.where(mask, 255, 0).astype(np.uint8)[..., None], 3, axis=2), temporary)


def grid(mask: Mask, size: tuple[int, int], step: float) -> pd.DataFrame:
    """Return the squares of a grid that tissue covers at least by half, row by row.

    The grid starts at the slide's upper left corner and has squares of `step` level-0 pixels. A row is named `x3_y7` for
    the fourth column and eighth row, and holds grid_x, grid_y, the centre x and y in level-0 pixels, and the share of
    tissue.

    Raises:
        DataError: the slide is smaller than half a step, or the step is so small that there are millions of squares.

    >>> mask = np.array([[True, False], [True, True]])
    >>> grid(mask, size=(200, 200), step=100.0)[["x", "y", "tissue"]]
               x      y  tissue
    x0_y0   50.0   50.0     1.0
    x0_y1   50.0  150.0     1.0
    x1_y1  150.0  150.0     1.0

    """
    width, height = size
    way_out = "data.step (--step of bleep query), in microns, or correct data.mpp (--mpp)"
    if min(size) <= step / 2:
        raise DataError(f"the slide of {width} x {height} pixels is smaller than half a step of {step:g}; lower {way_out}")
    if width / step * (height / step) > MOST:
        raise DataError(
            f"a step of {step:g} pixels gives {width / step:.3g} x {height / step:.3g} tiles, more than {MOST:,}; "
            f"raise {way_out}"
        )
    columns, rows = int(np.ceil(width / step - 0.5)), int(np.ceil(height / step - 0.5))
    share = _shares(mask, np.arange(columns + 1) * step / width, np.arange(rows + 1) * step / height) * (
        width * height / step**2
    )
    y, x = np.nonzero(share >= SHARE - 1e-9)
    return pd.DataFrame(
        {"grid_x": x, "grid_y": y, "x": (x + 0.5) * step, "y": (y + 0.5) * step, "tissue": np.minimum(share[y, x], 1.0)},
        index=pd.Index([f"x{column}_y{row}" for column, row in zip(x, y, strict=True)], dtype=str),
    )


def _shares(
    mask: Mask, across: Float64[np.ndarray, " xs"], down: Float64[np.ndarray, " ys"]
) -> Float64[np.ndarray, "squares_down squares_across"]:
    """Return the tissue between neighbouring lines, as a share of the whole mask; lines are at shares of its sides."""
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1))
    sums[1:, 1:] = mask.cumsum(axis=0).cumsum(axis=1)
    below = _between(sums, down * mask.shape[0])
    areas = np.diff(np.diff(_between(below.T, across * mask.shape[1]).T, axis=0), axis=1)
    return areas / mask.size


def _between(sums: np.ndarray, places: Float64[np.ndarray, " places"]) -> np.ndarray:
    """Return the rows at these places, between two rows in proportion; places beyond the last row give the last."""
    places = np.minimum(places, len(sums) - 1)
    before = np.minimum(places.astype(int), len(sums) - 2)
    part = (places - before)[:, None]
    joined: np.ndarray = sums[before] * (1 - part) + sums[before + 1] * part
    return joined


LARGE = 4096
"""A picture with a longer side than this is a slide and no ready-cut tile."""

log = logging.getLogger(__name__)


def check_mask(mask: Path | None, slides: int) -> None:
    """Refuse a mask that is not there, and one for several slides: it would be laid over the tissue of each.

    Raises:
        DataError: see above.

    """
    if mask is not None and not mask.exists():
        raise DataError(f"{mask}: no such mask; expected a picture, white where there is tissue, or a folder of them")
    if mask is not None and mask.is_file() and slides > 1:
        raise DataError(f"{mask}: is one mask for {slides} slides; give a folder with a NAME.png for each of them")


def read(data: DataConfig) -> tuple[Section, ...]:
    """Find the tissue of each slide, or read it from `data.mask`, and lay a grid of `data.step` microns over it.

    The mask used is kept as `counts.uns["mask"]`; `counts.obs` holds grid_x, grid_y and the share of tissue of each tile.
    """
    paths = slide_files(data.root)
    names = chosen_names(list(paths), data)
    check_mask(data.mask, len(names))
    with Progress(names, desc="looking for tissue", unit="slide", leave=False) as shown:
        sections = tuple(_read_one(name, paths[name], data) for name in shown)
    for section in sections:
        width, height = section.slide.size
        log.info(
            "slide %s: %d x %d pixels of %.4g um, tissue on %.0f%%: %d tiles, one every %g um",
            section.name, width, height, section.mpp, 100 * section.counts.uns["mask"].mean(), len(section), data.step,
        )  # fmt: skip
    return sections


def has_slides(place: Path) -> bool:
    """Return whether a place is a slide or lone picture, or a folder of slides: of scanners' files, or of large pictures."""
    if place.is_file():
        return place.suffix.lower() in SUFFIXES
    found = [path for path in inside(place) if path.is_file() and is_slide(path)]
    if any(path.suffix.lower() not in (*TIFF, *PICTURES) for path in found):
        return True
    with contextlib.suppress(DataError):
        return bool(found) and max(open_slide(found[0]).size) > LARGE
    return False


def _read_one(name: str, path: Path, data: DataConfig) -> Section:
    slide = open_slide(path, data.pixel_limit)
    mpp = _mpp(slide, data)
    mask = _mask(name, slide, mpp, data)
    try:
        squares = grid(mask, slide.size, data.step / mpp)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    if squares.empty and mask.any():
        raise DataError(
            f"{path}: tissue covers no square of {data.step:g} microns by half; lower data.step (--step of bleep query)"
        )
    if squares.empty:
        origin = "its mask is white on no square of the grid" if data.mask else "no tissue was found on it"
        raise DataError(f"{path}: {origin}; give a mask that is white where tissue is (--mask or data.mask)")
    return Section(
        name=name,
        patient=data.patients.get(name, name),
        species=data.species,
        slide=slide,
        counts=AnnData(
            X=sparse.csr_matrix((len(squares), 0), dtype=np.float32),
            obs=squares[["grid_x", "grid_y", "tissue"]],
            uns={"mask": mask, "step": data.step},
        ),
        xy=squares[["x", "y"]].to_numpy(np.float64),
        mpp=mpp,
    )


def _mpp(slide: PictureSlide | PyramidSlide, data: DataConfig) -> float:
    """Return the microns per pixel: `data.mpp`, else what a slide file says. Pictures say what some software put there."""
    told = slide.mpp if isinstance(slide, PyramidSlide) else None
    if data.mpp is not None:
        if told is not None and abs(told - data.mpp) > 0.05 * told:
            log.warning(
                "%s: says that a pixel is %.4g microns, but %.4g is given: the latter is used", slide.path, told, data.mpp
            )
        return data.mpp
    if told is None:
        asked = question(slide.proposed if isinstance(slide, PyramidSlide) else None)
        raise DataError(f"{slide.path}: does not say how many microns a pixel is; give it with --mpp or data.mpp{asked}")
    return told


def _mask(name: str, slide: PictureSlide | PyramidSlide, mpp: float, data: DataConfig) -> Mask:
    if data.mask is not None:
        path = data.mask / f"{name}.png" if data.mask.is_dir() else data.mask
        return read_mask(path, slide.size, data.pixel_limit)
    longest = max(slide.size)
    overview = slide.thumbnail(math.ceil(longest * mpp / MICRONS))
    return detect(overview, mpp * longest / max(overview.shape))
