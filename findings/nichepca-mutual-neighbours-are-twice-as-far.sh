#!/usr/bin/env bash
# In nichepca two cells that are each other's nearest neighbours are twice as far apart as they are.
#
# One would expect: `knn_graph` stores the distance of two cells with each edge, as `distance_graph` and `delaunay_graph` do, `to_squidpy` hands
# them over as `spatial_distances`, and `remove_long_links` removes the longest ones.
# What happens: the graph is made undirected by adding up what stands in both directions. Where both cells have each other among their nearest,
# their distance is counted twice, where only one has the other it is right. Of 1000 random cells with six neighbours three quarters and more of the
# edges are twice as long, and on a grid of spots every edge inside is 200 um for a pitch of 100. The links that are removed as the longest
# tenth are then mutual ones for the most part, and links that are longer stay.
# Way out: take the distances anew from the coordinates of `edge_index`, or `undirected=False`.
# Versions: nichepca 0.1.0, the newest in November 2026, with torch-geometric 2.7.0; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: distances of the graph are what other tools weigh or cut neighbours by, and the closest cells are taken for the farthest.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile torch==2.13.0 numpy==2.3.5
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.3.5 pandas==2.3.3 scipy==1.15.0 anndata==0.12.19 scanpy==1.11.5 leidenalg==0.10.2 igraph==0.11.9 torch-geometric==2.7.0 tqdm==4.70.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps nichepca==0.1.0
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder MPLBACKEND=Agg OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import pandas as pd
from anndata import AnnData
from nichepca.graph_construction import delaunay_graph, distance_graph, knn_graph, remove_long_links, to_squidpy

print(*(f"{name} {version(name)}" for name in ("nichepca", "torch-geometric", "torch")))
generator = np.random.default_rng(0)


def section(places):
    cells = pd.DataFrame(index=[f"cell {number}" for number in range(len(places))])
    return AnnData(np.zeros((len(places), 1), dtype=np.float32), obs=cells, obsm={"spatial": np.asarray(places, dtype=float)})


def ratios(sample):
    """Each edge between two cells: its length over the distance of the cells, and whether it is twice that."""
    to_squidpy(sample)
    edges = sample.obsp["spatial_distances"].tocoo()
    between = edges.row != edges.col
    true = np.linalg.norm(sample.obsm["spatial"][edges.row] - sample.obsm["spatial"][edges.col], axis=1)[between]
    return edges.data[between] / true, true


def mutual(places, neighbours):
    near = np.argsort(np.linalg.norm(places[:, None] - places, axis=-1), axis=1)[:, 1 : neighbours + 1]
    linked = np.zeros((len(places),) * 2, dtype=bool)
    np.put_along_axis(linked, near, True, axis=1)
    return linked & linked.T


cells = generator.random((1000, 2)) * 1000
for name, make in (
    ("distance_graph", lambda sample: distance_graph(sample, radius=60, verbose=False)),
    ("delaunay_graph", lambda sample: delaunay_graph(sample, verbose=False)),
    ("knn_graph, undirected=False", lambda sample: knn_graph(sample, 6, undirected=False, verbose=False)),
):
    sample = section(cells)
    make(sample)
    ratio, _ = ratios(sample)
    print(f"{name}: lengths of edges over the distances: guess 1, seen {ratio.min():.3f} to {ratio.max():.3f}")
    assert np.allclose(ratio, 1, rtol=1e-5)
for neighbours in (3, 6, 15):
    sample = section(cells)
    knn_graph(sample, neighbours, verbose=False)
    ratio, true = ratios(sample)
    both = mutual(cells, neighbours).sum()
    print(f"knn_graph of {neighbours}: edges that are twice as long: guess 0 %, seen {(ratio > 1.5).mean():.0%}, which are the {both} mutual ones")
    assert np.allclose(ratio[ratio < 1.5], 1) and np.allclose(ratio[ratio > 1.5], 2) and (ratio > 1.5).sum() == both and (ratio > 1.5).mean() > 0.5

sample = section(cells)
knn_graph(sample, 6, remove_self_loops=True, verbose=False)
_, true = ratios(sample)
remove_long_links(sample, dist_percentile=90)
_, kept = ratios(sample)
right = np.percentile(true, 90)
print(
    f"the longest tenth of {len(true)} links is removed: the longest that stays: guess {true[true <= right].max():.0f} um, seen {kept.max():.0f}; "
    f"links above {right:.0f} um that stay: guess 0, seen {(kept > right).sum()}"
)
assert kept.max() > 1.2 * right and (kept > right).sum() > 100

spots = np.stack(np.mgrid[:20, :20], axis=-1).reshape(-1, 2) * 100.0
sample = section(spots)
knn_graph(sample, 4, verbose=False)
to_squidpy(sample)
lengths = sample.obsp["spatial_distances"]
middle = 10 * 20 + 10
print(f"a spot in a grid of 100 um: its four neighbours lie at: guess 100, seen {np.unique(lengths[middle].data[lengths[middle].data > 0])}")
assert np.allclose(np.unique(lengths[middle].data[lengths[middle].data > 0]), 200)
print("as found")
PY
