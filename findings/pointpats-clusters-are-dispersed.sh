#!/usr/bin/env bash
# In pointpats Ripley's F and G are 1 at the last distance of any pattern, and the test of F calls clusters dispersed.
#
# One would expect: F at a distance is the share of random places that have a point within it, G the share of points that have another
# one. Both end where the pattern puts them. In clusters F lies below that of points at random, as most of the section is empty. No
# p-value is below 1 / (simulations + 1).
# What happens: both are divided by the number of distances within the support, not by all of them. G of points at random is 1 at .03
# where .56 to .63 have a neighbour. The support by default ends at the largest distance between neighbours, so F of 20 clusters is 1
# where .33 to .38 of the places have a point within reach. At a sixth of that it is .12 to .17 and right is .06; points at random have
# .08. So in the first third it lies above the simulations with the least p of 199, .005, as the description says of dispersed points.
# Where all simulations are as large as what was seen, p is 1 less 1: it is 0 at the first and at the last distance of any pattern, and
# of noise.
# Way out: np.mean of scipy's cKDTree distances within each distance, for the pattern and for simulations, as the script does, and
# twice the smaller rank. k_test and l_test are not divided so, but leave out their first distance.
# Versions: pointpats 2.5.5, the newest for Python 3.11; 2.6.0 of June 2026 by its source as well; seen on 2026-11-30. squidpy 1.8.2
# divides alike, so its F and G are right where max_dist is beyond all distances alone.
# Why it matters: F and G say whether cells of a type gather. Up to a distance of interest both say it by shape alone, and F the wrong way.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  pointpats==2.5.5 libpysal==4.14.1 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 scikit-learn==1.9.1 geopandas==1.2.0 shapely==2.2.0 \
  joblib==1.6.0 matplotlib==3.11.2
cd "$folder"
export MPLCONFIGDIR=$folder MPLBACKEND=Agg
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from pointpats import distance_statistics as ripley
from scipy.spatial import cKDTree

print(*(f"{name} {version(name)}" for name in ("pointpats", "scipy", "numpy")))
SIMULATIONS = 199


def f_right(points, support, random):
    """The share of all random places in the box of the points that have one of them within each distance."""
    low, high = points.min(axis=0), points.max(axis=0)
    near = cKDTree(points).query(random.uniform(low, high, (5000, 2)))[0]
    return (near[:, None] <= support).mean(axis=0)


def g_right(points, support):
    near = cKDTree(points).query(points, k=2)[0][:, 1]
    return (near[:, None] <= support).mean(axis=0)


def show(values):
    return " ".join(f"{value:.2f}" for value in values)


for seed in (0, 1, 2):
    random = np.random.default_rng(seed)
    np.random.seed(seed)
    noise = random.uniform(size=(300, 2))
    centres = random.uniform(0.05, 0.95, (20, 2))
    clusters = np.vstack([centre + random.normal(0, 0.02, (15, 2)) for centre in centres])

    ends = []
    for last in (0.01, 0.02, 0.03):
        support, seen = ripley.g(noise, support=(0, last, 7))
        right = g_right(noise, support)
        ends.append((seen[-1], right[-1]))
        assert seen[-1] == 1 and right[-1] < 0.65
        assert np.allclose(seen * right[-1], right, atol=0.01), (seen, right)
    print(f"seed {seed}, noise, G at .01, .02 and .03:", show(one for one, _ in ends), "- right:", show(one for _, one in ends))

    drawn = ripley.f_test(clusters, support=7, n_simulations=SIMULATIONS, n_jobs=1, keep_simulations=True)
    right = f_right(clusters, drawn.support, random)
    box = clusters.min(axis=0), clusters.max(axis=0)
    made = np.array([f_right(random.uniform(*box, clusters.shape), drawn.support, random) for _ in range(SIMULATIONS)])
    below, above = (made <= right).sum(axis=0) + 1, (made >= right).sum(axis=0) + 1
    mended = np.minimum(1, 2 * np.minimum(below, above) / (SIMULATIONS + 1))
    print(f"  clusters, F: {show(drawn.statistic)}, simulations {show(drawn.simulations.mean(axis=0))}, p {drawn.pvalue.round(3)}")
    print(f"  right:       {show(right)}, simulations {show(made.mean(axis=0))}, p {mended.round(3)}")
    assert drawn.statistic[-1] == 1 and right[-1] < 0.4
    assert (drawn.statistic[1:3] > drawn.simulations.mean(axis=0)[1:3]).all() and (drawn.pvalue[1:3] <= 0.01).all()
    assert (right[1:] < made.min(axis=0)[1:]).all() and (mended[1:] <= 0.0101).all() and (mended[0], right[0]) == (1, 0)

    for name, points in (("noise", noise), ("clusters", clusters)):
        for letter, test in (("F", ripley.f_test), ("G", ripley.g_test)):
            p = test(points, support=7, n_simulations=SIMULATIONS, n_jobs=1).pvalue
            print(f"  {name}, p of {letter} at the first and the last distance: {p[0]} and {p[-1]}; 1 / 200 is the least there can be")
            assert p[0] == p[-1] == 0
print("as found")
PY
