#!/usr/bin/env bash
# In scCellFie a task that a condition switches off has a fold change of 0, and pairs of conditions are those of the first cell type.
#
# One would expect: scanpy_differential_analysis compares all pairs of conditions in each cell type, as it says where none are given,
# with the logarithm of the fold change between the means. One switched off is as far from 0 as one switched on, on the other side.
# What happens: where the mean of the second condition is 0 the logarithm is set to 0, where that of the first one is 0 to 8.2. So the
# same difference is none or the largest there is by which condition comes first. The pairs are listed once, from the cell type that
# comes first in the table: if that has no cells in condition C, C is compared in no other type either, and nothing is printed.
# Way out: take cohens_d and p_value where the fold change is 0, and give condition_pairs.
# Versions: sccellfie 0.6.3 of October 2026, the newest in the package index; seen on 2026-11-30.
# Why it matters: tasks of metabolism are 0 where a gene of theirs is missing, so groups of zeros are common, and they are what one
# looks for. In a plot of fold change and p-value they stand in the middle; a condition may be missing from all results.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  squidpy==1.8.2 scanpy==1.11.5 anndata==0.12.19 spatialdata==0.7.3 ome-zarr==0.15.0 zarr==3.1.6 xarray==2026.9.0 \
  dask==2026.1.1 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 esda==2.9.0 libpysal==4.14.1 geopandas==1.2.0 cobra==0.30.0 \
  glasbey==0.3.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps sccellfie==0.6.3
cd "$folder"
export MPLCONFIGDIR=$folder MPLBACKEND=Agg NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import pandas as pd
from anndata import AnnData
from sccellfie.stats import scanpy_differential_analysis

print(*(f"{name} {version(name)}" for name in ("sccellfie", "scanpy", "anndata", "numpy")))
MANY, TASKS = 100, ["as before", "halved", "switched off", "switched on"]
COLUMNS = ["cell_type", "feature", "group1", "group2", "log2FC", "cohens_d", "p_value"]


def compared(table, **choice):
    return scanpy_differential_analysis(table, None, "type", "condition", **choice)


for seed in (0, 1, 2):
    random = np.random.default_rng(seed)
    blocks, labels = [], []
    for kind, condition in (("rare", "A"), ("rare", "B"), ("common", "A"), ("common", "B"), ("common", "C")):
        values = random.gamma(20, 0.1, (MANY, len(TASKS)))
        values *= [1, 1, 1, 0] if condition == "A" else [1, 0.5, 0, 1]
        blocks.append(values)
        labels += [(kind, condition)] * MANY
    cells = pd.DataFrame(labels, columns=["type", "condition"], index=[f"cell{one}" for one in range(len(labels))])
    table = AnnData(np.vstack(blocks), cells.astype("category"), pd.DataFrame(index=TASKS))

    forth = compared(table, condition_pairs=[("A", "B")]).query("cell_type == 'common'").set_index("feature")
    back = compared(table, condition_pairs=[("B", "A")]).query("cell_type == 'common'").set_index("feature")
    for task in TASKS:
        print(
            f"seed {seed}, {task}: log2FC {forth['log2FC'][task]:.2f} from A to B and {back['log2FC'][task]:.2f} from B to A,"
            f" d {forth['cohens_d'][task]:.1f} and {back['cohens_d'][task]:.1f}, p {forth['p_value'][task]:.1g}"
        )
    assert forth["log2FC"]["switched off"] == 0 == back["log2FC"]["switched on"]
    assert forth["log2FC"]["switched on"] > 8 < back["log2FC"]["switched off"]
    assert np.allclose(forth["log2FC"]["halved"], -back["log2FC"]["halved"]) and (forth["p_value"][2:] < 1e-15).all()
    assert (forth["cohens_d"][["halved", "switched off"]] < -2).all()

    pairs = {}
    for name, order in (("rare first", np.arange(len(cells))), ("common first", np.arange(len(cells))[::-1])):
        seen = compared(table[order].copy())
        pairs[name] = {frozenset(pair) for pair in seen.query("cell_type == 'common'")[["group1", "group2"]].to_numpy()}
        print(f"seed {seed}, {name}: conditions compared in the common type", *sorted("".join(sorted(pair)) for pair in pairs[name]))
    assert len(pairs["rare first"]) == 1 and len(pairs["common first"]) == 3
print("as found")
PY
