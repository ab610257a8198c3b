"""Pictures of tissue, read by region: slide files, pictures, folders of ready-cut tiles laid out as one, arrays."""

import importlib.util
from pathlib import Path

from bleep.data.slides.base import PADDINGS, Box, Pixels, Slide
from bleep.data.slides.image import (
    LIMIT,
    ArraySlide,
    MosaicSlide,
    PictureSlide,
    jpeg_bytes,
    pixels_of,
    resize,
    save_jpeg,
    save_png,
)
from bleep.data.slides.pyramid import SCANNERS, TIFF, PyramidSlide, is_tiled

__all__ = [
    "PADDINGS",
    "ArraySlide",
    "Box",
    "MosaicSlide",
    "PictureSlide",
    "Pixels",
    "PyramidSlide",
    "Slide",
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
    ending = path.suffix.lower()
    by_region = importlib.util.find_spec("tiffslide") is not None
    if ending in SCANNERS or (ending in TIFF and by_region and is_tiled(path)):
        return PyramidSlide.open(path)
    return PictureSlide.open(path, limit)
