"""What a TIFF holds, by its tags: colours that can be shown, or what else, and whether it is whole."""

import contextlib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np

from bleep.errors import BleepError, DataError, told_of_memory

PLAIN = ("RGB", "YCBCR", "MINISBLACK")
"""What a TIFF may say its values are where these are colours as they stand."""
TURNED = ("MINISWHITE", "PALETTE", "SEPARATED", "CIELAB")
"""What it may say where decoding it whole turns them into such."""
UNNAMED = re.compile(r"(channel|ch|c)?[\s:_.#-]*[\d:]*")
"""What software calls a channel that nobody named."""
COLOURS: Mapping[str, tuple[int, ...]] = {"YXS": (3, 4), "CYX": (3,), "YX": (1,)}
"""Numbers of values a pixel may have, by the order of a TIFF's axes."""


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


def photometric_of(path: Path) -> str:
    """Return what a TIFF says its values are, by tifffile's names."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        return str(tifffile.PHOTOMETRIC(file.series[0].keyframe.photometric).name)


def check_colours(path: Path, *, decoded: bool = False) -> str:
    """Refuse a TIFF whose pixels are no 8-bit colours or greys; return the order of its axes, as tifffile names them.

    `YXS` holds red, green and blue beside each other, `SYX` and `CYX` one after the other: whole planes, or pages. With
    `decoded` the file is to be decoded whole, by which palettes and inks are turned into colours.

    Raises:
        DataError: they are others, such as fluorescence, more than 8 bits, or a stack of layers.

    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        kind, axes, shape = series.dtype, series.axes, dict(zip(series.axes, series.shape, strict=True))
        photometric = photometric_of(path)
        names = _channels(file) if axes == "CYX" else []
    values = shape.get("S", shape.get("C", 1))
    plain = photometric in ((*PLAIN, *TURNED) if decoded else PLAIN)
    known = {**COLOURS, "SYX": (3, 4)} if decoded else COLOURS
    if kind not in ((np.uint8, np.bool_) if decoded else (np.uint8,)) or values not in known.get(axes, ()) or not plain:
        raise DataError(
            f"{path}: holds {photometric} pixels of {kind}{'' if kind.itemsize == 1 else ', more than 8 bits a value'}, "
            f"{' x '.join(map(str, shape.values()))} ({axes}); "
            "expected 8-bit RGB or grey, a single layer: export it so"
        )
    if names and [name[:1] for name in names] != ["r", "g", "b"]:
        raise DataError(
            f"{path}: holds the channels {', '.join(names[:6])}, as of fluorescence; expected a stained picture in red, green "
            "and blue"
        )
    return axes


def _channels(file: Any) -> list[str]:
    """Return what OME or ImageJ call the channels, in small letters; empty where they have no names of their own."""
    names: list[str] = []
    if file.ome_metadata:
        tree = ElementTree.fromstring(file.ome_metadata)
        found = next((image for image in tree.iter() if image.tag.endswith("Pixels")), ())
        names = [channel.get("Name", "") for channel in found if channel.tag.endswith("Channel")]
    elif file.imagej_metadata:
        labels = file.imagej_metadata.get("Labels") or []
        names = [labels] if isinstance(labels, str) else list(labels)
    return [name.lower() for name in names] if all(name and not UNNAMED.fullmatch(name.lower()) for name in names) else []


Alpha = Literal["", "associated", "straight"]
"""Whether the fourth value of a TIFF's pixels says how opaque they are, and colours are multiplied by it already."""


def called_grey(path: Path, axes: str) -> bool:
    """Return whether a TIFF holds red, green and blue beside each other, and calls them grey, which Pillow does not know."""
    return axes == "YXS" and photometric_of(path) == "MINISBLACK"


def size_of(path: Path) -> tuple[int, int]:
    """Return width and height of a TIFF whose colours lie beside each other."""
    import tifffile

    with clear(path), tifffile.TiffFile(path) as file:
        height, width = file.series[0].shape[:2]
        return int(width), int(height)


def alpha_of(path: Path) -> Alpha:
    """Return what kind of alpha a TIFF has."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        found = {int(extra) for extra in file.series[0].keyframe.extrasamples}
    return "associated" if 1 in found else "straight" if 2 in found else ""


def is_tiff(path: Path) -> bool:
    """Return whether a file is a TIFF, by its first bytes.

    Raises:
        DataError: it is missing.

    """
    if not path.is_file():
        raise DataError(f"{path}: no such image; expected the picture named there")
    with path.open("rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_tiled(path: Path) -> bool:
    """Return whether a TIFF can be read by region.

    Raises:
        DataError: the file is damaged.

    """
    import tifffile

    with clear(path), tifffile.TiffFile(path) as file:
        return bool(getattr(file.pages[0], "is_tiled", False))


@contextlib.contextmanager
def clear(path: Path) -> Iterator[list[str]]:
    """Turn what the libraries raise at a damaged file, of a dozen kinds, into one sentence.

    What tifffile says aloud of places that lead nowhere, before it goes on without them, is collected instead.
    """
    complaints: list[str] = []

    def kept(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if "corrupted tag" in message or (record.levelno >= logging.ERROR and "offset" in message):
            complaints.append(message.partition("> ")[2] or message)
        return False

    logger = logging.getLogger("tifffile")
    logger.addFilter(kept)
    try:
        yield complaints
    except (BleepError, KeyboardInterrupt):
        raise
    except MemoryError as error:
        raise DataError(f"{path}: {told_of_memory(error)}") from None
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
        raise DataError(f"{path}: cannot be read as a slide ({reason}); is the file whole?") from None
    finally:
        logger.removeFilter(kept)
