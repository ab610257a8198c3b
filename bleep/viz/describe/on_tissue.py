"""The spots where they lie: each section as a map of its totals, with the odd spots ringed."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from bleep.viz.describe.tables import Pooled
from bleep.viz.figures.style import Drawing, amount, titled, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

MOST = 16
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
    shown = list(parts)[:MOST]
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
        axes.set_title(f"{words(name)} ({len(parts[name])} spots)", fontsize=9)
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
    fewer = f", the first {MOST} of {len(parts)} sections" if len(parts) > MOST else ""
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
