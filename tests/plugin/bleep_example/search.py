"""An index: all there is to one that looks at every vector."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bleep.records import Neighbors


@dataclass(frozen=True)
class PlainIndex:
    """Vectors in memory, searched by their inner product."""

    vectors: np.ndarray
    kind = "plain"
    suffix = ".own"

    @classmethod
    def build(cls, vectors: np.ndarray, seed: int) -> "PlainIndex":
        return cls(np.array(vectors))

    @classmethod
    def load(cls, path: Path) -> "PlainIndex":
        with path.open("rb") as file:
            return cls(np.load(file, allow_pickle=False))

    def save(self, path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, self.vectors)

    def settle(self, path: Path) -> None:
        """Nothing waits until the file is in its place."""

    @property
    def dim(self) -> int:
        return self.vectors.shape[1]

    def stored_bytes(self) -> int:
        return self.vectors.nbytes

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, queries: np.ndarray, k: int, where: object = None) -> Neighbors:
        rows = np.arange(len(self.vectors)) if where is None else np.asarray(where.rows)
        similarity = queries @ self.vectors[rows].T
        best = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
        found = np.take_along_axis(similarity, best, axis=1)
        return Neighbors(found.astype(np.float32), rows[best].astype(np.int64))

    def add(self, vectors: np.ndarray, spots: object = None) -> "PlainIndex":
        return PlainIndex(np.concatenate([self.vectors, vectors]))

    def remove(self, rows: np.ndarray) -> "PlainIndex":
        return PlainIndex(np.delete(self.vectors, rows, axis=0))
