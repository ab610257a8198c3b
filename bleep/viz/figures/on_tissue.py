"""What is measured, on tissue and as embeddings."""

import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64, Int64
from scipy.spatial import cKDTree

from bleep.viz.describe import Pooled
from bleep.viz.figures import Drawing, amount, label_text, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize


MOST_SECTIONS = 16
"""Sections drawn at most, the first ones."""
INCHES = 3.0
"""Side of a map."""


def spatial_map(pooled: Pooled, odd: pd.DataFrame) -> Iterator[Drawing]:
    """Draw the total of every spot where it lies on its slide, x to the right and y downwards.

    Sections of ready-cut tiles have no places and are left out; where there are no others, nothing is drawn. All
    sections have one scale of colours, a logarithmic one.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    parts = {str(name): part for name, part in pooled.spots.groupby("section", sort=False) if np.ptp(part["y"]) > 0}
    if not parts:
        return
    shown = list(parts)[:MOST_SECTIONS]
    columns = min(len(shown), 4)
    rows = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(INCHES * columns + 1.2, INCHES * rows + 0.9), layout="constrained")
    total = np.concatenate([parts[name]["total"].to_numpy(np.float64) for name in shown])
    low, high = max(float(total.min()), 1.0), max(float(total.max()), 1.0)
    norm = LogNorm(low, high if high > low else 2 * low)
    ringed = set(odd["section"] + "/" + odd["spot"])
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, name in zip(all_axes, shown, strict=False):
        _section(axes, parts[name], parts[name].index.isin(ringed), norm)
        axes.set_title(f"{label_text(name)} ({len(parts[name])} spots)", fontsize=9)
    for axes in all_axes[len(shown) :]:
        axes.set_visible(False)
    figure.colorbar(all_axes[0].collections[0], ax=list(all_axes), label=f"{pooled.total} of a spot", shrink=0.8)
    ratio = {name: _outer(parts[name]) for name in shown}
    edge = max(ratio, key=lambda name: abs(math.log(ratio[name])))
    finding = (
        f"Spots at the rim of {edge} have {ratio[edge]:.2f} times the median total of those inside"
        if abs(math.log(ratio[edge])) > math.log(1.25)
        else f"Totals from {amount(low)} to {amount(high)}; at the rim they are as inside"
    )
    fewer = f", the first {MOST_SECTIONS} of {len(parts)} sections" if len(parts) > MOST_SECTIONS else ""
    yield titled(Drawing("spatial", figure, finding, f"total of every spot where it lies{fewer}; those of outliers.csv ringed"))


def _section(axes: "Axes", part: pd.DataFrame, ringed: np.ndarray, norm: "Normalize") -> None:
    xy = part[["x", "y"]].to_numpy(np.float64)
    reach = max(np.ptp(xy[:, 0]), np.ptp(xy[:, 1]))
    pitch = float(np.median(cKDTree(xy).query(xy, k=2)[0][:, 1])) if len(xy) > 1 else reach
    # Points are as wide as their distance, in points of 1/72 inch.
    size = float(np.clip(0.85 * 72 * INCHES * pitch / max(reach, pitch), 1.0, 20.0)) ** 2
    values = np.maximum(part["total"].to_numpy(np.float64), norm.vmin or 1.0)
    axes.scatter(xy[:, 0], xy[:, 1], c=values, s=size, norm=norm, cmap="viridis", linewidths=0, rasterized=True)
    axes.scatter(xy[ringed, 0], xy[ringed, 1], s=2.5 * size, facecolors="none", edgecolors="#D55E00", linewidths=1)
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.invert_yaxis()


def _outer(part: pd.DataFrame) -> float:
    """Return the median total of spots with few others around them over that of the rest; 1 where all are alike."""
    xy, total = part[["x", "y"]].to_numpy(np.float64), part["total"].to_numpy(np.float64)
    if len(xy) < 10:
        return 1.0
    tree = cKDTree(xy)
    pitch = float(np.median(tree.query(xy, k=2)[0][:, 1]))
    around = np.array([len(found) for found in tree.query_ball_point(xy, 1.6 * pitch)])
    rim = around < around.max() - 1
    inside, outside = np.median(total[~rim]), np.median(total[rim]) if rim.any() else 0.0
    return float(outside / inside) if inside > 0 and outside > 0 else 1.0


VARIABLE = 1000
"""Genes of highest variance that the components are made of."""
COMPONENTS = 50
"""Principal components kept."""
MOST_POINTS = 5000
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
    if count <= MOST_POINTS:
        return np.arange(count, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(count, MOST_POINTS, replace=False)).astype(np.int64)


def _start(scores: Float[np.ndarray, "drawn axes"]) -> str:
    """Return how a layout begins: spots that are all alike, as those drawn may be, have no principal components."""
    return "pca" if scores.shape[1] >= 2 and scores.std(axis=0).any() else "random"


def tsne(scores: Float[np.ndarray, "drawn axes"], seed: int) -> Float[np.ndarray, "drawn 2"]:
    """Lay the spots out in the plane (van der Maaten and Hinton, JMLR 2008)."""
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(scores) - 1) / 3)
    return TSNE(init=_start(scores), perplexity=perplexity, random_state=seed).fit_transform(scores.astype(np.float32))


def umap(scores: Float[np.ndarray, "drawn axes"], seed: int) -> Float[np.ndarray, "drawn 2"]:
    """Lay the spots out in the plane (McInnes et al., arXiv 1802.03426)."""
    with warnings.catch_warnings():
        # umap tells at import that it has no Tensorflow, which only its parametric form needs.
        warnings.filterwarnings("ignore", message="Tensorflow not installed", category=ImportWarning)
        from umap import UMAP

    neighbours = min(NEIGHBOURS, len(scores) - 1)
    model = UMAP(n_neighbors=neighbours, init=_start(scores), random_state=seed, n_jobs=1)
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
