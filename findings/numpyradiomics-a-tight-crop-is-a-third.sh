#!/usr/bin/env bash
# In numpyradiomics a nucleus that is cropped to its own box has a third of its area and is not round, and a hole adds to the area.
#
# One would expect: the features of a 2D shape are those of the mask, "strictly" as in PyRadiomics, so that they are the same whether the
# mask has a margin or not, and MeshSurface is PixelSurface up to the corners of pixels.
# What happens: outlines are sought in the mask as it is, without a frame of zeros. Where the shape touches the side of the picture its
# outline is left open, and each piece is closed by a chord. A disk of radius 30 px in its own box falls into four caps: its MeshSurface
# goes from 2820 to 960, its perimeter from 201 to 362 and its sphericity from .94 to .30; an ellipse has .27 instead of .86. A rectangle
# that fills its box has 0 for all of them. Outlines of holes are added and not taken away: a ring of 1564 px has a MeshSurface of 4077.
# Way out: numpy.pad(mask, 1) first, and binary_fill_holes where there are holes; PixelSurface, the axes and Elongation are right. The
# features in 3D have that frame.
# Versions: numpyradiomics 0.0.5 of October 2026 with scikit-image 0.26.0; seen on 2026-11-30.
# Why it matters: regionprops(...).image, find_objects and most exports of single nuclei give masks cropped to their boxes. All of them
# are ragged then, the most those that are round.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpyradiomics==0.0.5 numpy==2.4.6 scipy==1.17.1 scikit-image==0.26.0 PyWavelets==1.9.0
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from numpyradiomics import shape
from scipy.ndimage import binary_fill_holes
from skimage.measure import regionprops

print(*(f"{name} {version(name)}" for name in ("numpyradiomics", "numpy", "scikit-image")))
Y, X = np.mgrid[:100, :100] - 50
NAMES = ("MeshSurface", "Perimeter", "Sphericity")


def features(mask):
    return shape(mask, (1.0, 1.0))


def outline(mask):
    """Area, perimeter and sphericity of the polygon through the middles of the sides between inner and outer pixels, by its 16 cases."""
    framed = np.pad(mask, 1).astype(int)
    squares = [framed[:-1, :-1], framed[:-1, 1:], framed[1:, 1:], framed[1:, :-1]]
    inside = sum(squares)
    across = (inside == 2) & (squares[0] == squares[2])
    area = (np.choose(inside, [0, 1 / 8, 1 / 2, 7 / 8, 1]) - across * 1 / 4).sum()
    length = (np.choose(inside, [0, np.sqrt(0.5), 1, np.sqrt(0.5), 0]) + across * (2 * np.sqrt(0.5) - 1)).sum()
    return area, length, 2 * np.sqrt(np.pi * area) / length


radius = np.hypot(Y, X)
for name, mask, most in (
    ("disk", radius <= 30, 0.4),
    ("ellipse", (Y / 15) ** 2 + (X / 30) ** 2 <= 1, 0.4),
    ("rectangle", (abs(Y) < 10) & (abs(X) < 15), 0.01),
):
    wide, box = features(mask), regionprops(mask.astype(int))[0].image
    tight, padded = features(box), features(np.pad(box, 1))
    print(f"{name}, guess the same in its own box:", *(f"{one} {wide[one]:.4g}, in its box {tight[one]:.4g};" for one in NAMES))
    assert np.allclose([wide[one] for one in NAMES], outline(mask), rtol=1e-3)
    assert all(np.isclose(wide[one], padded[one]) for one in wide)
    assert tight["MeshSurface"] < most * wide["MeshSurface"] and tight["Sphericity"] < most * wide["Sphericity"]
    assert all(np.isclose(wide[one], tight[one]) for one in ("PixelSurface", "MajorAxisLength", "Elongation"))

ring = (radius <= 30) & (radius > 20)
seen, filled = features(ring), features(binary_fill_holes(ring))
print(
    f"ring of {seen['PixelSurface']:.0f} px: guess a MeshSurface of {outline(ring)[0]:.0f}, seen {seen['MeshSurface']:.0f};"
    f" the whole disk has {filled['MeshSurface']:.0f}"
)
assert abs(outline(ring)[0] / 1564 - 1) < 0.01 and seen["MeshSurface"] > 4000 > 2900 > filled["MeshSurface"]
print("as found")
PY
