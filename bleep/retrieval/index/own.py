"""Indexes of other packages: the one door through which they are asked, and where what they give is looked at."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int64

from bleep import registry
from bleep.errors import BleepError, ConfigError, DataError
from bleep.records import Neighbors
from bleep.retrieval.index.base import VectorIndex, check_added, check_queries, kept_rows
from bleep.retrieval.index.where import Where


@final
@dataclass(frozen=True, slots=True)
class OwnIndex:
    """An index of another package, each answer of which is checked.

    Raises:
        ConfigError: it is no index of its kind.

    """

    index: Any
    """What the package made: a `VectorIndex`, once that is seen to."""
    kind: str
    """Name under which the package lists it."""

    def __post_init__(self) -> None:
        made = self.index
        if not isinstance(made, VectorIndex):
            raise self._odd(f"gave a {type(made).__name__}", "a VectorIndex, with all its methods")
        if (made.kind, made.suffix) != (self.kind, ".own"):
            raise self._odd(
                f"gave an index of kind {made.kind} whose files end in {made.suffix}",
                f"one of kind {self.kind} whose files end in .own",
            )

    @classmethod
    def build(cls, kind: str, vectors: Float32[np.ndarray, "spots dim"], seed: int) -> "OwnIndex":
        """Let the package index these vectors.

        Raises:
            ConfigError: it fails, or gives no index of all of them.

        """
        return cls(_asked(kind, "build", registry.load("indexes", kind).build, np.array(vectors), seed), kind)._of(len(vectors))

    @classmethod
    def load(cls, kind: str, path: Path) -> "OwnIndex":
        """Let the package read its file.

        Raises:
            ConfigError: it fails, or gives no index of its kind.
            DataError: the file is not there.

        """
        if not path.exists():
            raise DataError(f"{path}: is not there; make it again with `bleep index build`")
        return cls(_asked(kind, "load", registry.load("indexes", kind).load, path), kind)

    @property
    def dim(self) -> int:
        """Width of its vectors."""
        return int(self.index.dim)

    @property
    def suffix(self) -> str:
        """Ending of the name of its file."""
        return ".own"

    def stored_bytes(self) -> int:
        """Return the bytes of its file."""
        return int(_asked(self.kind, "stored_bytes", self.index.stored_bytes))

    def __len__(self) -> int:
        return len(self.index)

    def search(self, queries: Float32[np.ndarray, "queries dim"], k: int, where: Where | None = None) -> Neighbors:
        """Return the k rows most similar to each query, best first; all that may answer when there are fewer.

        Raises:
            ConfigError: the package fails, or finds other numbers of rows, rows that are not there or may not answer, one
                twice, or similarities that are no numbers or not in order.

        """
        check_queries(queries, k, self.dim)
        found = _asked(self.kind, "search", self.index.search, queries, k, where)
        if not isinstance(found, Neighbors):
            raise self._odd(f"search gave a {type(found).__name__}", "bleep.records.Neighbors(similarity, rows)")
        similarity, rows = np.asarray(found.similarity), np.asarray(found.rows)
        wanted = (len(queries), min(k, len(self) if where is None else len(where.rows)))
        if similarity.shape != wanted or rows.shape != wanted:
            shapes = f"similarity {similarity.shape} and rows {rows.shape}"
            raise self._odd(f"search gave {shapes}", f"{wanted}, a row of neighbours for each query")
        if similarity.dtype.kind != "f" or rows.dtype.kind not in "iu":
            raise self._odd(f"search gave {similarity.dtype} and {rows.dtype}", "float32 and int64")
        able = np.full(len(self), where is None)
        able[[] if where is None else where.rows] = True
        inside = (rows >= 0) & (rows < len(self))
        if not inside.all():
            raise self._odd(f"search gave row {rows[~inside][0]}", f"rows from 0 to {len(self) - 1}")
        if not able[rows].all():
            raise self._odd(f"search gave row {rows[~able[rows]][0]}", "one of the rows that `where` lets answer")
        if (np.diff(np.sort(rows, axis=1), axis=1) == 0).any():
            raise self._odd("search gave one row twice for a query", "each once")
        if not np.isfinite(similarity).all() or (np.diff(similarity, axis=1) > CLOSE).any():
            raise self._odd("search gave similarities that are not finite or not in order", "the most similar row first")
        return Neighbors(similarity.astype(np.float32), rows.astype(np.int64))

    def add(self, vectors: Float32[np.ndarray, "spots dim"], spots: pd.DataFrame | None = None) -> "OwnIndex":
        """Return an index with these vectors after its own.

        Raises:
            ConfigError: the package fails, or gives no index of all of them.

        """
        check_added(vectors, self.dim)
        made = _asked(self.kind, "add", self.index.add, vectors, spots)
        return OwnIndex(made, self.kind)._of(len(self) + len(vectors))

    def remove(self, rows: Int64[np.ndarray, " rows"]) -> "OwnIndex":
        """Return an index without these rows.

        Raises:
            ConfigError: the package fails, or gives no index of the others.

        """
        kept = len(kept_rows(rows, len(self)))
        return OwnIndex(_asked(self.kind, "remove", self.index.remove, rows), self.kind)._of(kept)

    def save(self, path: Path) -> None:
        """Write one file.

        Raises:
            ConfigError: the package fails, or writes none.

        """
        _asked(self.kind, "save", self.index.save, path)
        if not path.is_file():
            raise self._odd("save wrote no file", f"one at the path it is given, {path.name}")

    def settle(self, path: Path) -> None:
        """Do what must wait until its file at this path is what readers open."""
        _asked(self.kind, "settle", self.index.settle, path)

    def _of(self, length: int) -> "OwnIndex":
        if len(self.index) != length:
            raise self._odd(f"gave an index of {len(self.index)} rows", f"one of {length} rows, one for each vector")
        return self

    def _odd(self, found: str, expected: str) -> ConfigError:
        package = registry.origin("indexes", self.kind).package
        return ConfigError(f"index.kind {self.kind}: {package} {found}; expected {expected}: mend that package")


CLOSE = 1e-5
"""Similarities that differ by less may stand in either order: they may be summed otherwise."""


def _asked(kind: str, what: str, method: Callable[..., Any], *given: Any) -> Any:
    """Return what a method of another package gives.

    Raises:
        ConfigError: it fails, but for what it says of files.

    """
    try:
        return method(*given)
    except (BleepError, OSError, MemoryError):
        raise
    except Exception as error:  # whatever another's index raises
        said = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        package = registry.origin("indexes", kind).package
        way_out = "mend that package" + (", or make the index again with `bleep index build`" if what == "load" else "")
        raise ConfigError(f"index.kind {kind}: {what} of {package} failed ({said}); {way_out}") from error
