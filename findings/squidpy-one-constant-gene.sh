#!/usr/bin/env bash
# One gene without variation takes the corrected p-values of all genes away in squidpy.
#
# One would expect: a gene that is the same in every spot has an undefined Moran's I, and the others keep their p-values
# and their correction for multiple tests, as they do in sm-rust, which copies squidpy's interface and table.
# What happens: the undefined p-value enters the correction, and the column of corrected p-values is undefined for every
# gene, without an error. Choosing genes by "corrected p below .05" then chooses none.
# Versions: squidpy 1.8.2 (the newest for Python 3.11; 1.8.3 of June 2026 was not tried), sm-rust 0.0.6 (2026); seen on
# 2026-11-28.
# Why it matters: in a panel of thousands some gene is zero in some section, so whether spatially variable genes are
# found depends on a gene that nobody looks at.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  squidpy==1.8.2 sm-rust==0.0.6 scanpy==1.11.5 anndata==0.12.19 spatialdata==0.7.3 ome-zarr==0.15.0 zarr==3.1.6 \
  xarray==2026.9.0 dask==2026.1.1 numpy==2.4.6 pandas==2.3.3
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import anndata
import numpy as np
import sm_rust.gr as rust
import squidpy

random = np.random.default_rng(0)
places = random.uniform(0, 1000, (300, 2))
wave = np.sin(places[:, 0] / 150) + random.normal(0, 0.5, 300)
flat = np.ones(300)
seen = {}
for with_flat in (False, True):
    values = np.stack([wave, random.poisson(1.0, 300).astype(float), *([flat] if with_flat else [])], axis=1)
    table = anndata.AnnData(values)
    table.var_names = ["wave", "noise", "flat"][: values.shape[1]]
    table.obsm["spatial"] = places
    squidpy.gr.spatial_neighbors(table, coord_type="generic", n_neighs=6)
    squidpy.gr.spatial_autocorr(table, mode="moran", n_perms=None)
    theirs = table.uns["moranI"]
    rust.spatial_neighbors(table, n_neighs=6)
    rust.spatial_autocorr(table, mode="moran")
    others = table.uns["moranI"]
    assert np.allclose(theirs.loc["wave", "I"], others.loc["wave", "I"])
    for name, result in (("squidpy", theirs), ("sm-rust", others)):
        plain = int(result.loc[["wave", "noise"], "pval_norm"].notna().sum())
        seen[name, with_flat] = plain, int(result.loc[["wave", "noise"], "pval_norm_fdr_bh"].notna().sum())
print("squidpy", version("squidpy"), "sm-rust", version("sm-rust"))
for (name, with_flat), (plain, corrected) in seen.items():
    beside = "with" if with_flat else "without"
    print(f"{name}, {beside} a flat gene: guess 2 and 2 p-values of wave and noise; seen {plain} plain, {corrected} corrected")
assert seen == {
    ("squidpy", False): (2, 2),
    ("sm-rust", False): (2, 2),
    ("squidpy", True): (2, 0),
    ("sm-rust", True): (2, 2),
}, seen
print("as found")
PY
