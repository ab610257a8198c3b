"""Whole slides without counts: a grid of tiles over the tissue of a slide file, or of each slide file of a folder.

A section is called as its file, without the ending (`.ome` neither).
"""

import contextlib
import logging
import math
from pathlib import Path

import numpy as np
from anndata import AnnData
from scipy import sparse

from bleep.config import DataConfig
from bleep.data import tissue_mask as masks
from bleep.data.readers import chosen_names
from bleep.data.section import Section
from bleep.data.slides import PICTURES, SUFFIXES, PictureSlide, PyramidSlide, is_slide, open_slide, slide_files
from bleep.data.slides.base import question
from bleep.data.slides.pyramid import TIFF
from bleep.errors import DataError
from bleep.find import inside
from bleep.progress import Progress

LARGE = 4096
"""A picture with a longer side than this is a slide and no ready-cut tile."""

log = logging.getLogger(__name__)


def read(data: DataConfig) -> tuple[Section, ...]:
    """Find the tissue of each slide, or read it from `data.mask`, and lay a grid of `data.step` microns over it.

    The mask used is kept as `counts.uns["mask"]`; `counts.obs` holds grid_x, grid_y and the share of tissue of each tile.
    """
    paths = slide_files(data.root)
    names = chosen_names(list(paths), data)
    if data.mask is not None and data.mask.is_file() and len(names) > 1:
        raise DataError(f"{data.mask}: is one mask for {len(names)} slides; give a folder with a NAME.png for each of them")
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
        grid = masks.grid(mask, slide.size, data.step / mpp)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    if grid.empty:
        origin = "its mask is white on no square of the grid" if data.mask else "no tissue was found on it"
        raise DataError(f"{path}: {origin}; give a mask that is white where tissue is (--mask or data.mask)")
    return Section(
        name=name,
        patient=data.patients.get(name, name),
        species=data.species,
        slide=slide,
        counts=AnnData(
            X=sparse.csr_matrix((len(grid), 0), dtype=np.float32),
            obs=grid[["grid_x", "grid_y", "tissue"]],
            uns={"mask": mask, "step": data.step},
        ),
        xy=grid[["x", "y"]].to_numpy(np.float64),
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


def _mask(name: str, slide: PictureSlide | PyramidSlide, mpp: float, data: DataConfig) -> masks.Mask:
    if data.mask is not None:
        if not data.mask.exists():
            raise DataError(f"{data.mask}: no such mask; expected a picture, white where there is tissue, or a folder of them")
        path = data.mask / f"{name}.png" if data.mask.is_dir() else data.mask
        return masks.read_mask(path, slide.size, data.pixel_limit)
    longest = max(slide.size)
    overview = slide.thumbnail(math.ceil(longest * mpp / masks.MICRONS))
    return masks.detect(overview, mpp * longest / max(overview.shape))
