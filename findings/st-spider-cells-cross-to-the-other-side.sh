#!/usr/bin/env bash
# In st-spider cells at the far side of a tissue are counted in spots at its near side, where spots fit the tissue exactly.
#
# One would expect: `generate_spot_level_data` sums the cells that lie within each square spot, so a cell is in a spot whose middle is at most half
# of the spot's side away from it in each direction, and a type that lies at one side of the tissue is found at that side.
# What happens: the number of a spot is made from its row and column, with as many columns as go into the height of the tissue. A cell at the very
# end, where the height is a multiple of the side, has the next column, which does not exist, and so the number of the first column in the next
# row. On a grid of 98 by 101 places with cut corners all 60 cells of the last column go into spots of the first one, 100 places away and one row
# further, with spots of 2, 4, 5, 10 and 20, and none with those of 3, 7 and 12. Where the tissue has its last corner it is an error instead.
# Way out: multiply the coordinates by 1 - 1e-9 before.
# Versions: st-spider 1.2.0, the newest in November 2026, with scipy 1.16.3; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: bins of Visium HD and cells simulated on a grid have whole coordinates, and spots made of them serve as the truth for
# deconvolution.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.2.6 pandas==2.3.3 scipy==1.16.3 numba==0.62.1 matplotlib==3.10.7 scikit-learn==1.7.2 anndata==0.12.6 joblib==1.5.2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps st-spider==1.2.0
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder MPLBACKEND=Agg OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import pandas as pd
from anndata import AnnData
from spider import generate_spot_level_data

print(*(f"{name} {version(name)}" for name in ("st-spider", "scipy", "anndata")))
WIDTH, SIDE = 98, 101
places = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(SIDE), indexing="ij"), axis=-1).reshape(-1, 2).astype(float)
places = places[np.abs(places - [(WIDTH - 1) / 2, (SIDE - 1) / 2]).sum(axis=1) <= 80]
last = places[:, 1] == SIDE - 1
# a gene for the cells of the last column, and one for each direction whose mean in a spot is the mean place of its cells
table = np.column_stack([last, places, np.ones(len(places))]).astype(np.float32)


def spots(scale, side):
    cells = pd.DataFrame({"label": np.where(last, "last", "other")}, index=[f"cell {number}" for number in range(len(places))])
    cells = AnnData(table.copy(), obs=cells)
    cells.obsm["spatial"] = places * scale
    return generate_spot_level_data(cells, "spots.h5ad", spot_diameter=side)


def seen(made, side):
    """The cells of the last column by whether their spot is at that side, and how far the middle of cells lies from the middle of their spot."""
    values = np.asarray(made.X.todense() if hasattr(made.X, "todense") else made.X)
    there = made.obsm["spatial"][:, 1] > SIDE / 2
    far = np.abs(values[:, 1:3] / values[:, 3:] - made.obsm["spatial"]).max()
    assert values[:, 3].sum() == len(places)
    return int(values[there, 0].sum()), int(values[~there, 0].sum()), far


for side in (2, 4, 5, 10, 20, 3, 7, 12):
    near, other, far = seen(spots(1, side), side)
    right = seen(spots(1 - 1e-9, side), side)
    fits = (SIDE - 1) % side == 0
    print(
        f"spots of {side}: cells of the last column in spots at that side and at the other: guess {last.sum()} and 0, seen {near} and {other}; "
        f"farthest mean of cells from the middle of their spot: guess at most {side / 2:.1f}, seen {far:.1f}; "
        f"with coordinates a billionth smaller {right[0]} and {right[1]}, {right[2]:.1f}"
    )
    assert right[:2] == (last.sum(), 0) and right[2] <= side / 2 + 1e-3
    assert (near, other) == ((0, last.sum()) if fits else (last.sum(), 0))
    assert not fits or far > side / 2 + 1
print("as found")
PY
