#!/usr/bin/env bash
# In the Python port of SpaceTrooper no cell ever fails the fixed thresholds, and one that fails both is not flagged either.
#
# One would expect: compute_threshold_flags marks cells whose total counts do not pass total_threshold, or whose share of control
# probes is above ctrl_tot_ratio_threshold. Of 2000 cells 20 have no counts, 162 have 20 or fewer, and 107 too many controls.
# What happens: a cell is flagged if it fails both, and the first means that its total is exactly total_threshold. A cell with 0
# counts has no controls, so with the limits that are the default nobody can be flagged: 0 of 127. With total_threshold=20 the
# column is_zero_counts is true for the 15 cells that have 20 counts, not for the 147 with fewer, the 20 without any among them.
# Way out: obs["total"] <= limit together, by or, with obs["is_ctrl_tot_outlier"], which is right: 127 and 262 of the 2000 cells.
# Versions: py-spacetrooper 0.1.1 of May 2026, the newest in the package index; the package in R was not run; seen on 2026-11-30.
# Why it matters: the column is made to be filtered by. It is there, it is all False, and so a section seems to have no bad cells.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  anndata==0.12.19 zarr==3.1.6 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 scikit-learn==1.9.1 matplotlib==3.11.2 \
  seaborn==0.13.2 geopandas==1.1.1 shapely==2.1.2 pyarrow==21.0.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps py-spacetrooper==0.1.1
cd "$folder"
export MPLCONFIGDIR=$folder MPLBACKEND=Agg
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from anndata import AnnData
from spacetrooper import compute_threshold_flags, spatial_per_cell_qc

print(*(f"{name} {version(name)}" for name in ("py-spacetrooper", "anndata", "numpy")))
many = 2000
for seed in (0, 1):
    random = np.random.default_rng(seed)
    depth = random.lognormal(4, 0.5, many)
    depth[:100] = 10
    genes = random.poisson(depth[:, None] / 50, (many, 50))
    controls = random.poisson(0.02, (many, 10))
    controls[100:200] = random.poisson(3, (100, 10))
    counts = np.hstack([genes, controls])
    counts[:20] = 0
    table = AnnData(counts.astype("float64"))
    table.obs_names = [f"cell{one}" for one in range(many)]
    table.var_names = [f"gene{one}" for one in range(50)] + [f"NegControlProbe_{one}" for one in range(10)]
    table.obs["Area_um"], table.obs["AspectRatio"] = random.lognormal(4, 0.3, many), random.lognormal(0, 0.2, many)
    table.obsm["spatial"] = random.uniform(0, 1000, (many, 2))
    table.uns["technology"] = "10X_Xenium"
    spatial_per_cell_qc(table, rm_zeros=False)
    for limit in (None, 5, 10, 20):
        compute_threshold_flags(table, **({} if limit is None else {"total_threshold": limit}))
        limit = limit or 0
        cells, total = table.obs, counts.sum(axis=1)
        share = np.divide(counts[:, 50:].sum(axis=1), total, out=np.zeros(many), where=total > 0)
        few, bad = total <= limit, share > 0.1
        either = (cells["total"] <= limit) | cells["is_ctrl_tot_outlier"]
        print(
            f"seed {seed}, limit {limit}: {few.sum()} cells with as many counts or fewer, {bad.sum()} with over 10 % controls; seen:"
            f" is_zero_counts {cells['is_zero_counts'].sum()}, is_ctrl_tot_outlier {cells['is_ctrl_tot_outlier'].sum()},"
            f" threshold_flags {cells['threshold_flags'].sum()}; by or {either.sum()}"
        )
        assert cells["threshold_flags"].sum() <= 2 and (cells["is_zero_counts"] == (total == limit)).all()
        assert limit or not cells["threshold_flags"].any()
        assert (cells["is_ctrl_tot_outlier"] == bad).all() and (either == (few | bad)).all() and either.sum() > 100
print("as found")
PY
