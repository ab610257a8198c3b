#!/usr/bin/env bash
# In grthub-tools Geary's C of a sample whose Moran's I is known is that Moran's I.
#
# One would expect: `compute_moran(sample, mode="geary")` returns the table of Geary's C, whose values lie near 0 for a gene that goes with
# its neighbours and near 1 for noise.
# What happens: whatever the mode, the table of Moran's I is returned, if one is there. Asked for C after I, a patch has .96 where its C is
# .04, and noise has -.02 where its C is 1.02: by C, noise would be the gene that goes with its neighbours. Asked for first, nothing is returned.
# Way out: `sample.uns["gearyC"]`, where it has been written.
# Versions: grthub-tools 0.1.0, the newest in December 2026, with squidpy 1.8.2; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: two statistics that should agree are compared by asking for one after the other, and agree wholly.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  squidpy==1.8.2 spatialdata==0.7.3 scanpy==1.11.5 anndata==0.12.19 numpy==2.4.6 pandas==2.3.3 scipy==1.17.1 zarr==3.1.6 dask==2026.1.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps grthub-tools==0.1.0
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder MPLBACKEND=Agg OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import pandas as pd
from anndata import AnnData
from grthub_tools.spatial import compute_moran

print(*(f"{name} {version(name)}" for name in ("grthub-tools", "squidpy", "anndata")))
generator = np.random.default_rng(0)
places = np.stack(np.mgrid[:20, :20], axis=-1).reshape(-1, 2) + generator.uniform(-0.3, 0.3, (400, 2))
patch = np.exp(-((places - 10) ** 2).sum(axis=1) / 40)
values = np.stack([patch, generator.random(400)], axis=1).astype(np.float32)
sample = AnnData(values, obs=pd.DataFrame(index=[f"spot {row}" for row in range(400)]), obsm={"spatial": places})
sample.var_names = ["PATCH", "NOISE"]

alone = compute_moran(sample.copy(), mode="geary", n_perms=10)
moran = compute_moran(sample, mode="moran", n_perms=10)["I"]
table = compute_moran(sample, mode="geary", n_perms=10)
known = sample.uns["gearyC"]["C"]


def by_hand(row):
    """Geary's C, over pairs of neighbours of squidpy's graph."""
    links = sample.obsp["spatial_connectivities"].tocoo()
    weights, x = links.data, values[:, row].astype(float)
    return (len(x) - 1) * (weights * (x[links.row] - x[links.col]) ** 2).sum() / (2 * weights.sum() * ((x - x.mean()) ** 2).sum())


for row, gene in enumerate(sample.var_names):
    expected = by_hand(row)
    seen = table.loc[gene].iloc[0]
    print(f"{gene}: Geary's C by hand {expected:.2f}, in the sample {known[gene]:.2f}; guess {expected:.2f}, seen {seen:.2f}; Moran's I {moran[gene]:.2f}")
    assert np.isclose(known[gene], expected, atol=0.02)
    assert seen == moran[gene] and abs(seen - expected) > 0.6
assert known["PATCH"] < known["NOISE"] and table.iloc[:, 0]["PATCH"] > table.iloc[:, 0]["NOISE"]
print(f"columns: guess C first, seen {list(table.columns)[:2]}; asked for on a sample without Moran's I: guess a table, seen {alone}")
assert table.columns[0] == "I" and alone is None
print("as found")
PY
