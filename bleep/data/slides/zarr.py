"""Pictures kept in Zarr by OME-Zarr's rules, as SpatialData stores them, read by region: only the blocks a box touches."""

import contextlib
import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, final

import numpy as np

from bleep.config import PaddingName
from bleep.data.slides.base import Box, Pixels, at_level, file_digest, on_white, padded, reduced, small_size, stamp
from bleep.data.slides.image import OVERSHOOT
from bleep.data.slides.tiff import UNNAMED
from bleep.errors import BleepError, DataError, told_of_memory
from bleep.outputs import check_zarr

HELD = 512_000_000
"""Bytes of decoded blocks that a process holds, of all its pictures together."""
COLOURS = (("r", "red"), ("g", "green"), ("b", "blue"))
"""What channels that show colours are called."""
OPAQUE = ("a", "alpha")
"""What the channel is called that says how opaque a pixel is."""

Level = tuple[str, float, int, int]
Stamp = tuple[int, int]


@final
@dataclass(frozen=True, slots=True)
class ZarrSlide:
    """An image group with axes c, y, x, at one or several levels; each process opens it for itself."""

    path: Path
    size: tuple[int, int]
    levels: tuple[tuple[str, float, int, int], ...]
    """Array, downsampling, width and height of each level, the finest first."""
    channels: tuple[int, int, int]
    """Which channels are red, green and blue."""
    block: tuple[int, int]
    """Height and width of the blocks that the finest level is stored in."""
    alpha: int = -1
    """Which channel says how opaque a pixel is; below 0: none."""
    starts: tuple[tuple[int, int], ...] = ()
    """Level-0 place of each level's first pixel, x first; empty: all begin at the corner."""

    @classmethod
    def open(cls, path: Path) -> "ZarrSlide":
        """Read the metadata alone.

        Raises:
            DataError: they are missing or damaged, the axes are not c, y, x, or the channels are not red, green and blue.

        """
        import zarr

        check_zarr(path)
        facts = multiscale(path)
        axes = [axis["name"] if isinstance(axis, dict) else axis for axis in facts.get("axes", "cyx")]
        if axes != ["c", "y", "x"]:
            raise DataError(f"{path}: the image has the axes {', '.join(axes)}; expected c, y, x")
        levels: list[tuple[str, float, int, int]] = []
        with _clear(path):
            for dataset in facts["datasets"]:
                array = zarr.open_array(path / dataset["path"], mode="r")
                count, height, width = array.shape
                finest = levels[0] if levels else ("", 1.0, width, height)
                across, down = finest[2] / width, finest[3] / height
                # A level may round its last row or column up or down; one that is squeezed would show another shape.
                if abs(across - down) <= 2 * (across / width + down / height):
                    levels.append((str(dataset["path"]), (across + down) / 2, width, height))
                if len(levels) == 1:
                    channels = _channels(path, count, facts.get("labels", []))
                    _check_kind(path, array.dtype)
                    block = (int(array.chunks[1]), int(array.chunks[2]))
        labels = [str(label).lower() for label in facts.get("labels", [])]
        alpha = next((labels.index(name) for name in OPAQUE if name in labels), -1)
        size = (levels[0][2], levels[0][3])
        if facts["trimmed"]:
            settled = _trimmed(levels)
            levels, starts = [level for level, _ in settled], tuple(start for _, start in settled)
            return cls(path, size, tuple(levels), channels, block, alpha, starts)
        return cls(path, size, tuple(levels), channels, block, alpha)

    def region(self, left: int, top: int, side: int, padding: PaddingName, pixels: int = 0) -> Box:
        fitting = [number for number, level in enumerate(self.levels) if pixels and round(side / level[1]) >= pixels]
        number = (fitting or [0])[-1]
        array, down, width, height = self.levels[number]
        first, above = self.starts[number] if self.starts else (0, 0)
        asked, (across, high) = max(round(side / down), 1), self.size
        x = at_level(left, side, across, down, asked, width, first)
        y = at_level(top, side, high, down, asked, height, above)

        def read(x0: int, y0: int, x1: int, y1: int) -> Pixels:
            with _clear(self.path / array):
                return self._read(array, x0, y0, x1, y1)

        return padded(read, (width, height), x, y, asked, padding)

    @property
    def order(self) -> str:
        """Which channels are read as red, green, blue and opacity; empty where there are these three alone, in their order."""
        return "" if (self.channels, self.alpha) == ((0, 1, 2), -1) else f" {self.channels} {self.alpha}"

    def digest(self) -> str:
        """Return a sha256 of the finest level as it is stored: names and contents of its files, in order of the names."""
        folder = self.path / self.levels[0][0]
        joined = hashlib.sha256()
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            joined.update(f"{path.relative_to(folder).as_posix()} {file_digest(path)}\n".encode())
        return joined.hexdigest()

    def thumbnail(self, longest: int) -> Pixels:
        """Return the whole picture, `longest` pixels on its longer side, or at its own size where that is less."""
        # Means of few and unequal numbers of pixels would look ragged: start from twice the size, where there is such a level.
        fitting = [level for level in self.levels if max(level[2:]) >= 2 * longest]
        array, _, width, height = (fitting or self.levels[:1])[-1]
        with _clear(self.path / array):
            return reduced(partial(self._read, array), (width, height), small_size(self.size, longest))

    def _read(self, name: str, x0: int, y0: int, x1: int, y1: int) -> Pixels:
        process = os.getpid()
        made = _made(self.path / name)
        array = _array(self.path / name, process, made)
        _, high, wide = array.chunks
        pixels = np.empty((y1 - y0, x1 - x0, 3), np.uint8)
        for row in range(y0 // high, (y1 - 1) // high + 1):
            for column in range(x0 // wide, (x1 - 1) // wide + 1):
                key = (self.path / name, made, self.channels, self.alpha, row, column)
                block = _held(process).get(key, partial(self._decode, array, row, column))
                top, left = max(row * high, y0), max(column * wide, x0)
                part = block[top - row * high : y1 - row * high, left - column * wide : x1 - column * wide]
                pixels[top - y0 : top - y0 + part.shape[0], left - x0 : left - x0 + part.shape[1]] = part
        return pixels

    def _decode(self, array: Any, row: int, column: int) -> Pixels:
        _, high, wide = array.chunks
        found = np.asarray(array[:, row * high : (row + 1) * high, column * wide : (column + 1) * wide])
        colours = _as_bytes(found[list(self.channels)].transpose(1, 2, 0), self.path)
        if self.alpha < 0:
            return colours
        return on_white(colours, _as_bytes(found[[self.alpha] * 3].transpose(1, 2, 0), self.path)[..., 0])


@final
class _Blocks:
    """The blocks used last, up to a number of bytes, but always one."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._found: OrderedDict[Hashable, Pixels] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Pixels]) -> Pixels:
        """Return a block, made if it is not held."""
        if key in self._found:
            self._found.move_to_end(key)
            return self._found[key]
        block = make()
        while self._found and self._bytes + block.nbytes > self._most:
            self._bytes -= self._found.popitem(last=False)[1].nbytes
        self._found[key] = block
        self._bytes += block.nbytes
        return block


@lru_cache(maxsize=1)
def _held(process: int) -> _Blocks:
    return _Blocks(HELD)


def _made(path: Path) -> Stamp:
    """Return size and time of the file that describes an array, which is new where the array was written anew."""
    return next((stamp(file) for file in (path / "zarr.json", path / ".zarray") if file.is_file()), (0, 0))


@lru_cache(maxsize=256)
def _array(path: Path, process: int, made: Stamp) -> Any:
    """Open an array once a process: the library's own threads do not live on in a fork."""
    import zarr

    return zarr.open_array(path, mode="r")


def multiscale(path: Path) -> dict[str, Any]:
    """Return what OME-Zarr says of an image: axes, datasets, transformations; and under `labels` its channels' names.

    `trimmed` says whether SpatialData made its levels.

    Raises:
        DataError: the image is missing, or its metadata are damaged.

    """
    import zarr

    with _clear(path):
        attributes: dict[str, Any] = zarr.open_group(path, mode="r").attrs.asdict()
        stated = attributes.get("ome", attributes)
        labels = [str(channel.get("label", "")) for channel in stated.get("omero", {}).get("channels", [])]
        return {**stated["multiscales"][0], "labels": labels, "trimmed": "spatialdata_attrs" in attributes}


def _trimmed(levels: list[Level]) -> list[tuple[Level, tuple[int, int]]]:
    """Return levels as SpatialData makes them, and where each begins: what a whole factor leaves over is cut off at the start.

    A level that no whole factor explains is left as it is, and those after it.
    """
    settled: list[tuple[Level, tuple[int, int]]] = [(levels[0], (0, 0))]
    for level in levels[1:]:
        (_, down, *before), start = settled[-1]
        factors = [round(one / other) for one, other in zip(before, level[2:], strict=True)]
        over = [one - factor * other for one, factor, other in zip(before, factors, level[2:], strict=True)]
        if factors[0] != factors[1] or not all(0 <= rest < factors[0] for rest in over):
            return settled + [(each, (0, 0)) for each in levels[len(settled) :]]
        begin = (start[0] + round(over[0] * down), start[1] + round(over[1] * down))
        settled.append(((level[0], down * factors[0], level[2], level[3]), begin))
    return settled


def _channels(path: Path, count: int, labels: list[str]) -> tuple[int, int, int]:
    names = [label.lower() for label in labels]
    places = [next((names.index(name) for name in colour if name in names), -1) for colour in COLOURS]
    if -1 not in places and len(labels) == count:
        return places[0], places[1], places[2]
    if count != 3 or (-1 in places and any(names) and not all(UNNAMED.fullmatch(name) for name in names)):
        found = f" ({', '.join(labels[:6])})" if labels else ""
        raise DataError(f"{path}: the image has {count} channels{found}; expected a stained picture in red, green and blue")
    return 0, 1, 2


def _check_kind(path: Path, kind: np.dtype) -> None:
    if kind != np.uint8 and not np.issubdtype(kind, np.floating):
        deep = ", more than 8 bits a value" if kind.itemsize > 1 else ""
        raise DataError(f"{path}: the image holds values of kind {kind}{deep}; expected uint8, or numbers from 0 to 1")


def _as_bytes(values: np.ndarray, path: Path) -> Pixels:
    """Return uint8 as it is, and other numbers as shares of full brightness."""
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > OVERSHOOT:
        raise DataError(f"{path}: the image holds numbers beyond 0 to 1; expected these, or bytes")
    return np.ascontiguousarray(np.rint(np.minimum(values * 255, 255)).astype(np.uint8))


@contextlib.contextmanager
def _clear(path: Path) -> Iterator[None]:
    """Turn what the library raises at a damaged store, of a dozen kinds, into one sentence."""
    try:
        yield
    except (BleepError, KeyboardInterrupt):
        raise
    except MemoryError as error:
        raise DataError(f"{path}: {told_of_memory(error)}") from None
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
        raise DataError(f"{path}: cannot be read as an image in Zarr ({reason}); is the store whole?") from None
