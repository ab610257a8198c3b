#!/usr/bin/env bash
# In spatialAUC the activity of a gene set in a cell is mostly where its genes stand in the table, as genes without a count have ranks of their own.
#
# One would expect: `get_auc` ranks the genes of each cell by expression and gives the area under the curve of the set, here a number from 0 to 300. Genes
# that have the same count have the same rank, so the order of the columns does not matter, and a set of noise has about 150.
# What happens: nine tenths of the counts of a sparse section are 0, and these genes are put in the order that an unstable sort leaves them in.
# The same 20 genes of noise, of 300, have a mean activity of 42, 192 or 116 as they stand in the middle of the table, at its end or at its
# beginning, and from one order of columns to another the cells' activities correlate at .7 to .8 instead of 1. Where no value is tied
# the numbers are as expected.
# Way out: rank with ties shared by `scipy.stats.rankdata` and take the mean rank of the set, as the script does.
# Versions: spatialAUC 0.0.9, the newest in November 2026, with numba 0.68.1 and numpy 1.26.4; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: sets are ranked against each other and sections with other panels compared by a number that knows the order of the genes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  squidpy==1.6.2 spatialdata==0.2.5.post0 ome-zarr==0.11.1 zarr==2.18.3 numcodecs==0.15.1 dask==2024.8.2 xarray==2024.7.0 numba==0.68.1 \
  scanpy==1.10.4 anndata==0.10.9 pandas==2.2.3 numpy==1.26.4 scipy==1.17.1 gseapy==1.1.11
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps spatialAUC==0.0.9
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder MPLBACKEND=Agg OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - 2>/dev/null <<'PY'
from importlib.metadata import version

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.stats import rankdata
from spatialAUC.spatialAUC import get_auc

print(*(f"{name} {version(name)}" for name in ("spatialAUC", "numba", "numpy")))
CELLS, GENES, SET = 400, 300, slice(100, 120)
generator = np.random.default_rng(0)
names = np.array([f"gene {number}" for number in range(GENES)])
sets = pd.DataFrame({"gene_set": ["set"], "genes": [list(names[SET])]})


def both(table, order):
    """Activities of the set in all cells by the package, and from ranks with ties shared."""
    cells = AnnData(table[:, order].copy(), obs=pd.DataFrame(index=[f"cell {number}" for number in range(CELLS)]), var=pd.DataFrame(index=names[order]))
    inside = np.isin(names[order], names[SET])
    guess = GENES - 0.5 - (rankdata(-table[:, order], axis=1)[:, inside]).mean(1) + 0.5
    return get_auc(cells, sets).X[:, 0], guess


inside, outside = np.arange(GENES)[SET], np.delete(np.arange(GENES), SET)
orders = {
    "in the middle": np.arange(GENES),
    "at the beginning": np.concatenate([inside, outside]),
    "at the end": np.concatenate([outside, inside]),
    "shuffled": generator.permutation(GENES),
}
seen = {}
for kind, table in (("counts", generator.poisson(0.1, (CELLS, GENES)).astype(np.float32)), ("values without ties", generator.random((CELLS, GENES)))):
    for place, order in orders.items():
        seen[kind, place], guess = both(table, order)
        agreement = np.corrcoef(seen[kind, place], seen[kind, "in the middle"])[0, 1]
        print(
            f"noise, {kind}, set {place}: mean activity: guess {guess.mean():.0f}, seen {seen[kind, place].mean():.0f}; "
            f"correlation with the first order: guess 1.00, seen {agreement:.2f}"
        )
        assert abs(guess.mean() - 150) < 3
        if kind == "counts":
            assert place == "in the middle" or agreement < 0.95
        else:
            assert np.allclose(seen[kind, place], guess, atol=1)
means = [seen["counts", place].mean() for place in orders]
assert max(means) > 180 and min(means) < 60
print("as found")
PY
