#!/usr/bin/env bash
# In histolytics Ripley's G counts the row numbers of the nearest cells as distances, and is always 1 at the last distance.
#
# One would expect: ripley_g gives the share of cells whose nearest neighbour lies within each distance, whatever the order of
# the rows and whichever other distances are asked for, and ripley_test finds cells at random to be random.
# What happens: distances and row numbers of the nearest cells come back as a pair, and both go into the histogram. The shares
# are then divided by what fell below the last distance, not by the number of cells. Of cells that are at least 25 apart, .05,
# .17 or .8 have a neighbour within 20, by whether the last distance is 60, 30 or 25, and another share when their rows are
# shuffled. Ten cells that are 500 apart all have one within 10. At the last distance G is 1 everywhere, where scipy finds .19
# for cells at random. There p is exactly 0, as equal numbers in all simulations count as the most extreme ones. At the first
# distance, 0, it is 0 for K and L too, but their values are those of scipy, and their other p-values are not near 0.
# Versions: histolytics 0.3.0 of October 2026, the newest in the package index; seen on 2026-11-30.
# Why it matters: G is the default of the test, and tells whether nuclei of a kind keep apart or stand in clumps. A row number
# is no distance: what it says depends on how the table was sorted, and on the unit, as numbers of rows have none.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==1.26.4 pandas==2.3.3 scipy==1.15.3 geopandas==1.1.4 shapely==2.2.0 libpysal==4.14.1 mapclassify==2.10.0 \
  networkx==3.6.1 scikit-learn==1.7.2 pandarallel==1.6.5 psutil==7.2.2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps histolytics==0.3.0
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import geopandas as gpd
import numpy as np
from histolytics.spatial_clust.ripley import get_nn_distances, ripley_g, ripley_k, ripley_test
from scipy.spatial import cKDTree
from shapely.geometry import box

print(*(f"{name} {version(name)}" for name in ("histolytics", "scipy", "numpy")))
side, many = 1000, 300


def share(cells, within):
    """The cells whose nearest one is that near, by scipy."""
    nearest = cKDTree(cells).query(cells, k=2)[0][:, 1]
    return np.array([(nearest <= one).mean() for one in within])


def keep_apart(random, gap):
    """Cells one by one at random places that are not too near to one that is there."""
    cells = [random.uniform(0, side, 2)]
    while len(cells) < many:
        new = random.uniform(0, side, 2)
        if np.hypot(*(np.array(cells) - new).T).min() >= gap:
            cells.append(new)
    return np.array(cells)


print("300 cells that are at least 25 apart, the share with a neighbour within 20; expected: 0")
up_to = {top: np.arange(0, top + 1, 5.0) for top in (25, 30, 60)}
for seed in range(3):
    random = np.random.default_rng(seed)
    cells = keep_apart(random, 25)
    seen = {top: ripley_g(cells, within)[4] for top, within in up_to.items()}
    shuffled = [ripley_g(random.permutation(cells), up_to[60])[4] for _ in range(20)]
    own = (get_nn_distances(cells)[0] <= 20).mean()
    print(f"  seed {seed}: seen", *(f"{value:.2f} up to {top}," for top, value in seen.items()), end=" ")
    print(f"20 orders of the rows {min(shuffled):.3f} to {max(shuffled):.3f}; by scipy {share(cells, [20])[0]:.2f}")
    assert share(cells, [20])[0] == own == 0 and seen[25] > 0.6 > 0.3 > seen[30] > 0.12 > seen[60] > 0.04, seen
    assert max(shuffled) - min(shuffled) > 0.01, shuffled
    assert all(ripley_g(cells, within)[-1] == 1 for within in up_to.values())
    # the histogram of both, divided by all that is in it
    both = np.concatenate(get_nn_distances(cells))
    for top, within in up_to.items():
        again = np.cumsum(np.histogram(both, within)[0]) / (both <= top).sum()
        assert np.allclose(ripley_g(cells, within)[1:], again)

ten = np.column_stack([np.arange(10) * 500.0, np.zeros(10)])
print(f"ten cells 500 apart, within 10: expected 0, seen {ripley_g(ten, np.array([0.0, 10, 20]))[1]:.2f}")
assert ripley_g(ten, np.array([0.0, 10, 20]))[1] == 1

within = np.linspace(0, 16, 5)
print("300 cells at random, as ripley_test has it by default; expected: no p near 0")
for seed in range(3):
    cells = np.random.default_rng(seed).uniform(0, side, (many, 2))
    np.random.seed(seed)
    frame = gpd.GeoDataFrame(geometry=gpd.points_from_xy(*cells.T))
    seen, simulated, p = ripley_test(frame, within, n_sim=99)
    print(f"  seed {seed}: by scipy", *np.round(share(cells, within), 2), "seen", *np.round(seen, 2), "p", *np.round(p, 2))
    assert p[-1] == 0 and p[0] == 0 and seen[-1] == 1 and (simulated[:, -1] == 1).all()
    assert 0.1 < share(cells, within)[-1] < 0.3
    pairs = np.array([len(cKDTree(cells).query_pairs(one - 1e-9)) if one else 0 for one in within])
    assert np.allclose(ripley_k(cells, within, hull_poly=box(0, 0, side, side)), 2 * pairs * side**2 / many**2)
    p = ripley_test(frame, within, "k", n_sim=99)[2]
    print("    p of K", *np.round(p, 2))
    assert p[0] == 0 and (p[1:] > 0.01).all(), p
print("as found")
PY
