#!/usr/bin/env bash
# In Nyxus the convex hull of a nucleus is larger than it is, by how it lies; its aspect ratio is a whole number, and 0 upright.
#
# One would expect: the solidity of a convex cell, of a square or of a disk is 1 or just below, as scikit-image says (.93 to 1), and
# does not change when the picture is turned by 90 degrees. The aspect ratio of a rectangle of 81 x 21 is 3.86, lying or upright. The
# diameter of a circle with the area of a disk is that of the disk.
# What happens: the hull of a square of 41 px has 4800 px instead of 1681, so its solidity is .35; a rectangle of 81 x 21 has .19, and
# .61 when it is turned. Disks have .42, .69, .90 and .96 with a radius of 10, 20, 40 and 60. The aspect ratio of the rectangle is 3
# lying and 0 upright, as whole numbers are divided. The diameter of equal area is 4 area / pi, without the root: 1600 for a disk of
# 40 px. The Euler number of a square, a disk and a ring is 0, -1 and -2, instead of 1, 1 and 0.
# Way out: scikit-image's regionprops_table for shape, on the same labels: solidity, axis lengths, equivalent_diameter_area and
# euler_number. Of Nyxus area, perimeter, eccentricity and axis lengths are the same as there.
# Versions: nyxus 0.11.0 of February 2026 beside scikit-image 0.26.0; seen on 2026-11-30.
# Why it matters: solidity tells round nuclei from lobed ones and good segmentations from bad. Here it tells large from small ones and
# lying from upright ones, so that an irregular large nucleus is smoother than a small perfect disk.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  nyxus==0.11.0 scikit-image==0.26.0 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from nyxus import Nyxus
from skimage.measure import regionprops

print(*(f"{name} {version(name)}" for name in ("nyxus", "scikit-image", "numpy")))
SIDE = 201
Y, X = np.mgrid[:SIDE, :SIDE] - SIDE // 2
features = Nyxus(["*ALL_MORPHOLOGY*"])


def measure(shape):
    """The row of Nyxus and that of scikit-image for one region of a grey picture."""
    labels = np.zeros((SIDE, SIDE), dtype="uint32")
    labels[shape] = 1
    seen = features.featurize(np.full((SIDE, SIDE), 100, dtype="uint32"), labels).iloc[0]
    return seen, regionprops(labels.astype(int))[0]


shapes = {f"disk of radius {radius}": X**2 + Y**2 <= radius**2 for radius in (10, 20, 40, 60)}
shapes["square of 41"] = (np.abs(X) <= 20) & (np.abs(Y) <= 20)
shapes["rectangle of 81 x 21"] = (np.abs(X) <= 40) & (np.abs(Y) <= 10)
shapes["ellipse of 101 x 41"] = (X / 50) ** 2 + (Y / 20) ** 2 <= 1
shapes["ring of 20 to 40"] = (X**2 + Y**2 <= 1600) & (X**2 + Y**2 >= 400)
# A disk with three lobes, which is not convex.
shapes["three lobes of about 65"] = np.hypot(X, Y) <= 65 + 25 * np.cos(3 * np.arctan2(Y, X))

got = {}
for name, shape in shapes.items():
    seen, right = measure(shape)
    turned, same = measure(np.rot90(shape))
    axes = right.axis_major_length / right.axis_minor_length
    print(
        f"{name}: hull {seen.CONVEX_HULL_AREA:.0f} px, right {right.area_convex:.0f}; solidity {seen.SOLIDITY:.2f}, turned"
        f" {turned.SOLIDITY:.2f}, right {right.solidity:.2f}; aspect ratio {seen.ASPECT_RATIO:.2f}, turned"
        f" {turned.ASPECT_RATIO:.2f}, right {axes:.2f}; diameter of equal area {seen.DIAMETER_EQUAL_AREA:.0f}, right"
        f" {right.equivalent_diameter_area:.0f}; Euler number {seen.EULER_NUMBER:.0f}, right {right.euler_number}"
    )
    assert np.isclose(right.solidity, same.solidity), name
    assert np.isclose(seen.AREA_PIXELS_COUNT, right.area) and np.isclose(seen.MAJOR_AXIS_LENGTH, right.axis_major_length, rtol=0.01)
    assert np.isclose(seen.DIAMETER_EQUAL_AREA, 4 * right.area / np.pi, rtol=0.01)
    assert seen.EULER_NUMBER != right.euler_number
    got[name] = seen, turned, right

disks = [got[f"disk of radius {radius}"] for radius in (10, 20, 40, 60)]
assert np.all(np.diff([seen.SOLIDITY for seen, _, _ in disks]) > 0.05) and disks[0][0].SOLIDITY < 0.45
assert min(right.solidity for _, _, right in disks) > 0.92
square, (lying, upright, box) = got["square of 41"], got["rectangle of 81 x 21"]
assert square[0].SOLIDITY < 0.4 and square[2].solidity == 1
assert lying.SOLIDITY < 0.25 and upright.SOLIDITY > 0.55 and box.solidity == 1
assert (lying.ASPECT_RATIO, upright.ASPECT_RATIO) == (3, 0)
lobes = got["three lobes of about 65"]
print(
    f"a nucleus with three lobes has {lobes[0].SOLIDITY:.2f}, a disk of 20 {disks[1][0].SOLIDITY:.2f}; right"
    f" {lobes[2].solidity:.2f} and {disks[1][2].solidity:.2f}"
)
assert lobes[0].SOLIDITY > 1.1 * disks[1][0].SOLIDITY and lobes[2].solidity < 0.95 * disks[1][2].solidity
print("as found")
PY
