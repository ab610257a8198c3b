#!/usr/bin/env bash
# A seed makes all simulations of squidpy's Ripley statistic the same one, and every p-value the least there is.
#
# One would expect: seed makes a run repeatable; 40 simulations of points thrown at random still differ from one
# another.
# What happens: each simulation starts from the seed anew, so all 40 are one and the same draw with no spread. What is
# observed is above or below all of them at once: each p-value is 0 or 1/41, for points that are thrown at random
# themselves. Without a seed the simulations differ and the p-values are spread.
# Versions: squidpy 1.8.2 (the newest for Python 3.11; 1.8.3 of June 2026 was not tried); seen on 2026-11-28.
# Why it matters: who sets a seed to be careful, as reproducible pipelines do, gets "clustered" or "dispersed" for every
# cell type.
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

random = np.random.default_rng(1)
cells = anndata.AnnData(np.zeros((4000, 1)))
cells.obsm["spatial"] = random.uniform(0, 1000, (4000, 2))
cells.obs["type"] = random.permutation(np.repeat(["a", "b"], 2000))
cells.obs["type"] = cells.obs["type"].astype("category")
print("squidpy", version("squidpy"))
seen = {}
for seed in (None, 0):
    found = squidpy.gr.ripley(
        cells, "type", mode="L", n_simulations=40, n_observations=2000, max_dist=200, n_steps=50, seed=seed, copy=True
    )
    table = found["sims_stat"].pivot(index="simulations", columns="bins", values="stats").to_numpy()
    different = len(np.unique(table.round(6), axis=0))
    small = float((found["pvalues"][:, 1:] < 0.025).mean())
    seen[seed] = different, small
    print(f"seed {seed}: guess 40 different simulations, few small p; seen {different} different, {small:.0%} of p below .025")
assert seen[None][0] == 40 and seen[None][1] < 0.9, seen
assert seen[0] == (1, 1.0), seen
print("as found")
PY
