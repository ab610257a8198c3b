#!/usr/bin/env bash
# In Mantpy's co-occurrence patches of a random section shun their own kind and seek all others.
#
# One would expect: cluster_cooccurrence gives log2 of the links seen over those expected where links join clusters in
# proportion to their numbers, as its documentation says. With labels at random that is 0, with itself and with others.
# What happens: a link between two clusters is counted in both places of the matrix, a link within a cluster once, and what is
# expected is the sum of that matrix times both shares. So a cluster with itself always has half of what it should have against
# the others. Five random clusters are at -.83 with themselves and +.15 with all others; a common and a rare one at -.4 and
# +.6, half as many links again as by chance. A section of small patches, in which clusters lie beside their own 1.7 times as
# often as by chance, is at 0 throughout. The table of mixing of networkx counts both ways and is right.
# Versions: mantpy 1.0.1 of August 2026, the newest in the package index; seen on 2026-11-29. Later ones exist where it is
# developed, and were not seen. The p-values of its test compare sections with each other, and were not tested.
# Why it matters: this matrix is drawn as what seeks what. Avoidance on its diagonal, and a rare cluster that seeks the
# common one, are found in noise, and half of any real clumping is hidden.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.4.6 pandas==2.3.3 scipy==1.16.3 networkx==3.6.1 anndata==0.12.7 "dask[array]==2026.1.1" zarr==3.1.5 \
  xarray==2026.9.0 pooch==1.9.0 tqdm==4.70.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps mantpy==1.0.1
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import mantpy as mt
import networkx as nx
import numpy as np
from anndata import AnnData
from scipy.ndimage import gaussian_filter

print(*(f"{name} {version(name)}" for name in ("mantpy", "networkx")))
random = np.random.default_rng(0)
side = 150


def section(labels):
    """Patches on a square grid, each linked with the four beside it."""
    graph = nx.convert_node_labels_to_integers(nx.grid_2d_graph(side, side))
    nx.set_node_attributes(graph, {patch: int(label) for patch, label in enumerate(labels)}, "ecm_cluster")
    data = AnnData(np.zeros((side * side, 1), dtype="float32"))
    data.uns["ecm_graph"] = graph
    return data


def by_networkx(data, clusters):
    """The same ratio from networkx's table, in which every link stands in both directions, within a cluster too."""
    seen = nx.attribute_mixing_matrix(data.uns["ecm_graph"], "ecm_cluster", mapping={kind: kind for kind in range(clusters)})
    share = np.bincount([kind for _, kind in data.uns["ecm_graph"].nodes(data="ecm_cluster")], minlength=clusters) / side**2
    return np.log2(seen / np.outer(share, share))


def halves(matrix):
    return float(np.diag(matrix).mean()), float(matrix[~np.eye(len(matrix), dtype=bool)].mean())


field = np.stack([gaussian_filter(random.normal(size=(side, side)), 0.55) for _ in range(5)])
layouts = {
    "five at random": (5, random.choice(5, side * side)),
    "a common and a rare one at random": (2, random.choice(2, side * side, p=[0.8, 0.2])),
    "five in small patches": (5, field.argmax(0).ravel()),
}
found = {}
for name, (clusters, labels) in layouts.items():
    data = section(labels)
    seen = halves(mt.tl.cluster_cooccurrence({"section": data}, n_clusters=clusters))
    right = halves(by_networkx(data, clusters))
    shares = np.bincount(labels) / len(labels)
    found[name] = seen, right
    # what counting links within a cluster once does: all are divided by 2 less the sum of squares, own ones not doubled
    shift = float(np.log2(1 / (2 - (2**by_networkx(data, clusters) * np.outer(shares, shares)).trace())))
    print(f"{name}: with itself guess {right[0]:.2f}, seen {seen[0]:.2f}; with others guess {right[1]:.2f}, seen {seen[1]:.2f}")
    assert abs(seen[0] - right[0] - shift) < 1e-6 and abs(seen[1] - right[1] - shift - 1) < 1e-6, (seen, right, shift)
for name in ("five at random", "a common and a rare one at random"):
    assert max(map(abs, found[name][1])) < 0.05, found
assert found["five at random"][0][0] < -0.8 and found["five at random"][0][1] > 0.1, found
assert found["a common and a rare one at random"][0][0] < -0.35, found
assert found["a common and a rare one at random"][0][1] > 0.55, found
assert found["five in small patches"][1][0] > 0.7 and abs(found["five in small patches"][0][0]) < 0.15, found
print("as found")
PY
