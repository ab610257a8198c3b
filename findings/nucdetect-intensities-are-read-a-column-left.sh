#!/usr/bin/env bash
# In NucDetect the intensity of a nucleus or focus is that of the pixels one column to the left of it.
#
# One would expect: `calculate_statistics` gives the mean, smallest and largest intensity of the pixels of a region, which its map holds. Foci
# of one value, 200, on a background of 20 have 200 for all three, and so has their mirror image.
# What happens: each row is read from one pixel before its first one. Foci of 3, 5 and 9 pixels across have means of 92, 131 and 167 and all of them a
# smallest value of 20, and a region in the first column of the picture takes a column of the last one: 0 or 255, as the picture has there.
# A nucleus of 100 with a bright neighbour on its left has 190, with the same one on its right 90.
# Way out: give it the channel moved by a pixel, `numpy.roll(channel, -1, axis=1)`, which gives what is right.
# Versions: nucdetect 1.0.13, the newest in November 2026, with numba 0.62.1; its networks and windows take no part and stay out; seen on
# 2026-12-01. No report of it was found upstream.
# Why it matters: intensities of foci decide which of them are kept as foci, and are compared between groups: they say how small a focus is.
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
from core.detector_modules.AreaAndROIExtractor import encode_areas, extract_roi_from_areas
from scipy import ndimage

print(*(f"{name} {version(name)}" for name in ("nucdetect", "numba", "scipy")))
SIDE = 120
down, across = np.mgrid[:SIDE, :SIDE]


def seen(labels, channel):
    """The mean, the smallest and the largest intensity of each region."""
    regions = extract_roi_from_areas(encode_areas(labels), "Green", False)
    values = [region.calculate_statistics(channel) for region in regions]
    return np.array([[value[f"intensity {kind}"] for kind in ("average", "minimum", "maximum")] for value in values])


def right(labels, channel):
    """The same by scipy."""
    numbers = np.unique(labels)[1:]
    return np.array([kind(channel, labels, numbers) for kind in (ndimage.mean, ndimage.minimum, ndimage.maximum)]).T


for radius in (1, 2, 4, 8):
    labels = np.zeros((SIDE, SIDE), dtype=int)
    for number, (row, column) in enumerate([(row, column) for row in (20, 60, 100) for column in (20, 60, 100)], start=1):
        labels[(down - row) ** 2 + (across - column) ** 2 <= radius**2 + 0.5] = number
    channel = np.where(labels > 0, 200, 20)
    one, guess = seen(labels, channel), right(labels, channel)
    mended = seen(labels, np.roll(channel, -1, axis=1))
    print(
        f"nine foci of 200 on 20, {2 * radius + 1} pixels wide: mean, smallest, largest: guess {guess.mean(axis=0).round().astype(int).tolist()}, "
        f"seen {one.mean(axis=0).round().astype(int).tolist()}, with the channel moved {mended.mean(axis=0).round().astype(int).tolist()}"
    )
    assert (guess == 200).all() and (one[:, 0] < 192).all() and (one[:, 1] == 20).all() and np.allclose(mended, guess)

labels = np.zeros((SIDE, SIDE), dtype=int)
labels[50:60, 0:4] = 1
for other in (0, 255):
    channel = np.where(labels > 0, 200, 20)
    channel[:, -1] = other
    one = seen(labels, channel)[0]
    print(
        f"a region of 200 in the first column, {other} in the last one: mean: guess 200, seen {one[0]:.0f}; "
        f"smallest and largest {one[1]:.0f} and {one[2]:.0f}"
    )
    assert other in one[1:] and one[0] == (3 * 200 + other) / 4

# nuclei that touch one another, dim beside bright ones
labels = np.zeros((SIDE, SIDE), dtype=int)
labels[20:30, 20:30], labels[20:30, 30:40], labels[20:30, 40:50] = 1, 2, 3
channel = np.choose(labels, [0, 1000, 100, 1000])
for kind, turn in (("as made", lambda one: one), ("mirrored", lambda one: np.ascontiguousarray(one[:, ::-1]))):
    one = seen(turn(labels), turn(channel))[:, 0]
    print(f"a nucleus of 100 between two of 1000, {kind}: means: guess [1000, 100, 1000], seen {one.round().astype(int).tolist()}")
    assert np.allclose(one[1], 190) and min(one[0], one[2]) < 920
lone = np.where(labels == 3, 0, labels)
channel[labels == 3] = 0
values = []
for kind, turn in (("left", lambda one: one), ("right", lambda one: np.ascontiguousarray(one[:, ::-1]))):
    values.append(seen(turn(lone), turn(channel))[1, 0])
    print(f"a nucleus of 100 with its bright neighbour on the {kind}: mean: guess 100, seen {values[-1]:.0f}")
assert np.allclose(values, [190, 90])
print("as found")
PY
