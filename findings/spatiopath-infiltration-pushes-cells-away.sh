#!/usr/bin/env bash
# In SpatioPath cells that lie in the tumour make those outside avoid it, and points at random avoid a large region.
#
# One would expect: add_patch cuts what surrounds regions A into rings, and K0 compares the points of B in each ring with what
# a random scatter of them has there, in standard deviations. For points at random K0 is about 0 in each ring, and how many lie
# in A has no say in rings outside of it.
# What happens: the area is that outside of A within the region of interest, as its documentation says, and the number of
# points is that of all points given, those in A among them. So each ring is measured against more points than there are
# outside. With 3000 points at random and A a disk of 30 % of the window K0 is -2.85 in the mean over ten rings, and 81 % of
# the rings are below -2.15, the limit for chance; none is above it. Where half as many cells again as by chance lie within
# 20 um of A, that is found in 29 of 30 sections without cells in A, in 10 with 500 cells there and in none with 2000, though
# not one cell outside has moved. Without the points in A all is right: 1 % are below the limit, and K0 is the standard score
# of scipy's binomial distribution.
# Versions: spatiopath 0.5.0 of June 2026, the newest in the package index; seen on 2026-11-30. The paper was not consulted.
# The example in its README has a point in A. Regions are shapely polygons here, and the one of interest is given in a list,
# as other forms end in an error.
# Why it matters: immune cells around and in tumour islands are what it is made for. Sections that differ in infiltration alone
# differ in the coupling of cells outside, and an infiltrated tumour seems to keep them away.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.2.6 pandas==2.3.3 scipy==1.17.1 scikit-image==0.26.0 shapely==2.2.0 opencv-python-headless==4.12.0.88 \
  matplotlib==3.11.2 seaborn==0.13.2 tqdm==4.70.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps spatiopath==0.5.0
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from scipy.stats import binom
from shapely.geometry import Point, box
from spatiopath import SpatioPath

print(*(f"{name} {version(name)}" for name in ("spatiopath", "numpy", "scipy", "shapely")))
side, radius, width, rings, sections = 1024, 316.0, 10.0, 10, 30
middle = np.array([512.0, 512.0])
region, window = Point(middle).buffer(radius, 64), box(0, 0, side, side)


def far(points):
    """How far each point is from A, below 0 within."""
    return np.hypot(*(points - middle).T) - radius


def analysed(points):
    engine = SpatioPath(zone_width=width, analysis_zone=width * rings, pixel_size=1.0, height=side, width=side)
    result = engine.add_patch("section", [region], points, roi=[window])
    return result.KTable["K0"].to_numpy(), float(result.IndecesTable["Threshold"].iloc[0]), result.LevelSetsTable, result.omega


def score(table, omega):
    """The standard score of each ring among the points outside of A, by scipy."""
    many, area = table["NumberOfPoints"].to_numpy(), table["Area"].to_numpy()
    return lambda total: (many - binom.mean(total, area / omega)) / binom.std(total, area / omega)


def scatter(random, many):
    return random.random((many, 2)) * side


everywhere, outside_only, worst = [], [], []
for seed in range(sections):
    points = scatter(np.random.default_rng(seed), 3000)
    seen, limit, _, _ = analysed(points)
    without = points[far(points) > 1]
    right, _, table, omega = analysed(without)
    assert np.allclose(right, score(table, omega)(len(without)), atol=1e-6)
    everywhere.append(seen)
    outside_only.append(right)
    worst.append(seen.max())
everywhere, outside_only = np.array(everywhere), np.array(outside_only)
print(f"K0 of 3000 points at random, mean over {sections} sections, ten rings; expected: about 0; limit {limit:.2f}")
print("  all points:", *np.round(everywhere.mean(axis=0), 1), f"mean {everywhere.mean():.2f}")
print("  without those in A:", *np.round(outside_only.mean(axis=0), 1), f"mean {outside_only.mean():.2f}")
print(f"  rings below -{limit:.2f}: {(everywhere < -limit).mean():.0%} and {(outside_only < -limit).mean():.0%}")
assert everywhere.mean() < -2.4 and abs(outside_only.mean()) < 0.3, (everywhere.mean(), outside_only.mean())
assert (everywhere < -limit).mean() > 0.6 and (outside_only < -limit).mean() < 0.06
assert max(worst) < limit, max(worst)

print("half as many cells again as by chance within 20 um outside of A; sections in which one of these two rings is enriched")
found = {}
for inside in (0, 500, 1000, 2000):
    scores = []
    for seed in range(sections):
        random = np.random.default_rng(1000 + seed)
        points = scatter(random, 3000)
        points = points[far(points) > 1]
        more = scatter(random, 6000)
        more = more[(far(more) > 1) & (far(more) < 20)]
        close = ((far(points) > 1) & (far(points) < 20)).sum()
        within = scatter(random, 20000)
        within = within[far(within) < -2][:inside]
        assert len(within) == inside
        scores.append(analysed(np.concatenate([points, more[: close // 2], within]))[0][:2])
    scores = np.array(scores)
    found[inside] = (scores > limit).any(axis=1).mean(), scores.mean()
    print(f"  {inside} cells in A: {found[inside][0]:.0%}, K0 {found[inside][1]:+.1f}; expected: as with none in A")
assert found[0][0] > 0.8 and found[0][1] > 2, found
assert found[2000][0] == 0 and found[2000][1] < 0, found
assert found[0][1] > found[500][1] > found[1000][1] > found[2000][1], found
print("as found")
PY
