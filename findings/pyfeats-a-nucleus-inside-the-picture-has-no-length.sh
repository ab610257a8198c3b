#!/usr/bin/env bash
# In pyfeats a nucleus has a length of 0 along each axis unless it touches the first row or column, and a quarter of its area in mm2.
#
# One would expect: the largest lengths along x and y of a disk of 41 pixels across are 41, wherever in the picture the disk lies. Where
# `pixels_per_mm2`, by its name and its text the density of the picture, is 4, so that a mm has 2 pixels, that disk of 1257 pixels
# has an area of 314 mm2 and lengths of 20.5 mm.
# What happens: the search begins as if the region had begun at the first row, so the first empty row ends it: a region inside the picture has
# the lengths 0 and 0, one at the left border 0 and 41, and only one in the upper left corner 41 and 41. Areas are divided by the square
# of the density and lengths by the density: 79 mm2 and 10 mm, a quarter and a half of what there is.
# Way out: take lengths from the bounding box of scikit-image's `regionprops`; give pixels per mm as `pixels_per_mm2`.
# Versions: pyfeats 1.0.1, the newest in November 2026, with numpy 2.4.6; seen on 2026-12-01. No report of either was found upstream.
# Why it matters: tables of shapes have two columns that say where a nucleus touches the border and nothing of its size.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  pyfeats==1.0.1 numpy==2.4.6 scipy==1.17.1 scikit-image==0.26.0 matplotlib==3.11.2 mahotas==1.4.19 PyWavelets==1.9.0 \
  opencv-python==5.0.0.93
cd "$folder"
export MPLCONFIGDIR=$folder MPLBACKEND=Agg OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from pyfeats import shape_parameters
from skimage.measure import regionprops
from skimage.segmentation import find_boundaries

print(*(f"{name} {version(name)}" for name in ("pyfeats", "numpy", "scikit-image")))
SIDE, RADIUS = 100, 20
rows, columns = np.mgrid[:SIDE, :SIDE]
expected_by_place = {"inside": (0, 0), "at the upper border": (41, 0), "at the left border": (0, 41), "in the upper left corner": (41, 41)}
for place, middle in (
    ("inside", (50, 50)),
    ("at the upper border", (20, 50)),
    ("at the left border", (50, 20)),
    ("in the upper left corner", (20, 20)),
):
    disk = ((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 <= RADIUS**2).astype(int)
    edge = find_boundaries(disk, mode="inner").astype(int)
    seen, names = shape_parameters(np.zeros((SIDE, SIDE)), disk, edge)
    assert names[:3] == ["SHAPE_XcoordMax", "SHAPE_YcoordMax", "SHAPE_area"]
    top, left, bottom, right = regionprops(disk)[0].bbox
    print(f"disk {place}: lengths: guess {bottom - top} and {right - left}, seen {seen[0]:g} and {seen[1]:g}")
    assert (bottom - top, right - left) == (41, 41) and tuple(seen[:2]) == expected_by_place[place]
seen, _ = shape_parameters(np.zeros((SIDE, SIDE)), disk, edge, pixels_per_mm2=4)
print(f"4 pixels per mm2: area: guess {disk.sum() / 4:.1f} mm2, seen {seen[2]:.1f}; length: guess {41 / 2} mm, seen {seen[0]:.2f}")
assert np.isclose(seen[2], disk.sum() / 16) and np.isclose(seen[0], 41 / 4)
print("as found")
PY
