"""Which genes go together, as measured and as predicted, in the same order."""

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from bleep.evaluation.exploration_style import Drawing, titled, words

GENES = 50
"""Genes drawn at most."""


def gene_relations(
    measured: Float[np.ndarray, "spots genes"],
    predicted: Float[np.ndarray, "spots genes"],
    genes: tuple[str, ...],
    columns: Int[np.ndarray, " chosen"],
) -> Drawing:
    """Draw both correlation matrices of some columns, ordered by the measured one; values centred by section before.

    A gene that does not vary correlates with none.
    """
    from matplotlib.figure import Figure

    columns = columns[:GENES]
    real, made = correlation(measured[:, columns]), correlation(predicted[:, columns])
    order = _leaves(real)
    names = [words(genes[column]) for column in columns[order]]
    figure = Figure(figsize=(12.5, 6.4), layout="compressed")
    axes = figure.subplots(1, 2)
    for place, matrix, title in zip(axes, (real, made), ("measured", "predicted"), strict=True):
        picture = place.imshow(matrix[order][:, order], cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        place.set_title(title, fontsize=10)
        place.set_xticks(range(len(names)), names, rotation=90, fontsize=5.5)
        place.set_yticks(range(len(names)), names, fontsize=5.5)
        place.tick_params(length=0)
        place.spines[:].set_visible(False)
    figure.colorbar(picture, ax=axes, label="Pearson r over the test spots, centred by section (no unit)", fraction=0.03)
    what = f"Pearson correlation among the {len(columns)} genes of highest training variance; both in the order of the measured"
    return titled(Drawing("gene_relations", figure, _finding(real, made), what), 120)


def correlation(values: Float[np.ndarray, "spots chosen"]) -> Float64[np.ndarray, "chosen chosen"]:
    """Return the correlation of columns; one that does not vary correlates with nothing."""
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    length = np.sqrt((centred**2).sum(axis=0))
    unit = centred / np.where(length > 1e-9, length, np.inf)
    return np.clip(unit.T @ unit, -1, 1)


def _finding(real: Float64[np.ndarray, "chosen chosen"], made: Float64[np.ndarray, "chosen chosen"]) -> str:
    if len(real) < 3:
        return "Too few genes to compare how they go together"
    above = np.triu_indices(len(real), 1)
    one, two = real[above], made[above]
    agree = float(np.corrcoef(one, two)[0, 1]) if one.std() > 0 and two.std() > 0 else 0.0
    return (
        f"The two patterns agree by r = {agree:.2f}; the mean |r| of a pair is {np.abs(one).mean():.2f} as measured and "
        f"{np.abs(two).mean():.2f} as predicted"
    )


def _leaves(r: Float64[np.ndarray, "chosen chosen"]) -> Int[np.ndarray, " chosen"]:
    if len(r) < 3:
        return np.arange(len(r))
    return leaves_list(linkage(squareform(1 - (r + r.T) / 2, checks=False), "average", optimal_ordering=True))
