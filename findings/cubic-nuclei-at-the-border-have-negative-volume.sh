#!/usr/bin/env bash
# In cubic a nucleus that the first plane of a stack cuts has a negative volume, and one that the last plane cuts five times its own.
#
# One would expect: `feature.mesh.extract_features` makes a surface of each nucleus and measures it. A ball has the volume of its voxels within
# some percent, its half at the border of the stack has a half of it, and a solidity lies between 0 and 1.
# What happens: no voxel is put around the stack before the surface is made, so the surface of a nucleus that touches a side stays open there.
# The volume of an open surface depends on where the corner of the stack is: the same half ball has -.92 times its voxels on the first plane and
# at the sides, with a solidity of -.94, but 4.9 times them on the last of 40 planes and 14 times on the last of 100, with a solidity of 5 and 14.
# Sphericity, at most 1, is not a number on the one side and 3.5 or 7 on the other.
# Way out: `extract_features(np.pad(labels, 1))`, which gives .99 of the voxels everywhere.
# Versions: cubic 0.8.0, the newest in November 2026, with trimesh 4.9.0; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: stacks of tissue are thin, so many nuclei touch the first or last plane, and each mean over nuclei is one of such numbers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.3.5 scipy==1.16.3 scikit-image==0.25.2 trimesh==4.9.0 rtree==1.4.1 networkx==3.5
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps cubic==0.8.0
cd "$folder"
export OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from cubic.feature.mesh import extract_features

print(*(f"{name} {version(name)}" for name in ("cubic", "trimesh", "scikit-image")))
NAMES = ["Volume", "Solidity", "Sphericity"]
RADIUS = 9.3


def ball(planes, z, y=30, x=30, side=60):
    grid = np.mgrid[:planes, :side, :side]
    return (sum((axis - middle) ** 2 for axis, middle in zip(grid, (z, y, x), strict=True)) <= RADIUS**2).astype(int)


def measure(labels):
    values = dict(zip(NAMES, extract_features(labels, NAMES)[1][0], strict=True))
    return float(values["Volume"] / labels.sum()), float(values["Solidity"]), float(values["Sphericity"])


for kind, labels, least, most in (
    ("whole ball in the middle of 40 planes", ball(40, 20), 0.9, 1),
    ("half ball on the first of 40 planes", ball(40, 0), -1, -0.9),
    ("half ball on the last of 40 planes", ball(40, 39), 3, 6),
    ("half ball on the last of 100 planes", ball(100, 99), 8, 16),
    ("ball without its first quarter, on the first plane", ball(40, 5), -1, -0.9),
    ("ball without its last quarter, on the last plane", ball(40, 34), 1.3, 3),
    ("half ball at the left side", ball(40, 20, x=0), -1, -0.9),
    ("half ball at the right side", ball(40, 20, x=59), -1, -0.9),
):
    volume, solidity, sphericity = measure(labels)
    right, inside, round_one = measure(np.pad(labels, 1))
    print(
        f"{kind}: volume as a multiple of the voxels: guess .9 to 1, seen {volume:.2f}, padded {right:.2f}; "
        f"solidity {solidity:.2f}, padded {inside:.2f}; sphericity {sphericity:.2f}, padded {round_one:.2f}"
    )
    assert least <= volume <= most
    assert 0.9 < right < 1 and 0.9 < inside < 1 and 0.7 < round_one < 1

# one section of 16 planes with nuclei anywhere
generator = np.random.default_rng(0)
labels = np.zeros((16, 300, 300), dtype=int)
number = 0
for y in range(5):
    for x in range(5):
        number += 1
        one = ball(16, generator.uniform(0, 16))
        labels[:, 60 * y : 60 * y + 60, 60 * x : 60 * x + 60][one > 0] = number
seen, right = (extract_features(one, ["Volume"])[1][:, 0] for one in (labels, np.pad(labels, 1)))
voxels = np.bincount(labels.ravel())[1:]
print(
    f"section of 16 planes, {number} nuclei: mean volume {voxels.mean():.0f} by voxels, seen {seen.mean():.0f}, padded {right.mean():.0f}; "
    f"negative {(seen < 0).mean():.0%}; correlation with the voxels: guess 1.00, seen {np.corrcoef(seen, voxels)[0, 1]:.2f}, "
    f"padded {np.corrcoef(right, voxels)[0, 1]:.2f}"
)
assert (seen < 0).mean() > 0.2 and np.corrcoef(seen, voxels)[0, 1] < 0.7 and np.corrcoef(right, voxels)[0, 1] > 0.99
print("as found")
PY
