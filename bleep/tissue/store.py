"""Tiles kept on disk as they were cut, so that an epoch reads them at the speed of memory.

A store is a folder named by what decides its bytes: the picture, its scale, the tile spec. Change one, and it is another
store. It holds the positions it was cut at, and the tiles in parts, each a plain NumPy file that is mapped, not loaded.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Int

from bleep.errors import DataError
from bleep.files import whole, write_json
from bleep.tissue.cutting import Tile, TileSpec, cut
from bleep.tissue.section import Section

FORM = 1
"""Changes when the same picture and spec would give other bytes than an older version of bleep cut."""
PART = 512
"""Tiles in a file: what is done again, at most, when writing was stopped."""
MANIFEST, PLACES = "store.json", "xy.npy"


@final
@dataclass(frozen=True, slots=True)
class StoredTiles:
    """The tiles of one section as a store holds them."""

    folder: str
    rows: Int[np.ndarray, " spots"]
    """Row of each spot in the store; -1: it is not there and must be cut."""

    def read(self, spot: int) -> Tile | None:
        """Return the tile of a spot, still on disk until its bytes are touched, or None."""
        row = int(self.rows[spot])
        return None if row < 0 else _part(self.folder, row // PART)[row % PART]


def find(root: Path, section: Section, spec: TileSpec) -> StoredTiles | None:
    """Return the stored tiles of a section under a spec, or None where there is no finished store of both.

    Raises:
        DataError: the store is damaged.

    """
    if not root.is_dir():
        return None
    folder = folder_of(root, section, spec)
    if not (folder / MANIFEST).is_file():
        return None
    held = _places(folder)
    row_of = {place: row for row, place in enumerate(map(tuple, held.tolist()))}
    rows = np.array([row_of.get(place, -1) for place in map(tuple, section.xy.tolist())], dtype=np.int64)
    return StoredTiles(str(folder), rows)


def folder_of(root: Path, section: Section, spec: TileSpec) -> Path:
    """Return where the tiles of a section under a spec are kept."""
    facts = [FORM, section.slide.digest(), section.mpp, spec.pixels, spec.microns, spec.padding]
    return root / hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def write(root: Path, section: Section, spec: TileSpec) -> Iterator[int]:
    """Cut every tile of a section into its store, part by part, and yield how many are done after each.

    Parts that are already there, from an earlier try, are kept. A store of the same picture at other positions is
    replaced.

    Raises:
        DataError: the picture is damaged, or there is no room.

    """
    folder = folder_of(root, section, spec)
    if (folder / PLACES).is_file() and not np.array_equal(_places(folder), section.xy):
        _empty(folder)
    with whole(folder / PLACES) as temporary:
        np.save(temporary, section.xy)
    for number, start in enumerate(range(0, len(section), PART)):
        stop = min(start + PART, len(section))
        if not (folder / _name(number)).is_file():
            _write_part(folder / _name(number), section, spec, range(start, stop))
        yield stop
    facts = {"section": section.name, "tiles": len(section), "spec": spec.words(), "padding": spec.padding, "form": FORM}
    write_json(folder / MANIFEST, facts)


def _write_part(path: Path, section: Section, spec: TileSpec, spots: range) -> None:
    shape = (len(spots), len(spec.microns), 3, spec.pixels, spec.pixels)
    with whole(path) as temporary:
        held = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        for at, spot in enumerate(spots):
            held[at] = cut(section, spot, spec)
        held.flush()
        del held


def _empty(folder: Path) -> None:
    """Remove a store, its manifest first, so that it is never taken for whole."""
    (folder / MANIFEST).unlink(missing_ok=True)
    for path in folder.glob("*.npy"):
        path.unlink()


def _name(number: int) -> str:
    return f"{number:05d}.npy"


# Each holds a file open, and a process may open only so many.
@lru_cache(maxsize=256)
def _part(folder: str, number: int) -> np.ndarray:
    return _mapped(Path(folder) / _name(number))


def _places(folder: Path) -> np.ndarray:
    return np.array(_mapped(folder / PLACES))


def _mapped(path: Path) -> Any:
    try:
        # Copy on write: torch takes no array that may not be written to, and nothing here is.
        return np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: stored tiles are damaged ({reason}); delete {path.parent} and tile again") from None
