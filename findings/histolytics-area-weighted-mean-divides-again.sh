#!/usr/bin/env bash
# In histolytics the area-weighted mean of a neighbourhood is divided by the number of its cells once more.
#
# One would expect: local_character with weight_by_area=True weighs the values around a cell by the areas of the nuclei there.
# The weighted mean lies between the least and the largest value; where all nuclei have the value 10, it is 10.
# What happens: the weights are made to add up to 1, the values are multiplied by them, and then the mean of the products is
# taken, which divides by the number of cells again. Nuclei that all have 10 are at 3.3 in the corner of a grid, at 2.5 on its
# border and at 2 inside; the largest value and the median are divided too. A feature that grows from 100 to 200 where tissue
# becomes denser seems to fall: by hand the weighted means are at 115 to 198 and follow the feature at above +.95 by rank; here
# they are at 5 to 139, and follow it at -.7 and the number of neighbours at -1.0. With reductions=("sum",) the numbers are
# those of numpy.average, and without weights the mean is right.
# Versions: histolytics 0.3.0 of October 2026, the newest in the package index; seen on 2026-11-30.
# Why it matters: these columns are features of a cell's surroundings, as how large or how dark the nuclei around it are. With
# the weights on they say mostly how many cells lie there, so that crowded tissue seems to be made of small, pale nuclei.
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
from histolytics.spatial_agg.local_character import local_character
from libpysal.weights import DistanceBand, lat2W
from scipy.stats import spearmanr
from shapely.geometry import Point, box

print(*(f"{name} {version(name)}" for name in ("histolytics", "geopandas", "libpysal", "numpy", "pandas")))


def around(cells, links, ways=("mean", "sum", "max", "median"), weighted=True):
    """The columns that histolytics adds, one for each way to reduce."""
    found = local_character(cells, links, ["value"], id_col="uid", reductions=ways, weight_by_area=weighted)
    return found[[f"value_nhood_{way}" + "_area_weighted" * weighted for way in ways]].set_axis(list(ways), axis=1)


def by_hand(cells, links):
    """The mean of a cell and its neighbours, weighted by their areas."""
    area, value = cells.area.to_numpy(), cells["value"].to_numpy()
    near = [[one, *links.neighbors[one]] for one in cells["uid"]]
    return np.array([np.average(value[some], weights=area[some]) for some in near])


side = 5
squares = [box(10 * x, 10 * y, 10 * x + 8, 10 * y + 8) for x in range(side) for y in range(side)]
grid = gpd.GeoDataFrame({"uid": range(side**2), "value": 10.0}, geometry=squares)
links = lat2W(side, side)
seen = around(grid, links)
print("nuclei of one size that all have the value 10; expected: 10 everywhere, seen with weights:")
for name, cell, many in (("corner", 0, 3), ("border", 2, 4), ("inside", 12, 5)):
    print(f"  {name}, {many} nuclei with itself:", *(f"{way} {value:.2f}" for way, value in seen.loc[cell].items()))
    assert np.allclose(seen.loc[cell, ["mean", "max", "median"]], 10 / many), seen.loc[cell]
assert np.allclose(seen["sum"], 10) and np.allclose(around(grid, links, ("mean",), False), 10)

print("nuclei of several sizes, denser from left to right, whose value grows from 100 to 200; expected: +1 with the value")
for seed in range(3):
    random = np.random.default_rng(seed)
    many = 400
    x = 1000 * random.beta(4, 1, many)
    nuclei = [Point(a, b).buffer(r) for a, b, r in zip(x, random.uniform(0, 500, many), random.uniform(3, 9, many))]
    cells = gpd.GeoDataFrame({"uid": range(many), "value": 100 + x / 10}, geometry=nuclei)
    links = DistanceBand(np.column_stack([cells.centroid.x, cells.centroid.y]), 60, silence_warnings=True)
    seen, right = around(cells, links), by_hand(cells, links)
    count = np.array([1 + links.cardinalities[one] for one in range(many)])
    follows = {name: spearmanr(seen["mean"], what)[0] for name, what in (("value", cells["value"]), ("neighbours", count))}
    print(f"  seed {seed}: by hand {right.min():.0f} to {right.max():.0f}, seen {seen['mean'].min():.1f}", end=" ")
    print(f"to {seen['mean'].max():.1f}; rank correlation with", *(f"{name} {r:+.2f}" for name, r in follows.items()))
    assert right.min() >= 100 and right.max() <= 200 and spearmanr(right, cells["value"])[0] > 0.95
    assert np.allclose(seen["mean"], right / count, rtol=1e-6) and np.allclose(seen["sum"], right, rtol=1e-6)
    assert (seen["mean"] < 100).mean() > 0.9 and follows["value"] < -0.55 and follows["neighbours"] < -0.9, follows
print("as found")
PY
