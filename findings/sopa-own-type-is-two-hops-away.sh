#!/usr/bin/env bash
# sopa's distance from a cell to the nearest other cell of its own type is never above two hops, wherever that cell is.
#
# One would expect: with ignore_zeros=True the distance of a cell to its own type is "not 0, but the distance to the closest
# other cell of the same group", as documented. Two cells of a type with 20 others between them are 21 hops apart.
# What happens: the walk begins at all cells of the type at once, and none counts as visited. The first step reaches the
# neighbours, the second one comes back to where it started. A cell with one of its kind beside it has 1 and any other has 2.
# Other types are right. With correction=True the expected distance of a random type is subtracted from this, so that every
# rare type is far nearer to itself than by chance; cells that keep apart from each other, too.
# Versions: sopa 2.2.11 (2026, sopa.spatial.cells_to_groups and mean_distance); seen on 2026-11-29.
# Why it matters: the diagonal of the table is read as how much a type clusters. It is made of the share of cells that touch
# one of their kind alone. Measured and predicted cell types, or two sections, are compared by a number that hardly moves.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  sopa==2.2.11 spatialdata==0.7.3 ome-zarr==0.15.0 zarr==3.1.6 xarray==2026.9.0 dask==2026.1.1 scanpy==1.11.5 \
  anndata==0.12.19 numba==0.68.1 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder TQDM_DISABLE=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import logging
from importlib.metadata import version

import anndata
import numpy as np
import pandas as pd
from scipy.sparse.csgraph import dijkstra
from sopa.spatial import cells_to_groups, mean_distance, spatial_neighbors

logging.getLogger("sopa").setLevel(logging.ERROR)
print("sopa", version("sopa"))
random = np.random.default_rng(0)
cells = 5000
places = random.uniform(0, 700, (cells, 2))


def section(chosen):
    data = anndata.AnnData(np.zeros((cells, 1), dtype="float32"), obs=pd.DataFrame(index=[f"cell{number}" for number in range(cells)]))
    data.obsm["spatial"] = places
    kind = np.full(cells, "other", dtype=object)
    kind[chosen] = "rare"
    data.obs["type"] = pd.Categorical(kind)
    spatial_neighbors(data, None)
    return data


def nearest(points):
    return np.array([np.linalg.norm(places - point, axis=1).argmin() for point in points])


grid = np.arange(70, 700, 140)
seen = {}
for name, chosen in (
    ("two cells far apart", nearest([(200, 350), (500, 350)])),
    ("25 cells at random", random.choice(cells, 25, replace=False)),
    ("25 cells that keep apart", nearest([(x, y) for x in grid for y in grid])),
    ("500 cells at random", random.choice(cells, 500, replace=False)),
):
    data = section(chosen)
    between = dijkstra(data.obsp["spatial_connectivities"], unweighted=True, indices=chosen)
    own = between[:, chosen].copy()
    np.fill_diagonal(own, np.inf)
    truth = own.min(1).mean()
    others = np.setdiff1d(np.arange(cells), chosen)
    table = mean_distance(data, "type", ignore_zeros=True)
    corrected = mean_distance(data, "type", ignore_zeros=True, correction=True)
    highest = cells_to_groups(data, "type", ignore_zeros=True).loc[data.obs["type"] == "rare", "rare"].max()
    assert np.isclose(table.loc["other", "rare"], between.min(0)[others].mean())  # other types are right
    seen[name] = float(truth), float(table.loc["rare", "rare"]), float(highest), float(corrected.loc["rare", "rare"])
    print(
        f"{name}: guess {truth:.1f} hops to the next of their kind (by Dijkstra), seen {seen[name][1]:.2f}, highest {highest:.0f}; "
        f"corrected for chance {seen[name][3]:.1f}, where the true distance has {truth - seen[name][1] + seen[name][3]:.1f}"
    )
assert all(highest == 2 for _, _, highest, _ in seen.values()), seen
assert seen["two cells far apart"][0] > 20 and seen["two cells far apart"][1] == 2, seen
assert seen["25 cells that keep apart"][0] > seen["25 cells at random"][0] + 2, seen
assert abs(seen["25 cells that keep apart"][1] - seen["25 cells at random"][1]) < 0.1, seen
assert seen["25 cells that keep apart"][3] < -3, seen
print("as found")
PY
