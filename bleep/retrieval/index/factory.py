"""An index of the kind asked for, made or read."""

import logging
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
from jaxtyping import Float32

from bleep import registry
from bleep.config import GpuName, GpusName, IndexConfig, KindName
from bleep.errors import ConfigError, DataError
from bleep.retrieval.index import approximate as kinds
from bleep.retrieval.index.approximate import CLASSES, ApproximateIndex, choose_kind
from bleep.retrieval.index.base import VectorIndex, check_queries, check_vectors, faiss, read
from bleep.retrieval.index.flat import FlatIndex
from bleep.retrieval.index.milvus import EFFORTS, MilvusIndex
from bleep.retrieval.index.tuning import trial, tuned, tuned_effort

log = logging.getLogger(__name__)


def build_index(
    vectors: Float32[np.ndarray, "spots dim"],
    config: IndexConfig,
    seed: int,
    *,
    queries: Float32[np.ndarray, "queries dim"] | None = None,
    spots: pd.DataFrame | None = None,
    run: str = "",
) -> VectorIndex:
    """Index these vectors; row numbers are their order. The same seed makes the same index with any number of threads.

    Args:
        vectors: what to index.
        config: kind, recall to reach, memory and GPUs.
        seed: draws the training sample and the starts of k-means.
        queries: held-out queries to reach the recall on; made between stored vectors where none are given.
        spots: the spots' table, whose columns a database keeps beside the vectors.
        run: the sha256 of the weights that made the vectors.

    Raises:
        DataError: there are no vectors, or values are not finite.
        MismatchError: the queries are of another width.
        ConfigError: no kind fits into the memory, or the store does not know it.

    """
    if not len(vectors):
        raise DataError("there are no vectors to index; expected one for each spot")
    check_vectors(vectors)
    if queries is not None:
        check_queries(queries, 1, vectors.shape[1])
    kind = config.kind
    if kind == "auto":
        kind, why = choose_kind(len(vectors), vectors.shape[1], config.memory)
        log.info("index of kind %s: %s", kind, why)
    if config.store == "milvus":
        return _tuned(MilvusIndex.build(config.uri, kind, vectors, spots, run), vectors, queries, config, seed)
    if kind == "diskann":
        raise ConfigError("index.kind: diskann is a kind of Milvus; set index.store to milvus, or choose hnsw or ivf")
    if kind == "flat":
        return FlatIndex.build(vectors, config.gpu, config.gpus)
    if kind not in kinds.BUILDERS:
        return _checked(registry.load("indexes", kind).build(vectors, seed), kind, len(vectors))
    index = kinds.BUILDERS[kind](vectors, seed, config.gpu)
    return ApproximateIndex(tuned(index, trial(vectors, queries, seed), config), config.gpu, config.gpus)


def _checked(index: object, kind: str, length: int) -> VectorIndex:
    """Refuse what another package made of the vectors if it is no index of all of them.

    Raises:
        ConfigError: naming the package.

    """
    if isinstance(index, VectorIndex) and (len(index), index.kind, index.suffix) == (length, kind, ".own"):
        return index
    package = registry.origin("indexes", kind).package
    found = f"a {type(index).__name__}"
    if isinstance(index, VectorIndex):
        found = f"an index of kind {index.kind} with {len(index)} rows and files ending in {index.suffix}"
    raise ConfigError(
        f"index.kind {kind}: {package} gave {found}; expected a VectorIndex of that kind with {length} rows and files "
        "ending in .own"
    )


def load_index(path: Path, *, kind: str = "", gpu: GpuName = "auto", gpus: GpusName = "replicas") -> VectorIndex:
    """Read an index of any kind, with the search parameters it was tuned to; a .json file names a Milvus collection.

    `kind` tells those of other packages.

    Raises:
        DataError: the file is missing or damaged, or holds what bleep does not write.

    """
    if path.suffix == MilvusIndex.suffix:
        return MilvusIndex.load(path)
    if kind and kind not in get_args(KindName):
        own: VectorIndex = registry.load("indexes", kind).load(path)
        return own
    index = read(path, (faiss.IndexFlat, *CLASSES))
    if isinstance(index, faiss.IndexFlat):
        return FlatIndex.of_file(index, path, gpu, gpus)
    return ApproximateIndex(index, gpu, gpus)


def _tuned(
    index: MilvusIndex,
    vectors: Float32[np.ndarray, "spots dim"],
    queries: Float32[np.ndarray, "queries dim"] | None,
    config: IndexConfig,
    seed: int,
) -> MilvusIndex:
    """Return the collection with the least effort of search that reaches the recall asked for."""
    if index.kind not in EFFORTS:
        return index
    return index.with_effort(tuned_effort(index, trial(vectors, queries, seed), config.recall))
