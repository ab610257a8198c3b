"""Spots as points in few dimensions: principal components, t-SNE and UMAP, and how far sections mix there."""

import warnings

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64, Int64

from bleep.viz.describe.tables import Pooled

VARIABLE = 1000
"""Genes of highest variance that the components are made of."""
COMPONENTS = 50
"""Principal components kept."""
MOST = 5000
"""Most spots drawn; of more, a random part is taken."""
NEIGHBOURS = 15
"""Neighbours of a spot, in UMAP and where the mixing of sections is measured."""
PERPLEXITY = 30.0
"""Of t-SNE; less where there are few spots."""


def principal(pooled: Pooled, columns: Int64[np.ndarray, " genes"]) -> Float64[np.ndarray, "spots axes"]:
    """Return the spots' first principal components over these genes, each gene centred over all spots."""
    dense = pooled.values[:, columns].toarray()
    dense -= dense.mean(axis=0)
    axes = np.linalg.eigh(dense.T @ dense)[1][:, ::-1][:, : min(COMPONENTS, len(dense) - 1)]
    # An axis may point either way; its largest weight is made positive, so that the same data give the same picture.
    turn = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return dense @ (axes * turn)


def distance(scores: Float64[np.ndarray, "spots axes"], codes: Int64[np.ndarray, " spots"]) -> Float64[np.ndarray, " spots"]:
    """Return how far each spot lies from the middle (the median on every axis) of its section."""
    found = np.empty(len(scores))
    for code in np.unique(codes):
        rows = codes == code
        found[rows] = np.linalg.norm(scores[rows] - np.median(scores[rows], axis=0), axis=1)
    return found


def sample(count: int, seed: int) -> Int64[np.ndarray, " drawn"]:
    """Return the rows that are drawn: all, or a random part of them."""
    if count <= MOST:
        return np.arange(count, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(count, MOST, replace=False)).astype(np.int64)


def tsne(scores: Float[np.ndarray, "drawn axes"], seed: int) -> Float[np.ndarray, "drawn 2"]:
    """Lay the spots out in the plane (van der Maaten and Hinton, JMLR 2008)."""
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(scores) - 1) / 3)
    start = "pca" if scores.shape[1] >= 2 else "random"
    return TSNE(init=start, perplexity=perplexity, random_state=seed).fit_transform(scores.astype(np.float32))


def umap(scores: Float[np.ndarray, "drawn axes"], seed: int) -> Float[np.ndarray, "drawn 2"]:
    """Lay the spots out in the plane (McInnes et al., arXiv 1802.03426)."""
    with warnings.catch_warnings():
        # umap tells at import that it has no Tensorflow, which only its parametric form needs.
        warnings.filterwarnings("ignore", message="Tensorflow not installed", category=ImportWarning)
        from umap import UMAP

    start = "pca" if scores.shape[1] >= 2 else "random"
    neighbours = min(NEIGHBOURS, len(scores) - 1)
    model = UMAP(n_neighbors=neighbours, init=start, random_state=seed, n_jobs=1)
    # Numba gives its own number of threads to all of OpenMP, so to torch, whatever OMP_NUM_THREADS says.
    threads = torch.get_num_threads()
    try:
        return np.asarray(model.fit_transform(scores.astype(np.float32)))
    finally:
        torch.set_num_threads(threads)


def mixing(scores: Float64[np.ndarray, "drawn axes"], codes: Int64[np.ndarray, " drawn"]) -> tuple[float, float]:
    """Return which share of a spot's nearest neighbours is of its own group, and which would be if groups mixed freely."""
    from sklearn.neighbors import NearestNeighbors

    count = min(NEIGHBOURS, len(scores) - 1)
    rows = NearestNeighbors(n_neighbors=count).fit(scores).kneighbors(return_distance=False)
    shares = np.bincount(codes) / len(codes)
    return float((codes[rows] == codes[:, None]).mean()), float((shares**2).sum())


def mixing_words(pooled: Pooled, scores: Float64[np.ndarray, "drawn axes"], rows: Int64[np.ndarray, " drawn"]) -> str:
    """Say how far sections, and patients where some have several, mix among these spots."""
    own, free = mixing(scores, pooled.codes[rows])
    apart = "lie apart" if own > (free + 1) / 2 else "mix in part" if own > free + 0.05 else "mix"
    said = (
        f"Sections {apart}: {100 * own:.0f} % of a spot's nearest neighbours are of its own ({100 * free:.0f} % if all mixed)"
    )
    codes, patients = pd.factorize(pooled.spots["patient"])
    if 1 < len(patients) < len(pooled.sections):
        own, free = mixing(scores, codes[rows].astype(np.int64))
        said += f", {100 * own:.0f} % of its own patient ({100 * free:.0f} %)"
    return said
