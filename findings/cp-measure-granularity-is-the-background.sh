#!/usr/bin/env bash
# In cp_measure, which has CellProfiler's measurements, granularity of the smallest grains is mostly the background.
#
# One would expect: the granularity spectrum of a cell says how much of it goes at each size of grain. The background is removed
# first, as the description says, so a constant added to the picture changes nothing, and a picture without grains has none.
# What happens: the mean that the spectrum begins with, and is divided by, is that of the picture before the background is removed,
# so all that was removed counts as grains of size 1. A flat picture of .3 has 100 % there. Of grains of radius 14 px that are .5
# high, -2 % is at size 1 and 51 % at size 5 on black, 17 and 42 % on .05, 30 and 36 % on .1, and 57 and 22 % on .3. A cell without
# a grain, wider than the largest element, .4 above a background of .1 to .3, has 22 to 46 % at size 1.
# Way out: subtract the background from the picture first, so that places without cells are 0; or leave out size 1 and divide the other
# sizes by their sum, where no grain is that small. The script does both.
# Versions: cp-measure 0.3.0 of October 2026 with scikit-image 0.26.0; seen on 2026-11-30. Its source says that CellProfiler does the
# same for objects; that was not run.
# Why it matters: granularity is among the features by which cells are told apart in Cell Painting. The first one is by far the largest,
# and is a measure of exposure and of the offset of the camera, so that plates differ in it that hold the same cells.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  cp-measure==0.3.0 centrosome==1.3.4 mahotas==1.4.19 scikit-image==0.26.0 scipy==1.17.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from cp_measure.core.measuregranularity import get_granularity
from scipy import ndimage
from skimage.morphology import disk, erosion, reconstruction

print(*(f"{name} {version(name)}" for name in ("cp-measure", "scikit-image", "scipy", "numpy")))
SIDE, SIZES = 400, 16
Y, X = np.mgrid[:SIDE, :SIDE]
CENTRES = [(100, 100), (100, 300), (300, 100), (300, 300)]


def round_at(y, x, radius):
    return (Y - y) ** 2 + (X - x) ** 2 <= radius**2


cells = np.zeros((SIDE, SIDE), dtype=int)
for number, (y, x) in enumerate(CENTRES, 1):
    cells[round_at(y, x, 60)] = number


def grains(radius, seed):
    """Twelve grains of .5 in each cell, on black."""
    random = np.random.default_rng(seed)
    picture = np.zeros((SIDE, SIDE))
    for y, x in CENTRES:
        for _ in range(12):
            angle, far = random.uniform(0, 2 * np.pi), 45 * np.sqrt(random.uniform())
            picture[round_at(y + far * np.sin(angle), x + far * np.cos(angle), radius)] = 0.5
    return picture


def spectrum(picture):
    seen = get_granularity(cells, picture)
    return np.mean([seen[f"Granularity_{size}"] for size in range(1, SIZES + 1)], axis=1)


def by_hand(picture):
    """Erosion and reconstruction at a quarter of the size, from the picture less its own lowest value."""
    small, labels = picture[::4, ::4] - picture.min(), cells[::4, ::4]
    mean = [ndimage.mean(small, labels, range(1, 5))]
    eroded = small
    for _ in range(SIZES):
        eroded = erosion(eroded, disk(1))
        mean.append(ndimage.mean(reconstruction(eroded, small, footprint=disk(1)), labels, range(1, 5)))
    return (-np.diff(mean, axis=0) * 100 / mean[0]).mean(axis=1)


flat = spectrum(np.full((SIDE, SIDE), 0.3))
print(f"a flat picture of .3: guess 0 % at all sizes, seen {flat[0]:.0f} % at size 1")
assert np.isclose(flat[0], 100) and np.allclose(flat[1:], 0)

for seed in (0, 1, 2):
    for radius in (8, 14):
        picture = grains(radius, seed)
        right, black = by_hand(picture), spectrum(picture)
        assert np.abs(black - right).max() < 4 and black[0] < 3 and right[0] == 0
        for offset in (0.0, 0.05, 0.1, 0.3):
            seen = spectrum(picture + offset)
            share = 100 * offset / (picture + offset)[cells > 0].mean()
            rest = seen[1:] / seen[1:].sum()
            print(
                f"seed {seed}, grains of {radius} px on {offset}: at size 1 {seen[0]:.0f} %, at size {1 + right.argmax()}"
                f" {seen[right.argmax()]:.0f} %; right 0 and {right.max():.0f} %; the background is {share:.0f} % of the cells"
            )
            assert abs(seen[0] - black[0] - share * (1 - black[0] / 100)) < 2
            assert np.allclose(by_hand(picture + offset), right)
            assert np.allclose(spectrum(picture + offset - offset), black, atol=0.1)
            assert np.allclose(rest, black[1:] / black[1:].sum(), atol=0.03)
            assert offset < 0.3 or seen[0] > 50 > 25 > seen[right.argmax()]

plain = [spectrum(offset + 0.4 * (cells > 0))[0] for offset in (0.0, 0.1, 0.3)]
print("cells without grains, .4 high on 0, .1 and .3: guess 0 % at size 1, seen", *(f"{one:.0f} %" for one in plain))
assert plain[0] < 3 and plain[1] > 20 and plain[2] > 40
print("as found")
PY
