"""Tiles and spots in their shared space, laid out in the plane."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32, Int64, Shaped

from bleep.viz.describe.embeddings import mixing, tsne, umap
from bleep.viz.figures.style import COLOURS, MARKERS, Drawing, titled, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAIRS = 1000
"""Tiles drawn at most, each with its spot; of more, a random part."""
METHODS = {"UMAP": umap, "t-SNE": tsne}


def joint_space(
    images: Float32[np.ndarray, "tiles dim"],
    expression: Float32[np.ndarray, "tiles dim"],
    labels: dict[str, Shaped[np.ndarray, " tiles"]],
    method: str,
    seed: int,
) -> Drawing:
    """Draw the embeddings of tiles and of the same spots' expression, once by modality, then by each label.

    `labels` has a name for what the tiles are coloured by, such as their section, and a value for each.
    """
    from matplotlib.figure import Figure

    rows = np.sort(np.random.default_rng(seed).permutation(len(images))[:PAIRS])
    both = np.concatenate([images[rows], expression[rows]])
    side = np.repeat(np.arange(2, dtype=np.int64), len(rows))
    places = METHODS[method](both, seed)
    figure = Figure(figsize=(5.2 * (1 + len(labels)), 5.0), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, 1 + len(labels)))
    _coloured(axes[0], places, side, ("tile", "expression"), "modality")
    for place, (name, values) in zip(axes[1:], labels.items(), strict=True):
        names, codes = np.unique(values[rows].astype(str), return_inverse=True)
        _coloured(place, places, np.tile(codes.astype(np.int64), 2), tuple(names.tolist()), name)
    for place in axes:
        place.set(xlabel=f"{method} 1 (no unit)", ylabel=f"{method} 2 (no unit)", xticks=[], yticks=[])
        place.spines[["top", "right"]].set_visible(False)
    what = f"embeddings of {len(rows)} test tiles and of the same spots' measured expression, laid out by {method}"
    name = f"joint_space_{method.lower().replace('-', '')}"
    return titled(Drawing(name, figure, _finding(both, side, len(rows)), what), 50 * (1 + len(labels)))


def _finding(both: Float32[np.ndarray, "points dim"], side: Int64[np.ndarray, " points"], count: int) -> str:
    own, free = mixing(both.astype(np.float64), side)
    similarity = both[:count] @ both[count:].T
    true = np.diag(similarity)[:, None]
    rank = 1 + (similarity > true).sum(axis=1)
    return (
        f"{100 * own:.0f} % of a point's nearest neighbours are of its own modality ({100 * free:.0f} % if both mixed freely); "
        f"a tile's own spot is at median rank {np.median(rank):.0f} of {count}"
    )


def _coloured(
    axes: "Axes", places: Float[np.ndarray, "points 2"], codes: Int64[np.ndarray, " points"], names: tuple[str, ...], title: str
) -> None:
    shuffled = np.random.default_rng(0).permutation(len(places))
    for code, name in enumerate(names):
        here = shuffled[codes[shuffled] == code]
        axes.scatter(
            places[here, 0], places[here, 1], s=9, linewidths=0, alpha=0.65, color=COLOURS[code % len(COLOURS)],
            marker=MARKERS[code // len(COLOURS) % len(MARKERS)], label=words(name), rasterized=True,
        )  # fmt: skip
    axes.legend(title=title, frameon=False, fontsize=8, markerscale=2, loc="best")
