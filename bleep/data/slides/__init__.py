"""Pictures of tissue, read by region: slide files, pictures, folders of ready-cut tiles laid out as one, arrays."""

import importlib.util
from pathlib import Path

from bleep.data.slides.base import PADDINGS, Box, Pixels, Slide, overview
from bleep.data.slides.image import (
    LIMIT,
    ArraySlide,
    PictureSlide,
    as_rgb,
    hold_decoded,
    jpeg_bytes,
    pixels_of,
    resize,
    save_jpeg,
    save_png,
)
from bleep.data.slides.pyramid import SCANNERS, TIFF, PyramidSlide, scanner_of, series_of
from bleep.data.slides.ready_cut import MosaicSlide, PatchSlide
from bleep.data.slides.tiff import TURNED, check_colours, clear, is_tiff, is_tiled, photometric_of
from bleep.errors import DataError
from bleep.find import inside

__all__ = [
    "PADDINGS",
    "PICTURES",
    "SUFFIXES",
    "ArraySlide",
    "Box",
    "MosaicSlide",
    "PatchSlide",
    "PictureSlide",
    "Pixels",
    "PyramidSlide",
    "Slide",
    "as_rgb",
    "hold_decoded",
    "is_slide",
    "jpeg_bytes",
    "open_slide",
    "overview",
    "pixels_of",
    "resize",
    "save_jpeg",
    "save_png",
    "slide_files",
]


PICTURES = (".jpg", ".jpeg", ".png")
SUFFIXES = (*SCANNERS, *TIFF, *PICTURES)
"""Endings of the files of a folder that are taken for slides; others are looked into."""
TABLES = (".csv", ".tsv", ".txt", ".json", ".md", ".h5ad", ".h5", ".gz", ".xml")
"""Endings of files that are not."""


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
        whole = not is_tiled(path) or check_colours(path, decoded=True) == "SYX" or photometric_of(path) in TURNED
    return PictureSlide.open(path, limit) if whole else PyramidSlide.open(path)


def slide_files(root: Path) -> dict[str, Path]:
    """Return the slide files of a folder, or the one file named, by the name of the section of each.

    Raises:
        DataError: there is none, or two would have one name.

    """
    found = [path for path in inside(root) if path.is_file()] if root.is_dir() else [root]
    slides = [path for path in found if path == root or is_slide(path)]
    if not slides:
        raise DataError(f"{root}: holds no slide; expected files ending in {', '.join(SUFFIXES)}")
    paths: dict[str, Path] = {}
    series: set[str] = set()
    for path in slides:
        # A DICOM slide is several files, one a level; any of them opens it.
        own = series_of(path) if path.suffix.lower() in ("", ".dcm") else ""
        if own in series:
            continue
        series |= {own} - {""}
        name = path.stem.removesuffix(".ome")
        if name in paths:
            raise DataError(f"{root}: {paths[name].name} and {path.name} would both be section {name!r}; rename one")
        paths[name] = path
    return paths


def is_slide(path: Path) -> bool:
    """Return whether a file of a folder is a slide: by its ending, else by what OpenSlide finds in it."""
    return path.suffix.lower() in SUFFIXES or (path.suffix.lower() not in TABLES and bool(scanner_of(path)))
