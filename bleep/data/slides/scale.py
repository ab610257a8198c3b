"""What the file of a slide says of its scale."""

import contextlib
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FINEST, COARSEST = 0.05, 20.0
"""Microns per pixel that are believed: photo software writes 72 or 96 dots per inch (353 and 265 microns) into anything."""
MICRONS = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "μm": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}
"""Units that OME-TIFF gives its pixel size in."""
MICRONS_OF_TAGS = {"inch": 25_400.0, "centimeter": 10_000.0}
"""Microns in the units that a TIFF gives its resolution in, as OpenSlide calls them."""
MICRONS_AT_ONCE = 10.0
"""Microns per pixel times the magnification of the objective, on most scanners: 0.5 at 20, 0.25 at 40."""
LIBRARIES = ("openslide", "tiffslide")

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


def proposed_mpp(properties: Mapping[str, Any]) -> tuple[float, str] | None:
    """Return the microns per pixel by a TIFF's resolution tags, else by the scanner's objective, and what it is from.

    OpenSlide takes neither for the scale of a scanner's file: software writes what it likes into the tags, and an objective
    says it only roughly. So it is worth a question, and no more.
    """
    for unit, wide, high, why in (_by_tags(properties), _by_objective(properties)):
        with contextlib.suppress(ValueError, ZeroDivisionError):
            x, y = unit / float(wide), unit / float(high)
            if FINEST <= x <= COARSEST and abs(x - y) <= 0.02 * x:
                return x, why
    return None


def _by_tags(properties: Mapping[str, Any]) -> tuple[float, str, str, str]:
    unit = MICRONS_OF_TAGS.get(str(properties.get("tiff.ResolutionUnit", "")).lower(), math.nan)
    wide, high = (str(properties.get(f"tiff.{axis}Resolution", "")) for axis in "XY")
    return unit, wide, high, "its resolution tags"


def _by_objective(properties: Mapping[str, Any]) -> tuple[float, str, str, str]:
    power = next(
        (str(properties[f"{one}.objective-power"]) for one in LIBRARIES if properties.get(f"{one}.objective-power")), ""
    )
    return MICRONS_AT_ONCE, power, power, f"its objective of {power}, on most scanners,"


def question(proposed: tuple[float, str] | None) -> str:
    """Return what a sentence that asks for the scale adds where something of the file gives an answer."""
    return "" if proposed is None else f"; {proposed[1]} would make it {proposed[0]:.4g}: give that if it is right"


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
