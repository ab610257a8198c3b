#!/usr/bin/env bash
# In hcsegment nuclei are counted as two from half the least distance on that was asked for.
#
# One would expect: `min_dist_btwn_cells` (option `--dist`) is the least distance in pixels between cells. With 20, two peaks that lie 12 to 18
# pixels apart are one nucleus, those more than 20 apart two.
# What happens: the number is the width of a square window around each pixel, which reaches half as far, and further along its diagonal: peaks 12
# pixels apart are two along a row and one along a diagonal. Nine nuclei with two bright spots 12 to 18 pixels apart are counted as 18.
# Way out: ask for twice the distance (checked below).
# Versions: hcsegment 0.1.4, the newest in November 2026, with scikit-image 0.25.2; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: nuclei with two bright spots count twice in the table of cells for each well.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.3.5 scipy==1.16.3 scikit-image==0.25.2 tifffile==2025.10.16 tqdm==4.67.3
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps hcsegment==0.1.4
cd "$folder"
export OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from hcsegment.modules.nuclei_segment import instance_segment

print(*(f"{name} {version(name)}" for name in ("hcsegment", "scikit-image", "scipy")))
rows, columns = np.mgrid[:400, :400]


def picture(apart, turned):
    """Nine nuclei, each with two bright spots so far apart, beside each other or along a diagonal."""
    angle = np.deg2rad(45 if turned else 0)
    signal = np.full(rows.shape, 100.0)
    for row in (70, 190, 310):
        for column in (70, 190, 310):
            for side in (-apart / 2, apart / 2):
                far = (rows - row - side * np.sin(angle)) ** 2 + (columns - column - side * np.cos(angle)) ** 2
                signal = np.maximum(signal, 100 + 1000 * np.exp(-far / (2 * 6**2)))
    return signal + np.random.default_rng(0).normal(0, 1, rows.shape)


def count(apart, asked, turned=False):
    labels = instance_segment(picture(apart, turned), asked, 80, 5000)
    return len(np.unique(labels)) - 1


for asked in (20, 30, 40):
    for apart in (8, 12, 16, 18, 22, 26, 34, 44):
        guess, seen = 9 if apart < asked else 18, count(apart, asked)
        if guess != seen or apart in (8, 44):
            print(f"least distance {asked}, spots {apart} pixels apart: nuclei: guess {guess}, seen {seen}")
        if asked / 2 + 1 < apart < asked:
            assert guess == 9 and seen == 18
        if apart < asked / 2 - 1 or apart > asked:
            assert seen == guess
row, diagonal = count(12, 20), count(12, 20, turned=True)
print(f"least distance 20, spots 12 pixels apart: nuclei: guess 9 both ways, seen {row} along a row and {diagonal} along a diagonal")
assert (row, diagonal) == (18, 9)
assert count(16, 2 * 20) == 9 and count(22, 2 * 20) == 18
print("as found")
PY
