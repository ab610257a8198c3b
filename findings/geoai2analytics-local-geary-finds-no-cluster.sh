#!/usr/bin/env bash
# In geoai2analytics the local Geary's C finds no cluster in the smoothest pattern, as a cluster is as far from 1 as half of all chance.
#
# One would expect: places whose neighbours have nearly their own value have a small local Geary's C, and in a smooth pattern most of them
# are significant clusters, as they are by the same permutations one-sidedly.
# What happens: a shuffled picture counts against a place if its C is as far from 1. The mean of a local C by chance is 2, not 1, so a
# place with a C near 0 is no farther from 1 than half of all shuffled ones, and its p is about .5: in a smooth picture, with a mean of
# .07 to .1, none of 400 places is a cluster, and none has a p below .2. In noise 20 are outliers, as 5 % should be, and 0 clusters.
# Way out: count shuffled pictures whose c_i at a place is at most as large, as the script does by hand: then 96 to 99 % of
# the smooth picture are clusters and 4 to 8 % of noise. Local Moran's I of the package is right.
# Versions: geoai2analytics-sdk 0.12.3 of October 2026 with numpy 2.4.6; seen on 2026-11-30.
# Why it matters: local Geary's C is asked where expression is homogeneous, and the map of it is empty for any gene but for outliers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile geoai2analytics-sdk==0.12.3 numpy==2.4.6 scipy==1.17.1
cd "$folder"
export OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from geoai2analytics.autocorr import local_geary
from geoai2analytics.weights import grid_weights
from scipy.ndimage import gaussian_filter

print(*(f"{name} {version(name)}" for name in ("geoai2analytics-sdk", "numpy", "scipy")))
SIDE, PERMUTATIONS = 20, 199
WEIGHTS = grid_weights(SIDE, SIDE)


def by_hand(values):
    """Mean squared difference from the neighbours over the variance."""
    return (WEIGHTS.matrix * (values[:, None] - values) ** 2).sum(axis=1) / values.var()


for seed in (0, 1, 2):
    random = np.random.default_rng(seed)
    noise = random.normal(size=(SIDE, SIDE))
    for name, picture in (("smooth", gaussian_filter(noise, 3)), ("noise", noise)):
        values = picture.ravel()
        seen = local_geary(values, WEIGHTS, permutations=PERMUTATIONS)
        assert np.allclose(seen.c_i, by_hand(values))
        below = sum(by_hand(random.permutation(values)) <= seen.c_i for _ in range(PERMUTATIONS))
        right = ((below + 1) / (PERMUTATIONS + 1) <= 0.05).mean()
        clusters, outliers = (seen.cluster_labels.count(label) for label in ("Local Cluster", "Spatial Outlier"))
        least = seen.p_values[seen.c_i < 1].min()
        print(
            f"seed {seed}, {name}: guess {right:.0%} clusters, as one-sided; seen {clusters} of {SIDE**2} and {outliers} outliers;"
            f" mean C {seen.c_i.mean():.2f}, least p of a place with C below 1 {least:.2f}"
        )
        assert clusters == 0 and least > 0.15
        assert right > 0.85 and seen.c_i.mean() < 0.2 if name == "smooth" else 0.02 < right < 0.09 and 1.8 < seen.c_i.mean() < 2.2
print("as found")
PY
