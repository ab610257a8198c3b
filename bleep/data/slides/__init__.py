"""Pictures of tissue, read by region: slide files, pictures, folders of ready-cut tiles laid out as one, arrays."""

import importlib.util
from pathlib import Path

from bleep.data.slides.base import PADDINGS, Box, Pixels, Slide
from bleep.data.slides.image import (
    LIMIT,
    ArraySlide,
    MosaicSlide,
    PictureSlide,
    as_rgb,
    jpeg_bytes,
    pixels_of,
    resize,
    save_jpeg,
    save_png,
)
from bleep.data.slides.pyramid import SCANNERS, TIFF, PyramidSlide, check_colours, clear, is_tiff, is_tiled, scanner_of

__all__ = [
    "PADDINGS",
    "ArraySlide",
    "Box",
    "MosaicSlide",
    "PictureSlide",
    "Pixels",
    "PyramidSlide",
    "Slide",
    "as_rgb",
    "jpeg_bytes",
    "open_slide",
    "pixels_of",
    "resize",
    "save_jpeg",
    "save_png",
]


def open_slide(path: Path, limit: int = LIMIT) -> PictureSlide | PyramidSlide:
    """Open a picture: by region where the file allows that and the extra `wsi` is installed, else to be decoded whole.

    Raises:
        DataError: the file is missing or damaged, is to be decoded whole and has more pixels than the limit, or only the
            extra `wsi` reads it.

    """
    by_region, ending = importlib.util.find_spec("tifffile") is not None, path.suffix.lower()
    if scanner_of(path) or (ending in SCANNERS and not (by_region and is_tiff(path))):
        return PyramidSlide.open(path)
    # A file that is called TIFF and is none is said to be a damaged slide.
    if not by_region or not (is_tiff(path) or ending in TIFF):
        return PictureSlide.open(path, limit)
    with clear(path):
        planes = is_tiled(path) and check_colours(path, decoded=True) == "SYX"
    if is_tiled(path) and not planes:
        return PyramidSlide.open(path)
    return PictureSlide.open(path, limit)
