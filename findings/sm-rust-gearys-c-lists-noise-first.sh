#!/usr/bin/env bash
# In sm-rust the table of Geary's C begins with the genes that have no pattern, where squidpy's begins with those that have one.
#
# One would expect: gr.spatial_autocorr mirrors squidpy's, as its text says, so that its lines can be put in place of squidpy's.
# The table has the most spatial genes on top: large I first, and small C first, as C is 0 for perfect order and 1 for none.
# What happens: the numbers are squidpy's, but both tables are sorted by the size of the number, from the largest. For C the top
# is noise, with C just above 1, and the genes with a pattern are the last ones. Of 10 genes with a patch among 40 none is in
# the first 10 rows and all in the last 10; with squidpy all are in the first 10. For I, whose sign goes lost in the order, a gene
# like a chessboard, with I of -.48, is the second one.
# Way out: sort it, by .sort_values("C") or .sort_values("I", ascending=False), and then take the first.
# Versions: sm-rust 0.0.6 of September 2026, the newest in the package index; squidpy 1.8.2; seen on 2026-11-30.
# Why it matters: the top of this table is how spatially variable genes are chosen. The same lines of a notebook choose the
# opposite genes, and nothing says so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  squidpy==1.8.2 scanpy==1.11.5 anndata==0.12.19 spatialdata==0.7.3 ome-zarr==0.15.0 zarr==3.1.6 xarray==2026.9.0 \
  dask==2026.1.1 numba==0.68.1 numpy==2.4.6 pandas==2.3.3 sm-rust==0.0.6
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import sm_rust as smr
import squidpy as sq
from anndata import AnnData

print(*(f"{name} {version(name)}" for name in ("sm-rust", "squidpy", "anndata", "numpy")))


def section(seed):
    """A grid of 40 by 40 cells: ten genes with patches of several strengths, one of a chessboard, and 29 of noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.divmod(np.arange(1600), 40)
    genes = {}
    for one in range(10):
        middle = random.uniform(8, 32, 2)
        patch = np.hypot(rows - middle[0], columns - middle[1]) < 8
        genes[f"patch{one}"] = random.poisson(3 + (2 + one / 2) * patch)
    genes["chessboard"] = random.poisson(2 + 4 * ((rows + columns) % 2))
    for one in range(29):
        genes[f"noise{one}"] = random.poisson(3, 1600)
    order = random.permutation(len(genes))
    names = [list(genes)[one] for one in order]
    table = AnnData(np.column_stack([genes[name] for name in names]).astype("float64"))
    table.var_names = names
    table.obsm["spatial"] = np.column_stack([columns, rows]) + random.uniform(-0.05, 0.05, (1600, 2))
    return table


def patches(names):
    """How many of the names are of genes with a patch."""
    return sum(name.startswith("patch") for name in names)


for seed in (0, 1, 2):
    table = section(seed)
    smr.gr.spatial_neighbors(table, n_neighs=4)
    for mode, column in (("geary", "C"), ("moran", "I")):
        rust = smr.gr.spatial_autocorr(table, mode=mode)
        other = sq.gr.spatial_autocorr(table, mode=mode, transformation=False, copy=True)
        apart = np.abs(rust[column] - other[column].loc[rust.index]).max()
        by_hand = rust.sort_values(column, ascending=mode == "geary")
        print(f"seed {seed}, {mode}: largest difference between both {apart:.1e}")
        for name, rows in (("sm-rust", rust), ("squidpy", other), ("sm-rust, sorted by hand", by_hand)):
            numbers = [f"{gene} {value:.2f}" for gene, value in rows[column].head(4).items()]
            print(f"  {name}: genes with a patch in the first 10 rows {patches(rows.index[:10])}; first", *numbers)
        assert apart < 1e-6, apart
        assert patches(other.index[:10]) == patches(by_hand.index[:10]) == 10, (other, by_hand)
        if mode == "geary":
            assert patches(rust.index[:10]) == 0 and patches(rust.index[-10:]) == 10, rust
        else:
            assert list(rust.index).index("chessboard") < 9 and rust.loc["chessboard", "I"] < -0.3, rust
print("as found")
PY
