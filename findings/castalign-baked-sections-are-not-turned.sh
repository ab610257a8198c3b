#!/usr/bin/env bash
# In CASTalign the volume that fixed and moved sections are baked into contains the moved one as it was before the transformation.
#
# One would expect: `bake_images` applies a transformation to the movable volume and returns one volume with both in it. A bright spot lies where
# `transform` says that the point goes, and a section scaled by two has four times as many bright voxels.
# What happens: the transformed volume is made, and its size sets the canvas, but the movable volume itself is copied to the upper left corner of the
# place of the transformed one. A translation is right. Turned by 90 degrees, a spot lies 25 voxels beside its place; scaled by two, 52, with as
# many voxels as before; turned by 20 degrees, 8. Nothing is seen of the transformation but the size of the canvas.
# Way out: give `transform.transform_image(movable)` with the identity, as the script does; where both overlap, the movable hides the fixed one.
# Versions: CASTalign 0.3.2, the newest in November 2026, with scipy 1.16.3; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: the baked volume is what an alignment of sections is judged by and measured in.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.3.5 scipy==1.16.3 scikit-image==0.25.2 imageio==2.37.2 imageio-ffmpeg==0.6.0 threadpoolctl==3.6.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps castalign==0.3.2
cd "$folder"
export OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from castalign import Identity, RescaleParametric, RigidParametric, TranslateParametric
from castalign.utils import bake_images
from scipy.ndimage import center_of_mass

print(*(f"{name} {version(name)}" for name in ("castalign", "scipy", "scikit-image")))
fixed = np.zeros((4, 60, 60))
fixed[1:3, 8:12, 8:12] = 1
movable = np.zeros((4, 40, 50))
movable[1:3, 30:34, 40:44] = 5
START = np.array([[1.5, 31.5, 41.5]])


def spot(volume):
    """Where the bright spot of the movable volume lies, in the coordinates of the fixed one, and how many voxels it has."""
    bright = np.asarray(volume) > 2.5
    return np.array(center_of_mass(bright)) + volume.origin, int(bright.sum())


for kind, transform, least in (
    ("moved by 20 and 10", TranslateParametric(y=20, x=10), 0),
    ("turned by 90 degrees", RigidParametric(zrotate=90), 20),
    ("turned by 20 degrees", RigidParametric(zrotate=20), 5),
    ("scaled by two", RescaleParametric(y=2, x=2), 40),
):
    guess = transform.transform(START)[0]
    place, voxels = spot(bake_images(fixed, movable, transform))
    moved = transform.transform_image(movable)
    right, many = spot(bake_images(fixed, moved, Identity()))
    off, mended = np.linalg.norm(place - guess), np.linalg.norm(right - guess)
    print(
        f"{kind}: spot at y, x: guess {guess[1]:.1f}, {guess[2]:.1f}, seen {place[1]:.1f}, {place[2]:.1f}, that is {off:.1f} voxels beside; "
        f"{voxels} bright voxels of 32 before; baked after the transformation: {mended:.1f} beside, {many} bright voxels"
    )
    assert mended < 1.5 and voxels == 32 and (off < 0.1 if not least else off > least)
    assert (many > 100) == (kind == "scaled by two")
print("as found")
PY
