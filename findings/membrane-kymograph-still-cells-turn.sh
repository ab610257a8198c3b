#!/usr/bin/env bash
# In membrane-kymograph a cell that does not move turns by a point of its outline in every frame, half way round in 60 frames.
#
# One would expect: `alignboundary` turns the list of a new outline so that its points lie on those of the old one. The same outline, begun at any
# point, comes back beginning where the old one does, and in the kymograph of a still cell with one bright place that place is a level line.
# What happens: the best shift is found, then the outline is shifted by one point less or more, and each frame is aligned to the one before. Aligned
# to itself an outline begins one point beside its beginning with a distance of 0, and after 60 times 60 of 120 points beside it.
# `KymographProcessor`, which also cuts the last points off each outline before it aligns the next to it, gives the bright place of a still cell as
# a slanting line that climbs by a point a frame, 60 of 138 in 60 frames.
# Way out: an `alignboundary` of one's own put into `membrane_kymograph.processor`, as the script does: the line is level then.
# Versions: membrane-kymograph 0.1.0, the newest in November 2026, with numpy 2.2.6; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: waves that travel along the membrane are what kymographs are read for, and here a still cell has one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.2.6 scipy==1.15.3 pandas==2.3.3 statsmodels==0.14.5 joblib==1.5.2 opencv-python-headless==4.12.0.88 tifffile==2025.5.10 \
  scikit-image==0.25.2 shapely==2.1.2 circle-fit==0.2.1 matplotlib==3.10.7 openpyxl==3.1.5 seaborn==0.13.2 ttkbootstrap==1.16.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps membrane-kymograph==0.1.0
cd "$folder"
export MPLCONFIGDIR=$folder MPLBACKEND=Agg OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version
from tempfile import TemporaryDirectory

import numpy as np
import tifffile
from membrane_kymograph import processor
from membrane_kymograph.kymohelpers import alignboundary

print(*(f"{name} {version(name)}" for name in ("membrane-kymograph", "numpy", "scipy")))
FRAMES = 60
turn = np.linspace(0, 2 * np.pi, 120, endpoint=False)
outline = np.stack([20 * np.cos(turn) * (1 + 0.2 * np.cos(3 * turn + 1)), 20 * np.sin(turn) * (1 + 0.1 * np.sin(2 * turn))], axis=1)


def begins(aligned):
    """By how many points an outline begins beside the beginning of the first one."""
    place = int(np.linalg.norm(outline - aligned[0], axis=1).argmin())
    return (place + 60) % 120 - 60


for shift in (0, 1, 7, 50):
    aligned, distance = alignboundary(np.roll(outline, shift, axis=0), outline)
    print(f"the same outline begun {shift} points later: it begins off by: guess 0 points, seen {begins(aligned)}; distance {distance:.1f}")
    assert begins(aligned) == -1 and distance < 1e-9
last = outline
for _ in range(FRAMES):
    last, _ = alignboundary(outline, last)
print(f"{FRAMES} frames of it, each aligned to the one before: guess 0 points, seen {abs(begins(last))} of 120")
assert abs(begins(last)) == FRAMES


def rightly(new, old):
    """The new outline, begun at its point that is nearest to the beginning of the old one."""
    distances = np.linalg.norm(new - old[0], axis=1)
    return np.roll(new, -int(distances.argmin()), axis=0), distances.min()


def kymograph(mask, picture, frames):
    with TemporaryDirectory() as folder:
        for name, stack in (("mask", mask), ("picture", picture)):
            tifffile.imwrite(f"{folder}/{name}.tif", np.repeat(stack[None], frames, axis=0), photometric="minisblack")
        made = processor.KymographProcessor().process(f"{folder}/picture.tif", f"{folder}/mask.tif", l_perp=4, save_formats=["png"])
    return made["kymographs"][0]


y, x = np.mgrid[:80, :80] - 40.0
mask = ((x / 24) ** 2 + (y / 16) ** 2 <= 1).astype(np.uint8)
picture = (100 + 3000 * np.exp(-((x - 17) ** 2 + (y - 11) ** 2) / 30)).astype(np.uint16)
for kind, align in (("as it is", alignboundary), ("aligned by hand", rightly)):
    processor.alignboundary = align
    climbs = []
    for seed in range(3):
        np.random.seed(seed)
        rows = kymograph(mask, picture, FRAMES)
        bright = np.unwrap(rows.argmax(axis=0), period=len(rows))
        climbs.append(int(np.ptp(bright)))
    print(f"a still cell of {len(rows)} points, {kind}: its bright place moves in {FRAMES} frames by: guess 0 to 3 points, seen {climbs}")
    assert min(climbs) > 20 if align is alignboundary else max(climbs) <= 3
print("as found")
PY
