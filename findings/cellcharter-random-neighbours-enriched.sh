#!/usr/bin/env bash
# cellcharter's neighbourhood enrichment, as it is by default, finds most pairs of types at random places to be neighbours.
#
# One would expect: where each cell's type is drawn at random, no two types are neighbours more often than by chance: the
# enrichment is 0, and 5 percent of the pairs have p < .05.
# What happens: only_inter, on by default, takes links between cells of one type from the graph before what is observed is
# counted: a share of n2 / (N - n1) of the other links of type 1 then leads to type 2. What is expected stays n2 / N, and
# the permutations too put new types on the graph that lacks the old types' links. The commoner the type, the more
# all others are "enriched" around it: a log2 fold change of 1.3 beside a type of 60 percent, with p = 0. With
# symmetric=True every pair is. With only_inter=False, enrichment and p are right.
# Versions: cellcharter 0.3.7 (the newest), squidpy 1.8.2; seen on 2026-11-29.
# Why it matters: domains and cell types that are predicted from pictures are checked by who lives beside whom. With a common
# type, as tumour mostly is, all of its neighbours are significant, in random labels too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  squidpy==1.8.2 scanpy==1.11.5 anndata==0.12.19 spatialdata==0.7.3 ome-zarr==0.15.0 zarr==3.1.6 xarray==2026.9.0 \
  dask==2026.1.1 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps cellcharter==0.3.7
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - 2> "$folder/bars" <<'PY' || { cat "$folder/bars"; exit 1; }
import sys
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType

# The whole package imports torch and Lightning, gigabytes that its graph part does not use: only that part is imported.
package = ModuleType("cellcharter")
package.__path__ = find_spec("cellcharter").submodule_search_locations
sys.modules["cellcharter"] = package

import anndata
import numpy as np
import pandas as pd
import squidpy
from cellcharter.gr import nhood_enrichment

print("cellcharter", version("cellcharter"), "squidpy", version("squidpy"))
random = np.random.default_rng(0)
np.random.seed(0)
numbers = {"tumour": 900, "stroma": 300, "immune": 200, "vessel": 100}
cells = anndata.AnnData(np.zeros((1500, 1), dtype=np.float32), obsm={"spatial": random.uniform(0, 1000, (1500, 2))})
squidpy.gr.spatial_neighbors(cells, n_neighs=6, coord_type="generic")
graph = cells.obsp["spatial_connectivities"].copy()
pairs = ~np.eye(4, dtype=bool)
found = {}
hand = np.zeros((4, 4))
rounds = 20
for _ in range(rounds):
    names = random.permutation(np.repeat(list(numbers), list(numbers.values())))
    cells.obs["type"] = pd.Categorical(names, categories=list(numbers))
    for inter, symmetric in ((True, False), (True, True), (False, False)):
        # The graph is put back each time, as a call with only_inter removes links from it.
        cells.obsp["spatial_connectivities"] = graph.copy()
        kinds = {"log_fold_change": True, "only_inter": inter, "symmetric": symmetric, "copy": True}
        formula = nhood_enrichment(cells, "type", **kinds)["enrichment"].to_numpy()
        cells.obsp["spatial_connectivities"] = graph.copy()
        table = nhood_enrichment(cells, "type", pvalues=True, n_perms=100, **kinds)
        found.setdefault((inter, symmetric), []).append((table["pvalue"].to_numpy(), table["enrichment"].to_numpy(), formula))
    # By hand: links between two types over what independent types would give, on the whole graph.
    codes = cells.obs["type"].cat.codes.to_numpy()
    links = np.array([[graph[codes == a][:, codes == b].sum() for b in range(4)] for a in range(4)])
    share = np.array(list(numbers.values())) / 1500
    hand += np.log2(links / links.sum(1, keepdims=True) / share) / rounds
seen = {}
for (inter, symmetric), tables in found.items():
    p, permuted, formula = np.array(tables).swapaxes(0, 1)
    seen[inter, symmetric] = (p[:, pairs] < 0.05).mean(), permuted[:, 0, 1:].mean(), formula[:, 0, 1:].mean()
    print(
        f"only_inter={inter}, symmetric={symmetric}{' (the default)' if inter and not symmetric else ''}: guess 5% of pairs at "
        f"p < .05, log2 fold change of 0 beside the commonest type; seen {seen[inter, symmetric][0]:.0%}, "
        f"{seen[inter, symmetric][1]:+.2f} by permutation, {seen[inter, symmetric][2]:+.2f} by formula"
    )
print(f"by hand, from links of the whole graph: {hand[0, 1:].mean():+.2f}; log2(1500 / 600) = {np.log2(1500 / 600):+.2f}")
assert abs(hand).max() < 0.2, hand
assert seen[True, False][0] > 0.5 and seen[True, True][0] > 0.95 and seen[False, False][0] < 0.1, seen
assert abs(seen[True, False][1] - np.log2(1500 / 600)) < 0.1 and abs(seen[False, False][1]) < 0.1, seen
print("as found")
PY
