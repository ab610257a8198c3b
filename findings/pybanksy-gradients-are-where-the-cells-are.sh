#!/usr/bin/env bash
# In BANKSY for Python the gradients of all genes are one map of where the neighbours lie, as the switch for balancing turns centring on.
#
# One would expect: the azimuthal filter, the third block of the matrix by default, says how a gene changes around a cell. A gene that is
# the same everywhere has 0, two genes of noise have nothing in common, and a gene that ends at a line is large along the line. The
# function that computes it centres the neighbours first by its own default, changed to be as BANKSY in R, as a comment says.
# What happens: generate_banksy_matrix passes its variance_balance, False by default, to it by place, where center stands. So neighbours
# are not centred, and a gene is its mean times how lopsided the neighbours lie. A gene of 10 everywhere has 2.2 to 2.3 on average and 9
# at most; 18 genes of noise correlate at .90, and one axis has 90 % of their variance; cells at the border of the section have 2.2
# to 2.5 times as much as others. A gene of 4 and 16 is 1.7 to 1.9 times as large along its line as elsewhere; right is 4.7 to 5.0. With
# variance_balance=True neighbours are centred and nothing is balanced.
# Way out: variance_balance=True, which is what centring does: 0, correlations of .01, 7 to 8 % on the first axis, and
# no more at the border than elsewhere.
# Versions: pybanksy 1.3.5 of July 2026, with anndata 0.12.19; seen on 2026-11-30. BANKSY in R was not run.
# Why it matters: a third of the matrix that is clustered says where cells are dense and where the section ends, by each gene again, so that
# its first axis is that.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  anndata==0.12.19 scanpy==1.11.5 pandas==2.3.3 numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 matplotlib==3.11.2 seaborn==0.13.2 \
  igraph==1.0.0 leidenalg==0.12.0 umap-learn==0.5.12 numba==0.68.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps pybanksy==1.3.5
cd "$folder"
export MPLCONFIGDIR=$folder MPLBACKEND=Agg NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import contextlib
import io
from importlib.metadata import version

import anndata
import numpy as np
from banksy.embed_banksy import create_nbr_matrix, generate_banksy_matrix
from banksy.initialize_banksy import initialize_banksy
from sklearn.neighbors import NearestNeighbors

print(*(f"{name} {version(name)}" for name in ("pybanksy", "anndata", "numpy")))
CELLS, GENES, NEIGHBOURS = 1500, 20, 15


def graphs(table):
    return initialize_banksy(
        table, ("x", "y", "spatial"), NEIGHBOURS, max_m=1, plt_edge_hist=False, plt_nbr_weights=False, plt_theta=False
    )


def gradients(table, balance):
    """The third block of the matrix, before it is scaled, with everything but balancing as it is by default."""
    with contextlib.redirect_stdout(io.StringIO()):
        keep, _ = generate_banksy_matrix(table, graphs(table), [0.2], 1, variance_balance=balance, verbose=False)
    return keep["scaled_gaussian"]["norm_counts_concatenated"][:, 2 * table.n_vars :]


def asked_for(table, center):
    with contextlib.redirect_stdout(io.StringIO()):
        return create_nbr_matrix(table, graphs(table), "scaled_gaussian", 1, center=center)[1]


def by_hand(table):
    """Twice as many neighbours, weighed by a Gaussian of their median distance and turned by their angle, less their mean."""
    place = table.obsm["spatial"]
    far, near = NearestNeighbors(n_neighbors=2 * NEIGHBOURS).fit(place).kneighbors()
    weight = np.exp(-((far / np.median(far, axis=1, keepdims=True)) ** 2))
    weight /= weight.sum(axis=1, keepdims=True)
    away = place[near] - place[:, None]
    turned = weight * np.exp(1j * np.arctan2(away[..., 1], away[..., 0]))
    values = table.X[near]
    return np.abs(np.einsum("ij,ijk->ik", turned, values - values.mean(axis=1, keepdims=True)))


for seed in (0, 1, 2):
    random = np.random.default_rng(seed)
    place = random.uniform(0, 1000, (CELLS, 2))
    counts = random.poisson(10, (CELLS, GENES)).astype("float64")
    counts[:, 0] = 10
    counts[:, 1] = random.poisson(np.where(place[:, 0] > 500, 16, 4))
    table = anndata.AnnData(counts, obsm={"spatial": place})
    table.obs["x"], table.obs["y"] = place.T
    border = np.minimum(place, 1000 - place).min(axis=1) < 40
    line = (np.abs(place[:, 0] - 500) < 40) & ~border
    rest = ~border & ~line
    seen = {}
    for balance in (False, True):
        block = gradients(table, balance)
        assert np.allclose(block, asked_for(table, center=balance))
        noise = block[:, 2:]
        alike = np.corrcoef(noise.T)[np.triu_indices(GENES - 2, 1)].mean()
        axes = np.linalg.svd((noise - noise.mean(axis=0)) / noise.std(axis=0), compute_uv=False) ** 2
        first = axes[0] / axes.sum()
        edge = noise[border].mean() / noise[rest].mean()
        ratio = block[line, 1].mean() / block[rest, 1].mean()
        seen[balance] = block[:, 0].mean(), alike, first, edge, ratio
        print(
            f"seed {seed}, variance_balance={balance}: a flat gene {block[:, 0].mean():.2f}, at most {block[:, 0].max():.1f}; noise genes"
            f" correlate at {alike:.2f}, {first:.0%} on one axis, at the border {edge:.2f} times the rest; a gene that ends at a line"
            f" {ratio:.1f} times as large along it"
        )
    assert np.allclose(gradients(table, True), by_hand(table))
    assert seen[False][0] > 2 and np.allclose(by_hand(table)[:, 0], 0) and np.isclose(seen[True][0], 0)
    assert seen[False][1] > 0.85 and abs(seen[True][1]) < 0.03
    assert seen[False][2] > 0.85 and seen[True][2] < 0.1
    assert seen[False][3] > 1.8 and 0.85 < seen[True][3] < 1.15
    assert seen[False][4] < 2.2 < 4 < seen[True][4]
print("as found")
PY
