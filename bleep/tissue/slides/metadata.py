"""What a slide file says of itself: the size of its pixels, and whether it is whole and of colours we can read."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bleep.errors import DataError

FINEST, COARSEST = 0.05, 20.0
"""Microns per pixel that are believed: photo software writes 72 or 96 dots per inch (353 and 265 microns) into anything."""
MICRONS = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "μm": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}
"""Units that OME-TIFF gives its pixel size in."""
COLOURS = {"YXS": (3, 4), "CYX": (3,), "YX": (1,)}
"""Numbers of values a pixel may have, by the order of a TIFF's axes."""

log = logging.getLogger(__name__)


def told_mpp(path: Path, properties: Mapping[str, Any], library: str) -> float | None:
    """Return the microns per pixel a file says; none where it does not, or what it says cannot be a slide's."""
    x, y = (properties.get(f"{library}.mpp-{axis}") for axis in "xy")
    if x is None and library == "tiffslide":
        x, y = _ome_mpp(path)
    if x is None or y is None:
        return None
    wide, high = float(x), float(y)
    if not (FINEST <= wide <= COARSEST and FINEST <= high <= COARSEST):
        return None
    if abs(wide - high) > 0.02 * wide:
        log.warning("%s: says that its pixels are %g x %g microns, not square: it is not believed", path, wide, high)
        return None
    return wide


def check_whole(path: Path, complaints: Sequence[str]) -> None:
    """Refuse a TIFF that is cut short; complaints are what tifffile says aloud while it is read.

    Raises:
        DataError: a part that the file speaks of is not there.

    """
    import tifffile

    size = path.stat().st_size
    with tifffile.TiffFile(path) as file:
        levels = [page for level in file.series[0].levels for page in level.pages if page is not None]
        ends = [int(np.add(page.dataoffsets, page.databytecounts).max(initial=0)) for page in (*file.pages, *levels)]
        # tifffile shows a tile that is not there as black, which is neither tissue nor glass.
        empty = sum(page.databytecounts.count(0) for page in levels)
    if complaints or empty:
        reason = complaints[0] if complaints else f"{empty} tiles without pixels"
        raise DataError(f"{path}: is damaged or cut short ({reason}); fetch or export it again")
    if max(ends) > size:
        raise DataError(f"{path}: is cut short (its pixels reach to byte {max(ends)} of {size}); fetch or export it again")


def check_colours(path: Path) -> None:
    """Refuse a TIFF whose pixels are no 8-bit colours or greys.

    Raises:
        DataError: they are others, such as fluorescence.

    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        kind, axes, shape = series.dtype, series.axes, dict(zip(series.axes, series.shape, strict=True))
        photometric = tifffile.PHOTOMETRIC(series.keyframe.photometric).name
    values = shape.get("S", shape.get("C", 1))
    plain = photometric in ("RGB", "YCBCR", "MINISBLACK")
    if kind != np.uint8 or values not in COLOURS.get(axes, ()) or not plain:
        raise DataError(
            f"{path}: holds {photometric} pixels of {kind}, {' x '.join(map(str, shape.values()))} ({axes}); "
            "expected 8-bit RGB or grey, a single layer: export it so"
        )


def _ome_mpp(path: Path) -> tuple[float | None, float | None]:
    """Return the size of a pixel from the OME description."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        text = file.ome_metadata
    if not text:
        return None, None
    image = tifffile.xml2dict(text)["OME"]["Image"]
    pixels = (image[0] if isinstance(image, list) else image)["Pixels"]
    sides: list[float | None] = []
    for axis in "XY":
        size, unit = pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")
        sides.append(float(size) * MICRONS[unit] if size is not None and unit in MICRONS else None)
    return sides[0], sides[1]
