"""Indexes on GPUs: a copy to search on, and one to fill; what is stored is always the CPU's."""

import logging
from typing import Any

import numpy as np
from jaxtyping import Float32

from bleep.prediction.search.library import faiss
from bleep.settings import GpuName, GpusName

log = logging.getLogger(__name__)

MOST = 2048
"""Neighbours, and lists looked through, that FAISS can ask of a GPU."""


def gpu_count() -> int:
    """Return the number of GPUs that FAISS finds."""
    return int(faiss.get_num_gpus())


def on_gpus(index: Any, gpu: GpuName, gpus: GpusName) -> Any | None:
    """Return a copy to search on: whole on every GPU, or in shards; None where there is no GPU or it is too small."""
    if gpu == "none" or not gpu_count():
        return None
    options = faiss.GpuMultipleClonerOptions()
    options.shard = gpus == "shards"
    # Lists must not be shared out: every shard then holds a part of each list, and the same lists are looked through.
    options.shard_type = 1
    try:
        return faiss.index_cpu_to_all_gpus(index, options)
    except RuntimeError as error:
        log.warning("the index is searched on the CPU: %s", str(error).splitlines()[0])
        return None


def train(index: Any, vectors: Float32[np.ndarray, "sample dim"], gpu: GpuName) -> None:
    """Train an IVF index, its lists' centres on the first GPU where there is one."""
    if gpu == "none" or not gpu_count():
        index.train(vectors)
        return
    centres = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, faiss.IndexFlatIP(vectors.shape[1]))
    index.clustering_index = centres
    try:
        index.train(vectors)
    finally:
        index.clustering_index = None


def fill(index: Any, vectors: Float32[np.ndarray, "spots dim"], gpu: GpuName) -> Any:
    """Return the trained index with these vectors, added on the first GPU where there is one."""
    if gpu != "none" and gpu_count():
        try:
            copy = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
            copy.add(vectors)
            return faiss.index_gpu_to_cpu(copy)
        except RuntimeError as error:
            log.warning("the index is filled on the CPU: %s", str(error).splitlines()[0])
    index.add(vectors)
    return index
