#!/usr/bin/env bash
# squidpy calls points thrown at random clustered: observed and simulated Ripley's L are on different scales.
#
# One would expect: for cells of a type thrown at random, L(r) is about r, for the cells and for the simulations alike,
# and the p-values are large.
# What happens: both divide by the number of all cells, of all types. A type with half of the cells shows L = r/2, one
# with a tenth r/10. The simulations have n_observations points (1000 by default), not the type's number, so their L is
# r * 1000 / all. Wherever a type has more than 1000 cells it is "clustered" at every radius, with the least p-value
# there is. Giving n_observations the type's own number brings both together, yet both still at r/2.
# Versions: squidpy 1.8.2 (the newest for Python 3.11; 1.8.3 of June 2026 was not tried); asked about upstream in 2024
# (squidpy issue 813), so still; seen on 2026-11-28.
# Why it matters: L of predicted cell types or of high-expression spots is compared between sections and types; here it
# measures how many cells there are.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  squidpy==1.8.2 scanpy==1.11.5 anndata==0.12.19 spatialdata==0.7.3 ome-zarr==0.15.0 zarr==3.1.6 \
  xarray==2026.9.0 dask==2026.1.1 numpy==2.4.6 pandas==2.3.3
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import anndata
import numpy as np
import squidpy

random = np.random.default_rng(0)
cells = anndata.AnnData(np.zeros((4000, 1)))
cells.obsm["spatial"] = random.uniform(0, 1000, (4000, 2))
types = np.repeat(["half", "rest", "tenth"], [2000, 1600, 400])
cells.obs["type"] = random.permutation(types)
cells.obs["type"] = cells.obs["type"].astype("category")
print("squidpy", version("squidpy"))
seen = {}
for points in (1000, 2000):
    found = squidpy.gr.ripley(
        cells, "type", mode="L", n_simulations=20, n_observations=points, max_dist=200, n_steps=50, copy=True
    )
    radius = found["bins"][20]
    simulated = found["sims_stat"].groupby("bins").stats.mean().to_numpy()[20]
    table = found["L_stat"]
    for row, name in enumerate(sorted(set(types))):
        observed = table[table["type"] == name].stats.to_numpy()[20]
        clustered = float((found["pvalues"][row][1:] < 0.05).mean())
        seen[points, name] = observed / radius, simulated / radius, clustered
        print(
            f"{points} points simulated, type {name}: guess L/r 1 and 1, no small p; seen {observed / radius:.2f} observed, "
            f"{simulated / radius:.2f} simulated, p < .05 at {clustered:.0%} of radii"
        )
near = {key: (round(a, 1), round(b, 1)) for key, (a, b, _) in seen.items()}
assert near == {
    (1000, "half"): (0.5, 0.2),
    (1000, "rest"): (0.4, 0.2),
    (1000, "tenth"): (0.1, 0.2),
    (2000, "half"): (0.5, 0.5),
    (2000, "rest"): (0.4, 0.5),
    (2000, "tenth"): (0.1, 0.5),
}, near
assert seen[1000, "half"][2] > 0.9, seen
print("as found")
PY
