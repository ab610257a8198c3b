#!/usr/bin/env bash
# SpatialCore's least distance between two domains grows where a third is nearer, and each domain is nearest to itself.
#
# One would expect: calculate_domain_distances gives the least distance from each source to each target domain as a matrix, and
# for each cell how far the nearest target domain is. The matrix is the same whether the cells are asked for too or not, and
# what else is in the table does not change it. With one column for both, each cell gets the nearest other domain.
# What happens: with output_mode="both", the default, a distance is taken over those source cells alone that have this target
# nearest of all. Tumour is 60 um from a follicle on the right, behind a T cell zone, and 200 um on the left: 200 is reported,
# 60 where the T cell zone is left out or only the matrix is asked for. Of random, long domains 20 distances of 750 are a tenth
# or more too long, up to 4 times. With one column for both all cells are 0 from the nearest domain, their own; by centroids,
# the other metric, their own is left out.
# Versions: spatialcore 0.5.4 of March 2026, with squidpy 1.8.2 (calculate_domain_distances); seen on 2026-11-29.
# Why it matters: which domains are near each other is what the matrix is for. A zone between two makes them seem further apart
# than they are, by the shape of what lies around.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  squidpy==1.8.2 scanpy==1.11.5 anndata==0.12.19 spatialdata==0.7.3 ome-zarr==0.15.0 zarr==3.1.6 \
  xarray==2026.9.0 dask==2026.1.1 numpy==2.4.6 pandas==2.3.3
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps spatialcore==0.5.4
cd "$folder"
export MPLBACKEND=Agg MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import logging
from importlib.metadata import version

import anndata
import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from spatialcore.spatial import calculate_domain_distances, get_distance_matrix

logging.disable(logging.INFO)
print("spatialcore", version("spatialcore"))
random = np.random.default_rng(0)


def section(places, domains, sources):
    domains = np.asarray(domains, dtype=object)
    of_source = np.isin(domains, sources)
    table = pd.DataFrame(
        {"domain": domains, "source": np.where(of_source, domains, None), "target": np.where(of_source, None, domains)},
        index=[f"cell{number}" for number in range(len(domains))],
    )
    cells = anndata.AnnData(np.zeros((len(domains), 1), dtype="float32"), obs=table)
    cells.obsm["spatial"] = places
    return cells


def matrix(cells, mode, one="source", two="target", **options):
    return get_distance_matrix(calculate_domain_distances(cells, one, two, output_mode=mode, copy=True, **options))


def by_hand(cells):
    label = cells.obs["domain"]
    trees = {name: cKDTree(cells.obsm["spatial"][label == name]) for name in label.unique()}
    sources, targets = cells.obs["source"].dropna().unique(), cells.obs["target"].dropna().unique()
    rows = [[trees[two].query(trees[one].data)[0].min() for two in targets] for one in sources]
    return pd.DataFrame(rows, index=sources, columns=targets)


# A follicle of 200 um; a T cell zone on its right; tumour behind the zone, and on the left further away. A cell each 10 um.
x, y = (index.ravel() * 10.0 for index in np.indices((61, 21)))
x -= 300
kind = np.select(
    [(x >= 0) & (x <= 200), (x >= 220) & (x <= 250), x >= 260, x <= -200], ["follicle", "zone", "tumour", "tumour"], "none"
)
cells = section(np.stack([x, y], axis=1)[kind != "none"], kind[kind != "none"], ["follicle"])
seen = {
    "both, the default": matrix(cells, "both"),
    "matrix alone": matrix(cells, "matrix"),
    "both, without the zone": matrix(cells, "both", target_domain_subset=["tumour"]),
}
for name, found in seen.items():
    print(f"follicle to tumour, {name}: guess 60, seen {found.loc['follicle', 'tumour']:.0f}")
assert [float(found.loc["follicle", "tumour"]) for found in seen.values()] == [200, 60, 60], seen
assert float(seen["both, the default"].loc["follicle", "zone"]) == 20

number = 8
ratios = []
for _ in range(50):
    turn = random.uniform(0, np.pi, (number, 1, 1))
    along, across = np.concatenate([np.cos(turn), np.sin(turn)], axis=2), np.concatenate([-np.sin(turn), np.cos(turn)], axis=2)
    inside = random.uniform(-0.5, 0.5, (number, 80, 2)) * random.uniform(40, 300, (number, 1, 2)) * [1, 3]
    places = random.uniform(0, 1500, (number, 1, 2)) + inside[..., :1] * along + inside[..., 1:] * across
    names = np.repeat([f"domain{one}" for one in range(number)], 80)
    cells = section(places.reshape(-1, 2), names, ["domain0", "domain1", "domain2"])
    right, found = by_hand(cells), matrix(cells, "both")
    assert np.allclose(matrix(cells, "matrix").loc[right.index, right.columns], right)
    ratios.extend((found.loc[right.index, right.columns] / right).to_numpy().ravel())
ratios = np.array(ratios)
print(
    f"{len(ratios)} distances of random domains: guess none more than a tenth too long, seen {int((ratios > 1.1).sum())}, "
    f"up to {ratios.max():.1f} times the right one"
)
assert ratios.min() > 0.999 and (ratios > 1.1).sum() >= 4 and ratios.max() > 1.5, (ratios > 1.1).sum()

same = calculate_domain_distances(cells, "domain", "domain", copy=True).obs
own = float((same["nearest_target_domain"] == same["domain"]).mean())
centroid = calculate_domain_distances(cells, "domain", "domain", distance_metric="centroid", copy=True).obs
other = float((centroid["nearest_target_domain"] == centroid["domain"]).mean())
print(
    f"one column for both, cells whose nearest domain is their own: guess 0%, seen {own:.0%}, at most "
    f"{same['distance_to_target'].max():.0f} um away; by centroids {other:.0%}"
)
assert own == 1 and same["distance_to_target"].max() == 0 and other == 0, (own, other)
print("as found")
PY
