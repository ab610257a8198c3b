#!/usr/bin/env bash
# In esda the moment of inertia of a nucleus is lost to rounding at the far end of a slide, and with it its compactness.
#
# One would expect: the normalised moment of inertia is a shape's own, 1 for a disk and less for all else, wherever it lies. Coordinates
# of a slide are below 200000 pixels, and double precision has 16 digits, so ten of them are left.
# What happens: moments are summed about the corner of the slide, and what lies between there and the nucleus is taken away after. That
# grows with the fourth power of the distance over the size. Of 400 nuclei with radii of 8 to 20 px the worst is off by 7e-9 within
# 1000 px, by 8e-5 within 10000, by 1 to 2 % within 50000 and by 23 to 42 % within 100000, where 3 to 4 % of them are above 1, which
# no shape is. Within 200000 px the measure correlates at .05 to .12 with what it is, and some nuclei are below 0. moa_ratio follows it.
# Way out: move each polygon to its own centre first, by shapely.transform, as the script does, which gives the right value everywhere.
# Versions: esda 2.9.0, the newest for Python 3.11, with shapely 2.2.0; 2.10.0, run by hand from its source, gives the same numbers;
# seen on 2026-11-30.
# Why it matters: it is the measure of PySAL for how compact a shape is, and nuclei of a slide at 40 times lie as far out as that. Outliers
# are those in the lower right corner.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  esda==2.9.0 libpysal==4.14.1 numba==0.68.1 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 scikit-learn==1.9.1 \
  geopandas==1.2.0 shapely==2.2.0
cd "$folder"
export NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import shapely
from esda.shape import moa_ratio, nmi

print(*(f"{name} {version(name)}" for name in ("esda", "shapely", "numpy")))
NUCLEI = 400


def nucleus(random):
    """An ellipse with three bumps, of 40 corners, around the origin."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = random.uniform(8, 20) * (1 + 0.05 * np.cos(3 * angle + random.uniform(0, 6)))
    x, y, turn = random.uniform(1, 2) * radius * np.cos(angle), radius * np.sin(angle), random.uniform(0, np.pi)
    return shapely.Polygon(np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=1))


def at_home(polygons):
    """Each polygon around its own centre."""
    return np.array([shapely.transform(one, lambda corners, one=one: corners - [one.centroid.x, one.centroid.y]) for one in polygons])


def by_hand(polygon):
    """The square of the area over 2 pi moments of inertia about the centre, triangle by triangle."""
    corners = shapely.get_coordinates(polygon) - [polygon.centroid.x, polygon.centroid.y]
    one, two = corners[:-1], corners[1:]
    twice = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    squares = (one**2 + one * two + two**2).sum(axis=1)
    return polygon.area**2 / (2 * np.pi * abs((twice * squares).sum()) / 12)


for seed in (0, 1, 2):
    random = np.random.default_rng(seed)
    nuclei = np.array([nucleus(random) for _ in range(NUCLEI)])
    right = nmi(nuclei)
    assert np.allclose(right, [by_hand(one) for one in nuclei]) and right.max() < 1
    worst = {}
    for side in (1_000, 10_000, 50_000, 100_000, 200_000):
        away = random.uniform(0, side, (NUCLEI, 2))
        moved = np.array([shapely.transform(one, lambda corners, to=to: corners + to) for one, to in zip(nuclei, away, strict=True)])
        seen = nmi(moved)
        error = np.abs(seen / right - 1)
        worst[side] = error.max()
        print(
            f"seed {seed}, slide of {side} px: guess off by 1e-8 at most; seen {error.max():.2g}, {np.quantile(error, 0.95):.2g} in the worst"
            f" twentieth; above 1 {(seen > 1).mean():.1%}, below 0 {(seen < 0).mean():.1%}; follows the right one at"
            f" {np.corrcoef(seen, right)[0, 1]:.2f}; median error of moa_ratio {np.median(np.abs(moa_ratio(moved) / moa_ratio(nuclei) - 1)):.2g}"
        )
        assert np.allclose(nmi(at_home(moved)), right, rtol=1e-6)
        assert np.allclose([by_hand(one) for one in moved], right, rtol=1e-6)
        if side == 100_000:
            assert 0.02 < (seen > 1).mean() < 0.12
        if side == 200_000:
            assert abs(np.corrcoef(seen, right)[0, 1]) < 0.3 and (seen < 0).any()
    assert worst[1_000] < 1e-6 < worst[10_000] < 1e-2 < 0.05 < worst[100_000] < worst[200_000]
print("as found")
PY
