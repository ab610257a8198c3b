#!/usr/bin/env bash
# In tapenade the angles of density gradients are one radian too small: a gradient along x lies at -57 degrees.
#
# One would expect: `process_density_gradient` returns the gradients at the points asked for and, last, their angles with the x axis, as
# `tensors_to_napari_vectors` of the same package does for the axes of nuclei. Where density grows along x the angle is 0, along y it is 90 degrees.
# What happens: one radian is taken from each angle before it is wrapped. A gradient along x has -57.3 degrees, along y 32.7, against x 122.7, and
# along the diagonal -12.3. The vectors returned beside the angles are right. So nuclei that all lie along the gradient of density make an angle
# of 57 degrees with it, and 33 with a line across it: they seem to lie more across than along.
# Way out: `np.arctan2(vectors[:, 1, 1], vectors[:, 1, 2])` of the third value returned.
# Versions: tapenade 1.0.2, the newest in November 2026, with numpy 2.3.5; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: whether nuclei of an organoid stretch along or across the gradient of density is what the angles are compared for.
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
from tapenade.analysis.deformation import add_true_strain_tensor, process_density_gradient, tensors_to_napari_vectors

print(*(f"{name} {version(name)}" for name in ("tapenade", "numpy")))
z, y, x = np.mgrid[:20, :30, :40].astype(float)
inside = np.ones(z.shape, dtype=bool)
points = np.array([[10, 15, 20], [10, 10, 10], [5, 20, 30]])


def apart(one, other):
    """The angle between two lines, which have no direction, in degrees."""
    between = np.abs(one - other) % 180
    return np.minimum(between, 180 - between)


for name, density, guess in (
    ("along x", x, 0),
    ("along y", y, 90),
    ("against x", -x, 180),
    ("against y", -y, -90),
    ("between both", x + y, 45),
    ("mostly along x", 2 * x + y, np.degrees(np.arctan2(1, 2))),
):
    _, _, vectors, angles = process_density_gradient(inside, density, points)
    seen, mended = np.degrees(angles), np.degrees(np.arctan2(vectors[:, 1, 1], vectors[:, 1, 2]))
    off = (seen - guess + 180) % 360 - 180
    print(f"density grows {name}: guess {guess:.1f} degrees, seen {seen[0]:.1f}, off by {off[0]:.1f}; by its own vectors {mended[0]:.1f}")
    assert np.allclose(off, -np.degrees(1), atol=1e-6)
    assert np.allclose((mended - guess + 180) % 360 - 180, 0, atol=1e-6)

nuclei = np.zeros((20, 60, 60), dtype=int)
planes, rows, columns = np.mgrid[:20, :60, :60]
for number, row in enumerate((10, 30, 50), 1):
    nuclei[((planes - 10) / 4) ** 2 + ((rows - row) / 4) ** 2 + ((columns - 30) / 12) ** 2 <= 1] = number
strains = []
for one in regionprops(nuclei):
    add_true_strain_tensor(one, scale=(1, 1, 1))
    strains.append([*one.centroid, *one.true_strain_tensor.ravel()])
strains = np.array(strains)
_, axes = tensors_to_napari_vectors(strains, is_inertia_tensor=False, return_angles=True)
inside = np.ones(nuclei.shape, dtype=bool)
for name, density, guess in (("along x, as the nuclei lie", columns, 0), ("along y, across them", rows, 90)):
    _, _, vectors, angles = process_density_gradient(inside, density.astype(float), strains[:, :3])
    seen = apart(np.degrees(axes), np.degrees(angles))
    mended = apart(np.degrees(axes), np.degrees(np.arctan2(vectors[:, 1, 1], vectors[:, 1, 2])))
    print(f"nuclei stretched along x, density grows {name}: guess {guess} degrees between both, seen {seen.mean():.1f}; mended {mended.mean():.1f}")
    assert np.allclose(mended, guess, atol=0.1) and np.allclose(seen, (57.3, 32.7)[guess // 90], atol=0.1)
print("as found")
PY
