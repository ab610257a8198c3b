"""Index files: written whole or not at all, and refused when damaged."""

from pathlib import Path
from typing import Any

from bleep.errors import DataError
from bleep.files import whole
from bleep.prediction.search.library import faiss


def write(index: Any, path: Path) -> None:
    """Write one file, whole or not at all.

    Raises:
        DataError: the place cannot be written to.

    """
    with whole(path) as temporary:
        try:
            faiss.write_index(index, str(temporary))
        except RuntimeError:
            raise DataError(f"{path}: cannot be written; choose another place or free some space") from None


def read(path: Path, kinds: Any) -> Any:
    """Read an index of one of these FAISS classes, a tuple.

    Raises:
        DataError: the file is missing or damaged, of another kind or of another metric.

    """
    way_out = "make it again with `bleep index build`"
    try:
        index: Any = faiss.read_index(str(path))
    except (RuntimeError, MemoryError):
        state = "is damaged" if path.exists() else "is not there"
        raise DataError(f"{path}: {state}; {way_out}") from None
    if not isinstance(index, kinds):
        raise DataError(
            f"{path}: holds a FAISS index of the class {type(index).__name__}, which bleep does not write; {way_out}"
        )
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise DataError(f"{path}: its metric is not the inner product; {way_out}")
    return index


def size(index: Any) -> int:
    """Return the bytes that its file takes."""
    count = 0

    def take(part: bytes) -> None:
        nonlocal count
        count += len(part)

    writer = faiss.PyCallbackIOWriter(take)
    faiss.write_index(index, writer)
    del writer  # it holds back its last bytes until then
    return count
