"""Measured expression of many spots, in memory or mapped from files: dense, rounded to half the bytes, or sparse."""

import mmap
import sys
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from types import TracebackType
from typing import Literal, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Int32, Int64, Shaped
from scipy import sparse

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
    except (OSError, ValueError, EOFError, TypeError, OverflowError, SyntaxError, TokenError):
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


TAKEN = 2**18
"""Values read from a mapped array at a time."""
FormName = Literal["dense", "half", "sparse"]
Rows = Int64[np.ndarray, " rows"]
Values = Float32[np.ndarray, "rows genes"]


@runtime_checkable
class ExpressionStore(Protocol):
    """Values of the panel's genes, one row a spot; nothing is read before it is asked for."""

    @property
    def form(self) -> FormName:
        """How the values are kept."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """Spots and genes."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Kind of number kept."""
        ...

    def rows(self, rows: Rows) -> Values:
        """Return some spots, in this order."""
        ...

    def sparse_rows(self, rows: Rows) -> sparse.csr_matrix:
        """Return some spots, in this order, as compressed rows."""
        ...

    def __len__(self) -> int: ...


@final
@dataclass(frozen=True, slots=True)
class DenseExpression:
    """Every value, as float32 or rounded to float16."""

    values: Float[np.ndarray, "spots genes"]

    @property
    def form(self) -> FormName:
        return "half" if self.values.dtype == np.float16 else "dense"

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.values), self.values.shape[1]

    @property
    def dtype(self) -> np.dtype:
        return self.values.dtype

    def rows(self, rows: Rows) -> Values:
        found = np.asarray(self.values[rows], dtype=np.float32)
        give_back(self.values)
        return found

    def sparse_rows(self, rows: Rows) -> sparse.csr_matrix:
        return sparse.csr_matrix(self.rows(rows))

    def __len__(self) -> int:
        return len(self.values)


@final
@dataclass(frozen=True, slots=True)
class SparseExpression:
    """The values other than zero, in compressed rows.

    Raises:
        DataError: the parts contradict each other.

    """

    data: Float32[np.ndarray, " stored"]
    """Values, row after row."""
    indices: Int32[np.ndarray, " stored"]
    """The gene of each."""
    indptr: Int64[np.ndarray, " ends"]
    """Where each row begins, and at last where all end."""
    genes: int
    """How many genes there are."""

    def __post_init__(self) -> None:
        ends = self.indptr
        if len(ends) == 0 or ends[0] != 0 or ends[-1] != len(self.data) or (np.diff(ends) < 0).any():
            raise DataError(f"the rows of the expression do not add up to its {len(self.data)} values")

    @property
    def form(self) -> FormName:
        return "sparse"

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), self.genes

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    def rows(self, rows: Rows) -> Values:
        return self.sparse_rows(rows).toarray()

    def sparse_rows(self, rows: Rows) -> sparse.csr_matrix:
        starts, counts = self.indptr[rows], self.indptr[rows + 1] - self.indptr[rows]
        ends = np.concatenate([[0], np.cumsum(counts)])
        places = np.arange(ends[-1]) + np.repeat(starts - ends[:-1], counts)
        indices = _taken(self.indices, places)
        # SciPy trusts these, and would write outside its memory.
        if len(indices) and not (indices.min() >= 0 and indices.max() < self.genes):
            raise DataError(f"the expression names genes beyond its {self.genes}; it is damaged: run `bleep index build` again")
        data = _taken(self.data, places)
        return sparse.csr_matrix((data, indices, ends), shape=(len(rows), self.genes))

    def __len__(self) -> int:
        return len(self.indptr) - 1


@final
@dataclass(frozen=True, slots=True)
class SplicedExpression:
    """Spots of several stores as one: what a reference holds between a change and its writing."""

    parts: tuple[ExpressionStore, ...]
    """Where the values are."""
    kept: tuple[Int64[np.ndarray, "_"], ...]
    """Which rows of each, in order; the parts follow one another."""

    @property
    def form(self) -> FormName:
        return self.parts[0].form

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), self.parts[0].shape[1]

    @property
    def dtype(self) -> np.dtype:
        return self.parts[0].dtype

    def rows(self, rows: Rows) -> Values:
        out = np.empty((len(rows), self.shape[1]), np.float32)
        for mine, part, there in self._places(rows):
            out[mine] = part.rows(there)
        return out

    def sparse_rows(self, rows: Rows) -> sparse.csr_matrix:
        found = self._places(rows)
        order = np.concatenate([mine for mine, _, _ in found])
        return sparse.vstack([part.sparse_rows(there) for _, part, there in found], format="csr")[np.argsort(order)]

    def __len__(self) -> int:
        return sum(map(len, self.kept))

    def _places(self, rows: Rows) -> list[tuple[np.ndarray, ExpressionStore, np.ndarray]]:
        """Return for each part which of the rows asked for it has, and where."""
        found, start = [], 0
        for part, kept in zip(self.parts, self.kept, strict=True):
            mine = np.flatnonzero((rows >= start) & (rows < start + len(kept)))
            found.append((mine, part, kept[rows[mine] - start]))
            start += len(kept)
        return found


LARGEST = float(np.finfo(np.float16).max)
"""The largest value that float16 holds."""


def as_kept(values: Values, kind: np.dtype) -> Shaped[np.ndarray, "rows genes"]:
    """Return values as a store of this kind keeps them.

    Raises:
        DataError: it is float16, and one is too large for it, as where a store of float32 was joined to one of float16.

    """
    largest = float(np.abs(values).max(initial=0.0)) if kind == np.float16 else 0.0
    if largest > LARGEST:
        raise DataError(
            f"the index keeps its values as float16, and one of {largest:g} is larger than that can hold ({LARGEST:g}); "
            "build it anew with --index.expression dense, and then add or merge"
        )
    return values.astype(kind)


def as_store(expression: ExpressionStore | Float[np.ndarray, "spots genes"]) -> ExpressionStore:
    """Return a store of an array; a store is returned as it is."""
    return DenseExpression(expression) if isinstance(expression, np.ndarray) else expression


def _taken(array: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return values of a mapped array, some at a time: what is mapped around each counts as this process's memory."""
    out = np.empty(len(places), array.dtype)
    for start in range(0, len(places), TAKEN):
        out[start : start + TAKEN] = array[places[start : start + TAKEN]]
        give_back(array)
    return out
