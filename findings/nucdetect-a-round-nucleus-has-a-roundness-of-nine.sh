#!/usr/bin/env bash
# In NucDetect a round nucleus has a roundness of nine, and an ellipse one of 5 or of 18 by which way it lies.
#
# One would expect: `calculate_ellipse_parameters` gives each nucleus a roundness, 4 pi times the area over the square of the perimeter, about 1
# for a disk and less for all other shapes, and an eccentricity, 0 for a disk and .87 where one axis is twice the other, both the same in a
# picture that is turned.
# What happens: the perimeter is counted on a map that holds the first pixel of each row of the nucleus alone, so it is the nucleus's height.
# Disks have a roundness of 8.6 to 9.6, an ellipse with axes of 2 to 1 has 18.4 lying and 4.8 upright, one of 4 to 1 35.6 and 2.4.
# The eccentricity is the ratio of the squared axes, 1 for a disk and 4 or 16 for the ellipses.
# Way out: scikit-image's `regionprops` of the same map, which agrees with the shapes as drawn.
# Versions: nucdetect 1.0.13, the newest in November 2026, with numba 0.62.1 and scikit-image 0.25.2; its networks and windows take no part and
# stay out; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: roundness and eccentricity of each nucleus go into its database and tables, where they tell how the nucleus lies.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.2.6 pandas==2.3.3 scipy==1.16.3 numba==0.62.1 matplotlib==3.10.7 scikit-image==0.25.2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps nucdetect==1.0.13
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder MPLBACKEND=Agg OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from core.detector_modules.AreaAndROIExtractor import extract_nuclei_from_maps
from skimage.measure import regionprops

print(*(f"{name} {version(name)}" for name in ("nucdetect", "numba", "scikit-image")))
SIDE = 160
down, across = np.mgrid[:SIDE, :SIDE] - SIDE // 2
# half of the axes downwards and across, and what geometry says of such an ellipse: roundness by its perimeter, and eccentricity
shapes = {
    "disk, radius 8": (8, 8),
    "disk, radius 15": (15, 15),
    "disk, radius 40": (40, 40),
    "ellipse, 2 to 1, lying": (15, 30),
    "ellipse, 2 to 1, upright": (30, 15),
    "ellipse, 4 to 1, lying": (10, 40),
    "ellipse, 4 to 1, upright": (40, 10),
}


def by_geometry(one, other):
    """Roundness and eccentricity of an ellipse; its perimeter by a sum over small arcs."""
    angle = np.linspace(0, 2 * np.pi, 10001)
    perimeter = np.hypot(np.diff(one * np.cos(angle)), np.diff(other * np.sin(angle))).sum()
    return 4 * np.pi * np.pi * one * other / perimeter**2, np.sqrt(1 - min(one, other) ** 2 / max(one, other) ** 2)


seen = {}
for name, (high, wide) in shapes.items():
    picture = ((down / high) ** 2 + (across / wide) ** 2 <= 1).astype(int)
    nucleus = extract_nuclei_from_maps(picture, "Blue")[0].calculate_ellipse_parameters()
    right = by_geometry(high, wide)
    other = regionprops(picture)[0]
    mended = 4 * np.pi * other.area / other.perimeter**2, other.eccentricity
    seen[name] = nucleus["roundness"], nucleus["eccentricity"]
    print(
        f"{name}: roundness: guess {right[0]:.2f}, seen {seen[name][0]:.1f}, by regionprops {mended[0]:.2f}; "
        f"eccentricity: guess {right[1]:.2f}, seen {seen[name][1]:.1f}, by regionprops {mended[1]:.2f}"
    )
    assert seen[name][0] > 2 * right[0] and seen[name][1] >= 1 and abs(mended[0] - right[0]) < 0.1 and abs(mended[1] - right[1]) < 0.05
    # the whole of it: the number of rows in the place of the perimeter
    assert np.isclose(seen[name][0], 4 * np.pi * picture.sum() / (picture.any(axis=1).sum()) ** 2, rtol=0.1)
assert all(8 < seen[name][0] < 12 and seen[name][1] < 1.2 for name in shapes if name.startswith("disk"))
for ratio, factor in (("2", 3), ("4", 10)):
    lying, upright = (seen[f"ellipse, {ratio} to 1, {way}"][0] for way in ("lying", "upright"))
    print(f"the same ellipse, {ratio} to 1, lying against upright: roundness: guess 1.0 times, seen {lying / upright:.1f} times")
    assert lying > factor * upright
print("as found")
PY
