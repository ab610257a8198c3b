"""Nearest neighbours by FAISS: on the GPU where FAISS finds one, with the same answers on the CPU."""

import logging
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float32

from bleep.errors import DataError
from bleep.records import Neighbors

# FAISS tells at INFO which instruction set it loaded; nobody asked.
logging.getLogger("faiss.loader").setLevel(logging.WARNING)
import faiss  # noqa: E402


@final
class FlatIndex:
    """Exact search by inner product; for unit vectors that is cosine similarity."""

    def __init__(self, index: Any) -> None:
        self._stored = index
        self._index = faiss.index_cpu_to_all_gpus(index) if faiss.get_num_gpus() else index

    @classmethod
    def build(cls, vectors: Float32[np.ndarray, "spots dim"]) -> "FlatIndex":
        """Index these vectors; row numbers are their order."""
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors))
        return cls(index)

    @classmethod
    def load(cls, path: Path) -> "FlatIndex":
        """Read an index.

        Raises:
            DataError: the file is missing or damaged.

        """
        try:
            return cls(faiss.read_index(str(path)))
        except RuntimeError:
            state = "is damaged" if path.exists() else "is not there"
            raise DataError(f"{path}: {state}; make it again with `bleep index build`") from None

    def save(self, path: Path) -> None:
        """Write the index."""
        faiss.write_index(self._stored, str(path))

    def __len__(self) -> int:
        return int(self._stored.ntotal)

    @property
    def dim(self) -> int:
        """Width of its vectors."""
        return int(self._stored.d)

    def search(self, queries: Float32[np.ndarray, "queries dim"], k: int) -> Neighbors:
        """Return the k rows most similar to each query, best first; all of them when there are fewer."""
        similarity, rows = self._index.search(np.ascontiguousarray(queries), min(k, len(self)))
        return Neighbors(similarity, rows.astype(np.int64))


def facts() -> dict[str, str]:
    """Return version, compile options and GPUs of the FAISS build in use."""
    return {"version": faiss.__version__, "options": faiss.get_compile_options().strip(), "gpus": str(faiss.get_num_gpus())}


def measured_recall(index: FlatIndex, vectors: Float32[np.ndarray, "spots dim"], k: int = 10, sample: int = 200) -> float:
    """Return the share of true nearest neighbours that the index finds, over evenly taken stored vectors."""
    k = min(k, len(vectors))
    queries = vectors[np.linspace(0, len(vectors) - 1, min(sample, len(vectors)), dtype=np.int64)]
    exact = queries @ vectors.T
    worst = np.sort(exact, axis=1)[:, -k]
    found = index.search(queries, k).rows
    similarity = np.take_along_axis(exact, found, axis=1)
    return float((similarity >= worst[:, None] - 1e-5).mean())
