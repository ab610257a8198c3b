"""One-off tiled copies of large pictures that can only be decoded whole, so that they are read by region (extra `wsi`).

A copy holds the same pixels, losslessly, and is made as a stream, in little memory, by libvips.
"""

import importlib.util
import logging
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from bleep.data.slides.base import file_digest
from bleep.data.slides.image import PictureSlide, opened
from bleep.data.slides.pyramid import PyramidSlide
from bleep.data.slides.tiff import check_colours, check_whole, clear
from bleep.errors import DataError
from bleep.files import whole
from bleep.progress import Progress

TILE = 256
"""Side of the copy's own tiles, in pixels."""
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP")
MODES = ("RGB", "RGBA", "L", "LA", "P", "1")
"""Pillow's names of the files and colours that libvips decodes to the same pixels."""

log = logging.getLogger(__name__)


def can_copy() -> bool:
    """Return whether the libraries a copy needs are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("pyvips", "tiffslide"))


def tiled(slide: PictureSlide, folder: Path) -> PyramidSlide:
    """Return the picture as a slide read by region, from a tiled copy in `folder`, made now if it is not there.

    Raises:
        DataError: the picture is damaged, or the copy cannot be written.

    """
    path = folder / f"{file_digest(slide.path)[:32]}.tif"
    if not path.exists():
        width, height = slide.size
        _check(slide)
        for part in _leftovers(path):
            part.unlink(missing_ok=True)
        log.info("%s: %d x %d pixels, not tiled: a tiled copy is made once, %s", slide.path, width, height, path)
        with whole(path) as temporary:
            _copy(slide.path, temporary)
    copied = PyramidSlide.open(path, slide.path)
    if copied.size != slide.size:
        raise DataError(f"{path}: is no copy of {slide.path}; delete it, and it is made again")
    return copied


def _check(slide: PictureSlide) -> None:
    """Refuse what Pillow and libvips do not decode to the same pixels, such as CMYK, or half a TIFF."""
    with opened(slide.path, slide.limit) as image:
        mode, form = image.mode, image.format
    if mode not in MODES or form not in FORMATS:
        raise DataError(
            f"{slide.path}: is too large to be held decoded, and no tiled copy is made of {mode} colours in a {form} file; "
            "export it as RGB in a PNG, JPEG or TIFF file"
        )
    if form == "TIFF" and check_colours(slide.path, decoded=True) in ("CYX", "SYX"):
        raise DataError(
            f"{slide.path}: is too large to be held decoded, and no tiled copy is made of colours that stand in planes of "
            "their own; export it as RGB, tiled"
        )
    if form == "TIFF":
        # libvips goes on where a strip of a TIFF is not there.
        with clear(slide.path) as complaints:
            check_whole(slide.path, complaints)


def _copy(source: Path, target: Path) -> None:
    import pyvips

    logging.getLogger("pyvips").setLevel(logging.WARNING)
    try:
        image = pyvips.Image.new_from_file(str(source), access="sequential", fail_on="truncated")
        if image.interpretation not in ("srgb", "rgb"):
            image = image.colourspace("srgb")
        if image.hasalpha():
            # Over white, to the very numbers of `on_white`.
            alpha, colours = image[image.bands - 1], image[0 : image.bands - 1]
            image = ((colours * alpha + (255 - alpha) * 255 + 127) / 255).floor()
        image = image[0:3].cast("uchar")
        _save(image, target, f"tiling {source.name}")
    except pyvips.Error as error:
        reason = next((line for line in error.detail.splitlines() if line.strip()), "pyvips says no more")
        if "write" in reason or "space" in reason:
            raise DataError(f"{target.parent}: the tiled copy of {source.name} cannot be written ({reason})") from None
        raise DataError(f"{source}: the image is damaged or cut short ({reason}); fetch or export it again") from None


def _save(image: Any, target: Path, words: str) -> None:
    """Write the copy from a thread: an interrupt that reached libvips's own calls back to Python would be lost there."""
    # The fastest of the lossless settings: four times as fast as the usual one, for files two thirds larger.
    settings = {"compression": "deflate", "level": 1, "predictor": "horizontal", "bigtiff": True}
    with Progress(total=100, desc=words, unit="%", leave=False) as bar, ThreadPoolExecutor(1) as pool:

        def told(_: Any, progress: Any) -> None:
            bar.update(progress.percent - bar.n)

        image.set_progress(True)
        image.signal_connect("eval", told)
        saving = pool.submit(image.tiffsave, str(target), tile=True, tile_width=TILE, tile_height=TILE, **settings)
        try:
            while not wait([saving], timeout=1).done:
                pass
        except BaseException:
            image.set_kill(True)
            raise
        saving.result()


def _leftovers(path: Path) -> list[Path]:
    """Return what copies of this picture left behind when they were killed: parts that nobody has written to for an hour."""
    parts = path.parent.glob(f".{path.name}.*.part{path.suffix}")
    return [part for part in parts if time.time() - part.stat().st_mtime > 3600]
