#!/usr/bin/env bash
# In trackcell every cluster sits beside itself twice as often as expected, and so more often in a condition with larger sections.
#
# One would expect: nhood_enrichment compares links between clusters with those that a random graph of the same degrees has, and
# diff_nhood_enrichment two conditions. Where clusters are at random in both, about nothing is enriched, nor differs.
# What happens: links within a cluster are counted from both ends, and what is expected of them is halved. In tissue at random
# the logarithm of their ratio to base 2 is 1, for each cluster, and 0 between clusters. The difference of two conditions is, as
# it is by default, one of counts, so the surplus grows with the section: of four sections with 2000 cells against four with 500
# all clusters are beside themselves more often, by 5300, 1850 and 880 links, each with p = .04, about the least that eight
# sections allow. Without symmetry own links are counts, and all others shares.
# Way out: halve the diagonal of observed, and compare conditions with log_fold_change=True, in which the factor of two cancels.
# Versions: trackcell 0.3.47 of October 2026, the newest in the package index; seen on 2026-11-30.
# Why it matters: sections of patients differ in size, as do conditions. Clusters then seem to be more compact in larger ones.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  scanpy==1.11.5 anndata==0.11.4 zarr==2.18.7 numcodecs==0.15.1 numba==0.61.2 numpy==1.26.4 scipy==1.15.3 pandas==2.3.3 \
  geopandas==1.1.1 shapely==2.1.2 imageio==2.37.2 patsy==1.0.2 pyarrow==21.0.0 statsmodels==0.14.6
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps trackcell==0.3.47
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder MPLBACKEND=Agg
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import pandas as pd
import scipy.sparse as sparse
import trackcell as tcl
from anndata import AnnData
from sklearn.neighbors import kneighbors_graph

print(*(f"{name} {version(name)}" for name in ("trackcell", "anndata", "numpy")))


def study(sizes, seed):
    """Sections of cells of three clusters at random; the first half of them are cases, the others controls."""
    random = np.random.default_rng(seed)
    graphs, rows = [], []
    for one, size in enumerate(sizes):
        near = kneighbors_graph(random.uniform(0, np.sqrt(size), (size, 2)), 6)
        graphs.append((near + near.T > 0).astype("float64"))
        cluster = random.choice(list("ABC"), size, p=[0.5, 0.3, 0.2])
        group = "case" if one < len(sizes) / 2 else "control"
        rows.append(pd.DataFrame({"cluster": cluster, "section": f"s{one}", "group": group}))
    cells = pd.concat(rows, ignore_index=True)
    cells.index = cells.index.astype(str)
    table = AnnData(np.zeros((len(cells), 1), "float32"), obs=cells.astype("category"))
    table.obsp["spatial_connectivities"] = sparse.block_diag(graphs).tocsr()
    return table


own, others = np.eye(3, dtype=bool), ~np.eye(3, dtype=bool)
print("one section at random, logarithm of observed to expected links; expected: about 0")
for seed in (0, 1, 2):
    result = tcl.tl.nhood_enrichment(study([3000], seed), "cluster", log_fold_change=True, only_inter=False, copy=True)
    seen = result["enrichment"].to_numpy()
    halved = np.where(own, result["observed"] / 2, result["observed"]) / result["expected"].to_numpy()
    print(f"  seed {seed}: own", *seen[own].round(2), "others", *seen[np.triu(others)].round(2), end=" ")
    print("; diagonal halved: own", *np.log2(halved[own]).round(2))
    assert (np.abs(seen[own] - 1) < 0.15).all() and (np.abs(seen[others]) < 0.15).all(), seen
    assert (np.abs(np.log2(halved)) < 0.15).all(), halved
one_way = tcl.tl.nhood_enrichment(study([3000], 0), "cluster", only_inter=False, symmetric=False, copy=True)["observed"]
print("  without symmetry, observed:", *one_way.round(2).to_numpy().tolist())
assert (one_way.to_numpy()[own] > 500).all() and (one_way.to_numpy()[others] < 1).all(), one_way

print("cases against controls, four sections each, all at random; expected: p-values of any size")
for name, sizes in (("of the same size", [1500] * 8), ("of 2000 and of 500 cells", [2000] * 4 + [500] * 4)):
    for seed in (0, 1, 2):
        table = study(sizes, seed)
        for ratio in (False, True):
            result = tcl.tl.diff_nhood_enrichment(
                table, "cluster", "group", ("case", "control"), library_key="section", pvalues=True, n_perms=100,
                log_fold_change=ratio, copy=True,
            )["case_control"]
            change, p = result["enrichment"].to_numpy()[own], result["pvalue"].to_numpy()[own]
            kind = "logarithms" if ratio else "counts"
            print(f"  sections {name}, seed {seed}, {kind}: own difference", *change.round(2), "p", *p.round(3))
            if not ratio and sizes[0] == 2000:
                assert (p < 0.05).all() and (change > 500).all(), (change, p)
            else:
                assert (p > 0.05).sum() >= 2, (change, p)
print("as found")
PY
