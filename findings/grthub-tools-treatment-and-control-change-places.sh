#!/usr/bin/env bash
# In grthub-tools treatment and control change places from cluster to cluster.
#
# One would expect: `rank_genes_groups_within_clusters` compares the two groups of `groupby` inside each cluster. With the groups left to be
# inferred, as its documentation allows where there are two, a gene that treatment raises fourfold in every cluster has the same sign in every table.
# What happens: in each cluster the group of its first cell is compared with the other. Where that cell is treated the gene is up, where it is a control
# it is down, with the same p-value. The tables name no group, so nothing tells which is which; the same cells in another order turn them round.
# Way out: give `group1` and `group2`.
# Versions: grthub-tools 0.1.0, the newest in December 2026, with scanpy 1.11.5; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: what a treatment raises in one niche and lowers in another is read off these tables side by side.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.2.6 pandas==2.2.3 scipy==1.15.3 scikit-learn==1.6.1 matplotlib==3.10.3 anndata==0.12.2 scanpy==1.11.5 numba==0.61.2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps grthub-tools==0.1.0
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder MPLBACKEND=Agg OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import pandas as pd
from anndata import AnnData
from grthub_tools import rank_genes_groups_within_clusters

print(*(f"{name} {version(name)}" for name in ("grthub-tools", "scanpy", "anndata")))
generator = np.random.default_rng(0)
cells = 400
arm = np.tile(["treated", "control"], cells // 2)
niche = np.repeat(["border", "middle"], cells // 2)
# One control comes first in the middle; nothing else tells the two niches apart.
arm[cells // 2 : cells // 2 + 2] = ["control", "treated"]
genes = [f"GENE{number}" for number in range(20)]
counts = generator.poisson(5.0, (cells, 20)).astype(np.float32)
counts[:, 0] = generator.poisson(np.where(arm == "treated", 20.0, 5.0))
sample = AnnData(np.log1p(counts), obs=pd.DataFrame({"arm": arm, "niche": niche}, index=[f"cell {row}" for row in range(cells)]))
sample.var_names = genes


def change(tissue, **groups):
    """The log fold change told of the first gene in each niche, and its p-value."""
    tables = rank_genes_groups_within_clusters(tissue.copy(), "arm", "niche", use_raw=False, **groups)
    assert not any(column in table for table in tables.values() for column in ("group", "reference", "groups"))
    return {name: table.set_index("names").loc["GENE0", ["logfoldchanges", "pvals"]] for name, table in tables.items()}


for name in ("border", "middle"):
    here = niche == name
    by_hand = np.log2(counts[here & (arm == "treated"), 0].mean() / counts[here & (arm == "control"), 0].mean())
    print(f"by hand, {name}: treated over control is 2 to the {by_hand:.1f}")
    assert 1.5 < by_hand < 2.5
found, turned = change(sample), change(sample[::-1])
for name, words in (("border", "guess up"), ("middle", "guess up")):
    print(f"{name}: {words}, seen {found[name].logfoldchanges:+.1f}; the same cells in reverse order {turned[name].logfoldchanges:+.1f}")
assert found["border"].logfoldchanges > 1.5 and found["middle"].logfoldchanges < -1.5
assert turned["border"].logfoldchanges < -1.5 and turned["middle"].logfoldchanges < -1.5
assert np.isclose(found["border"].pvals, turned["border"].pvals)
named = change(sample, group1="treated", group2="control")
print("with both groups named:", *(f"{name} {one.logfoldchanges:+.1f}" for name, one in named.items()))
assert all(one.logfoldchanges > 1.5 for one in named.values())
print("as found")
PY
