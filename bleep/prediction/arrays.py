"""Arrays in .npy files: written row after row, and mapped rather than read."""

import mmap
import sys
from pathlib import Path
from types import TracebackType
from typing import final

import numpy as np

from bleep.errors import DataError

RESIDENT = 2**29
"""Bytes of a mapped file beyond which what was read of it is given back at once."""
AGAIN = "its files are of different builds; run `bleep index build` again"


@final
class Growing:
    """A .npy file that takes rows until it is closed, its length unknown before; use it in a `with`."""

    def __init__(self, path: Path, dtype: np.dtype, width: int | None = None) -> None:
        """Begin a file of numbers, or of rows of `width` numbers."""
        self._file, self._dtype = path.open("wb"), dtype
        self._tail = () if width is None else (width,)
        self._rows = 0
        self._header()

    def __enter__(self) -> "Growing":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._file:
            if kind is None:
                self._file.seek(0)
                self._header()

    def __len__(self) -> int:
        return self._rows

    def append(self, rows: np.ndarray) -> None:
        """Write rows at the end."""
        assert rows.dtype == self._dtype
        assert rows.shape[1:] == self._tail
        self._file.write(np.ascontiguousarray(rows).data)
        self._rows += len(rows)

    def _header(self) -> None:
        # NumPy leaves room in its header for the first axis to grow, so one of another length is of the same size.
        facts = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._rows, *self._tail)}
        np.lib.format.write_array_header_1_0(self._file, facts)


def mapped(path: Path, kinds: tuple[str, ...], axes: int) -> np.ndarray:
    """Map a file of these kinds of number and so many axes; nothing is read before it is asked for.

    Raises:
        DataError: the file is missing, damaged, or holds something else.

    """
    try:
        # An array without values cannot be mapped.
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False) if _holds(path) else np.load(path)
    except FileNotFoundError:
        raise DataError(f"{path}: is not there; make it again with `bleep index build`") from None
    except (OSError, ValueError, EOFError):
        raise DataError(f"{path}: is damaged; make it again with `bleep index build`") from None
    if array.dtype.name not in kinds or array.ndim != axes:
        raise DataError(
            f"{path}: holds {array.dtype} of shape {array.shape}; expected {' or '.join(kinds)} of {axes} axes: "
            "make it again with `bleep index build`"
        )
    return array


def give_back(array: np.ndarray) -> None:
    """Let the system take back what was read of a large mapped file, so that it does not count as this process's memory."""
    if isinstance(array.base, mmap.mmap) and array.nbytes > RESIDENT and sys.platform != "win32":
        array.base.madvise(mmap.MADV_DONTNEED)


def _holds(path: Path) -> bool:
    """Return whether a file holds more than a header."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, _ = np.lib.format.read_array_header_1_0(file)
    return 0 not in shape
