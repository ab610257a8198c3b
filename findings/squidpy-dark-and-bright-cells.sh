#!/usr/bin/env bash
# squidpy's new colour histogram and texture of cells do not see how dark a cell is, and find most texture in a flat one.
#
# One would expect: the "color_hist" of a dark nucleus and of a pale one differ; contrast of the grey level matrix grows with
# contrast; a cell's texture does not depend on what its outline looks like.
# What happens: each cell is stretched from its own darkest to its own brightest pixel first, in each channel by itself, for
# both features. A cell at 40 and one at 200 with the same pattern have the same histogram, to the last digit, and the same
# texture; one of 120 +- 2 has more contrast than one of 120 +- 30. Pixels outside the cell are set to the lowest level
# and kept, so the outline is texture: a smooth disc has 19 times the contrast of its own inside.
# Versions: squidpy 1.8.2 (2026, squidpy.experimental.im.calculate_image_features; 1.8.3 alike); scikit-image 0.26.0;
# seen on 2026-11-29. The documentation says "per-channel intensity histogram" and "per-channel GLCM contrast".
# Why it matters: such features are the floor that a network for H&E has to beat, and colour is what H&E is about: a floor made
# from color_hist and texture is blind to staining, and rewards the noise of the scanner.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  squidpy==1.8.2 scanpy==1.11.5 anndata==0.12.19 spatialdata==0.7.3 ome-zarr==0.15.0 zarr==3.1.6 xarray==2026.9.0 \
  dask==2026.1.1 numpy==2.4.6 pandas==2.3.3 scikit-image==0.26.0
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - 2> "$folder/bars" <<'PY' || { cat "$folder/bars"; exit 1; }
from importlib.metadata import version

import numpy as np
import pandas as pd
from skimage.feature import graycomatrix, graycoprops
from spatialdata import SpatialData
from spatialdata.models import Image2DModel, Labels2DModel
from squidpy.experimental.im import calculate_image_features

print("squidpy", version("squidpy"), "scikit-image", version("scikit-image"))
random = np.random.default_rng(0)
rows, columns = np.mgrid[:200, :200]
pattern = random.uniform(-1, 1, (41, 41))
slope = np.linspace(-1, 1, 41)[None].repeat(41, axis=0)
# Where, the mean grey level, the range around it, what is drawn.
cells = {
    "dark": ((40, 40), 40, 30, pattern),
    "pale": ((40, 120), 200, 30, pattern),
    "rough": ((120, 40), 120, 30, pattern),
    "flat": ((120, 120), 120, 2, pattern),
    "smooth": ((160, 80), 120, 30, slope),
}
picture, labels = np.full((200, 200), 230), np.zeros((200, 200), dtype=int)
for number, ((top, left), mean, width, drawing) in enumerate(cells.values(), 1):
    inside = (rows - top) ** 2 + (columns - left) ** 2 <= 15**2
    whole = np.zeros((200, 200))
    whole[top - 20 : top + 21, left - 20 : left + 21] = drawing
    picture[inside], labels[inside] = (mean + width * whole[inside]).round(), number
picture = picture.astype(np.uint8)
data = SpatialData(
    images={"slide": Image2DModel.parse(np.stack([picture] * 3), dims=("c", "y", "x"), c_coords=["r", "g", "b"])},
    labels={"cells": Labels2DModel.parse(labels, dims=("y", "x"))},
)
table = calculate_image_features(
    data, image_key="slide", labels_key="cells", features=["squidpy:summary", "squidpy:texture", "squidpy:color_hist"], inplace=False
)
seen = pd.DataFrame(np.asarray(table.X), index=list(cells), columns=table.var_names)
histogram = seen[[f"color_hist_bin{number}_r" for number in range(16)]]
contrast = seen["texture_contrast_r"]


def by_hand(name):
    # Grey levels of 0 to 255 in 32 steps, for all cells alike; pairs of neighbours of which both are inside.
    levels = np.where(labels == list(cells).index(name) + 1, picture // 8 + 1, 0)
    matrix = graycomatrix(levels.astype(np.uint8), [1], [0], levels=33, symmetric=True)[1:, 1:]
    return float(graycoprops(matrix / matrix.sum(), "contrast")[0, 0])


distance = float(abs(histogram.loc["dark"] - histogram.loc["pale"]).max())
print(
    f"means of the dark and the pale cell: {seen.loc['dark', 'summary_mean_r']:.0f} and {seen.loc['pale', 'summary_mean_r']:.0f}; "
    f"largest difference of their histograms: guess about 1, seen {distance:.1g}"
)
for one, other in (("flat", "rough"), ("smooth", "rough"), ("dark", "pale")):
    print(
        f"contrast of the {one} cell over that of the {other} one: by hand, levels alike and the inside alone, "
        f"{by_hand(one) / by_hand(other):.3f}; seen {contrast[one] / contrast[other]:.3f}"
    )
# The smooth disc's inside alone, with squidpy's own stretch: the rest is the outline.
disc = labels == 5
low, high = picture[disc].min(), picture[disc].max()
levels = np.where(disc, ((picture.astype(float) - low) / (int(high) - low) * 31).round() + 1, 0).clip(0, 32).astype(np.uint8)
matrix = graycomatrix(levels, [1], [0], levels=33, symmetric=True)[1:, 1:]
inner = float(graycoprops(matrix / matrix.sum(), "contrast")[0, 0])
print(f"contrast of the smooth disc, stretched alike: inside alone {inner:.2f}; guess about the same, seen {contrast['smooth']:.2f}")
assert distance < 1e-6 and abs(contrast["dark"] / contrast["pale"] - 1) < 1e-6, seen.T
assert contrast["flat"] > contrast["rough"] and by_hand("flat") < by_hand("rough") / 20, contrast
assert contrast["smooth"] > 5 * inner, (contrast, inner)
print("as found")
PY
