#!/usr/bin/env bash
# cellcharter's neighbourhood enrichment removes most links of the caller's graph, with copy=True too.
#
# One would expect: a statistic with copy=True returns a table and leaves the data as they are; run twice it says the same, and
# whatever uses the graph afterwards says what it would have said before.
# What happens: with only_inter, which is on by default, links between cells of one type are set to zero in obsp itself,
# and eliminated. Nothing says so. The graph afterwards is that between unlike cells: three quarters of the
# links of a section in bands are gone, Moran's I of a gene of one type turns from .34 to -.05, and two fifths of the spots
# have no neighbour at all. A second call for another column of types counts what the first one left. Distances keep all links.
# Versions: cellcharter 0.3.7 (the newest), squidpy 1.8.2; seen on 2026-11-29.
# Why it matters: enrichment stands in the middle of notebooks; graphs are built once. What is written to disk afterwards has
# the bitten graph, and so have predictions that are scored by spatial statistics.
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
"$folder/venv/bin/python" -I -W ignore - <<'PY'
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
places = np.array([[column * 100 + row % 2 * 50, row * 86.6025] for row in range(30) for column in range(30)])
zone = (places[:, 0] // 600).astype(int)  # five vertical bands
kind = np.where(random.random(900) < 0.9, zone, random.integers(0, 5, 900))
spots = anndata.AnnData(
    random.poisson(np.where(kind == 2, 6, 2)[:, None], (900, 1)).astype(np.float32),
    obs=pd.DataFrame(
        {"type": pd.Categorical(np.array(list("abcde"))[kind]), "band": pd.Categorical(zone.astype(str))},
        index=[f"spot{number}" for number in range(900)],
    ),
    obsm={"spatial": places},
)
squidpy.gr.spatial_neighbors(spots, coord_type="grid", n_neighs=6)


def state():
    graph = spots.obsp["spatial_connectivities"]
    value = float(squidpy.gr.spatial_autocorr(spots, mode="moran", copy=True, show_progress_bar=False)["I"].iloc[0])
    # The same by hand, from the graph as it is now.
    centred = spots.X[:, 0] - spots.X[:, 0].mean(dtype=float)
    degree = np.asarray(graph.sum(1)).ravel()
    rows = (graph @ centred) / np.maximum(degree, 1)
    by_hand = float((degree > 0).mean() ** -1 * (centred @ rows) / (centred @ centred))
    assert abs(value - by_hand) < 1e-4, (value, by_hand)
    return graph.nnz, int((degree == 0).sum()), value


before = state()
band_first = nhood_enrichment(spots, "band", only_inter=False, copy=True)["enrichment"]
nhood_enrichment(spots, "type", copy=True)
after = state()
band_last = nhood_enrichment(spots, "band", only_inter=False, copy=True)["enrichment"]
for name, was, now in zip(("links", "spots without neighbours", "Moran's I of a gene of one type"), before, after, strict=False):
    print(f"{name}: {was:.4g} before; after one call with copy=True guess the same, seen {now:.4g}")
print(f"stored distances: {spots.obsp['spatial_distances'].nnz} links")
print(
    f"share of neighbours of the middle band that lie in it, over chance, before and after that call: guess the same, seen "
    f"{band_first.loc['2', '2']:+.3f} and {band_last.loc['2', '2']:+.3f}"
)
assert spots.obsp["spatial_distances"].nnz == before[0], before
assert after[0] < before[0] / 2 and after[1] > 100, (before, after)
assert before[2] > 0.3 and after[2] < 0, (before, after)
assert band_last.loc["2", "2"] < band_first.loc["2", "2"] - 0.1, (band_first, band_last)
print("as found")
PY
