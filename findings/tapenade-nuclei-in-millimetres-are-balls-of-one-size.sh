#!/usr/bin/env bash
# In tapenade the axes of a nucleus depend on the unit: measured in millimetres every nucleus is a ball of .65 mm.
#
# One would expect: `add_principal_lengths` gives the half axes of an object in the units of `scale`. An ellipsoid of 10, 15 and 25 voxels has
# these lengths times the voxel's side, the same shape in micrometres and in millimetres, and `add_true_strain_tensor` the same strain in both.
# What happens: each voxel adds the inertia of a cube with a side of 1 in the unit of `scale`, whatever its side. That adds 5/12 to the square of
# every length. With voxels of .5 um it is hardly seen, with voxels of .1 um an ellipsoid of 1.0, 1.5 and 2.5 um has 1.2, 1.6 and 2.6, and with
# .001 mm all three axes are .65 mm, 65 to 26 times too long, and the strain is 0. In nanometres, with voxels of 100 nm, it is right to .3 %.
# Way out: give `scale` so that a voxel's side is 1, and multiply the lengths by it, on a stack of cubic voxels.
# Versions: tapenade 1.0.2, the newest in November 2026, with scikit-image 0.25.2; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: how stretched nuclei are is what the package measures in organoids, and small nuclei, or any in another unit, seem rounder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.3.5 scipy==1.15.0 scikit-image==0.25.2 scikit-learn==1.7.2 numba==0.68.1 tifffile==2025.10.16 tqdm==4.70.1 ensure==1.0.4
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps tapenade==1.0.2
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from skimage.measure import regionprops
from tapenade.analysis.deformation import add_principal_lengths, add_true_strain_tensor

print(*(f"{name} {version(name)}" for name in ("tapenade", "scikit-image")))
z, y, x = np.mgrid[-30:31, -30:31, -30:31]
half = np.array([25, 15, 10])
nucleus = ((z / half[2]) ** 2 + (y / half[1]) ** 2 + (x / half[0]) ** 2 <= 1).astype(int)
moments = np.linalg.eigvalsh(np.cov(np.argwhere(nucleus).T, bias=True))[::-1]
by_hand = np.sqrt(5 * (moments + 1 / 12))
strain_by_hand = np.log(by_hand[0] / np.prod(by_hand) ** (1 / 3))
print(f"half axes in voxels: drawn {half}, by the moments of the voxels {by_hand.round(2)}; the largest strain {strain_by_hand:.2f}")
assert np.allclose(by_hand, half, rtol=0.01)


def measured(side):
    found = regionprops(nucleus)[0]
    add_principal_lengths(found, scale=(side,) * 3)
    lengths = np.array(found.principal_lengths)
    found = regionprops(nucleus)[0]
    add_true_strain_tensor(found, scale=(side,) * 3)
    return lengths, np.linalg.eigvalsh(found.true_strain_tensor).max()


for side, unit in ((1, "um"), (0.5, "um"), (0.1, "um"), (100, "nm"), (0.001, "mm"), (0.0001, "mm"), (0.01, "cm")):
    lengths, strain = measured(side)
    print(
        f"voxels of {side:g} {unit}: half axes: guess {(by_hand * side).round(5)}, seen {lengths.round(5)}; "
        f"the largest strain: guess {strain_by_hand:.2f}, seen {strain:.2f}; by lengths in voxels times the side {(measured(1)[0] * side).round(5)}"
    )
    assert np.allclose(lengths**2, (by_hand * side) ** 2 + 5 / 12 * (1 - side**2), rtol=5e-3)
    assert np.allclose(measured(1)[0] * side, by_hand * side, rtol=1e-3)
    if side >= 1:
        assert np.allclose(lengths, by_hand * side, rtol=3e-3) and abs(strain - strain_by_hand) < 0.01
    if unit == "mm":
        assert np.allclose(lengths, 0.6455, rtol=1e-3) and strain < 0.001
assert abs(measured(0.1)[0][2] - 1.19) < 0.01 and measured(0.1)[1] < strain_by_hand - 0.06
print("as found")
PY
