"""Features kept on disk: those of one slide under one trunk and tile spec, in parts that are mapped, not loaded.

A part is a safetensors file of `xy` and `features`, whole or not there. The first is NAME.safetensors, the next
NAME-00001.safetensors. The last is filled up to `BLOCK` rows before another is begun, so a computation that was killed has
lost less than one block.
"""

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, final

import numpy as np
from jaxtyping import Float32, Float64, Int, Int64

from bleep.errors import DataError
from bleep.files import write_tensors

BLOCK = 2048
"""Rows of a part, and tiles that are computed before they are kept."""

log = logging.getLogger(__name__)


class CacheShard(NamedTuple):
    """One file."""

    path: Path
    xy: Float64[np.ndarray, "rows 2"]
    """Centres the tiles were cut at, in level-0 pixels."""
    width: int
    """Features of a tile."""

    @property
    def features(self) -> Float32[np.ndarray, "rows features"]:
        """Mapped, for as long as they are held: a slide has many parts, and a process may open only so many files.

        Raises:
            DataError: the file is no longer what it was.

        """
        if not len(self.xy) or not self.width:
            return np.empty((len(self.xy), self.width), np.float32)
        try:
            with self.path.open("rb") as file:
                # Another process may have added rows since, behind these.
                _, offset, rows, width = _places_in(file)
                if rows < len(self.xy) or width != self.width:
                    raise ValueError(rows)
                return np.memmap(file, np.float32, "r", offset, (len(self.xy), width))
        except (OSError, ValueError, KeyError, TypeError):
            raise DataError(f"{self.path}: was changed while it was read; run the command again") from None


@final
@dataclass(frozen=True, slots=True)
class FeatureCache:
    """What is kept of one slide."""

    folder: Path
    name: str
    parts: tuple[CacheShard, ...]

    @classmethod
    def open(cls, folder: Path, name: str) -> "FeatureCache":
        """Find the parts; a damaged one counts as empty, which is said, and is written anew."""
        later = sorted(folder.glob(f"{name}-[0-9][0-9][0-9][0-9][0-9].safetensors"))
        first = folder / f"{name}.safetensors"
        return cls(folder, name, tuple(_read(path) for path in (*([first] if first.exists() else []), *later)))

    def rows_of(self, xy: Float64[np.ndarray, "tiles 2"]) -> Int64[np.ndarray, " tiles"]:
        """Return the row of each position, counted through all parts; -1: it is not known."""
        known = np.concatenate([np.empty((0, 2)), *(part.xy for part in self.parts)])
        if not len(known):
            return np.full(len(xy), -1, dtype=np.int64)
        places, asked = _places(known), _places(xy)
        order = np.argsort(places, kind="stable")
        found = order[np.minimum(np.searchsorted(places, asked, sorter=order), len(order) - 1)]
        return np.where(places[found] == asked, found, -1).astype(np.int64)

    def take(self, rows: Int[np.ndarray, " tiles"]) -> Float32[np.ndarray, "tiles features"]:
        """Return the features of these rows, in memory."""
        width = next(part.width for part in self.parts if len(part.xy))
        out = np.empty((len(rows), width), dtype=np.float32)
        start = 0
        for part in self.parts:
            mine = (rows >= start) & (rows < start + len(part.xy))
            if mine.any():
                out[mine] = part.features[rows[mine] - start]
            start += len(part.xy)
        return out

    def add(self, xy: Float64[np.ndarray, "tiles 2"], features: Float32[np.ndarray, "tiles features"]) -> "FeatureCache":
        """Write rows to disk, into parts that have room first, and return what is kept then.

        Raises:
            DataError: there is no room on the disk, or the folder cannot be written to.

        """
        start, number = 0, 0
        while start < len(xy):
            part = self.parts[number] if number < len(self.parts) else None
            held = 0 if part is None else len(part.xy)
            stop = min(start + BLOCK - held, len(xy))
            if stop > start:
                before = (np.empty((0, 2)), features[:0]) if part is None or not held else (part.xy, part.features)
                tensors = {
                    "xy": np.concatenate([before[0], xy[start:stop]]),
                    "features": np.concatenate([before[1], features[start:stop]]),
                }
                write_tensors(self._free(number) if part is None else part.path, tensors)
                start = stop
            number += 1
        return FeatureCache.open(self.folder, self.name)

    def _free(self, number: int) -> Path:
        """Return the name of a new part; another process may have begun some since this one looked."""
        first = self.folder / f"{self.name}.safetensors"
        if number == 0 and not first.exists():
            return first
        while (path := self.folder / f"{self.name}-{max(number, 1):05d}.safetensors").exists():
            number = max(number, 1) + 1
        return path


def _places(xy: Float64[np.ndarray, "rows 2"]) -> np.ndarray:
    """Return x and y as one value each, which can be sorted and compared."""
    return np.ascontiguousarray(xy).view(np.complex128).ravel()


def _read(path: Path) -> CacheShard:
    try:
        return _measured(path)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        log.warning("%s: is damaged; its features are computed again", path)
        return CacheShard(path, np.empty((0, 2)), 0)
    except OSError as error:
        # What cannot be opened now may be whole, and is not written over.
        raise DataError(f"{path}: cannot be read ({error.strerror}); see to that, or choose another cache") from None


def _measured(path: Path) -> CacheShard:
    with path.open("rb") as file:
        at, _, rows, width = _places_in(file)
        file.seek(at)
        # Positions are few bytes and always needed; features stay on disk.
        return CacheShard(path, np.frombuffer(file.read(16 * rows), np.float64).reshape(rows, 2), width)


def _places_in(file: BinaryIO) -> tuple[int, int, int, int]:
    """Return where the positions and the features begin in a safetensors file, the rows, and the features of each.

    Such a file is a length of 8 bytes, a header of that many in JSON, then the values.
    """
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if length > size:
        raise ValueError(length)
    header = json.loads(file.read(length))
    starts, shapes = [], []
    for name, (item, code) in {"xy": (8, "F64"), "features": (4, "F32")}.items():
        facts = header[name]
        begin, end = facts["data_offsets"]
        shape = tuple(facts["shape"])
        if facts["dtype"] != code or 8 + length + end > size or end - begin != item * int(np.prod(shape)):
            raise ValueError(name)
        starts.append(8 + length + begin)
        shapes.append(shape)
    rows, width = shapes[1]
    if shapes[0] != (rows, 2):
        raise ValueError(shapes[0])
    return starts[0], starts[1], rows, width
