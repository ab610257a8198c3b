#!/usr/bin/env bash
# In core-registration one evaluation of a perfect rigid registration gives an error of 0, and the other one twice the error from before.
#
# One would expect: `evaluate_registration_tre` and `evaluate_nonrigid_registration` take landmarks of both sections and the rigid matrix. For a matrix that
# takes each moving landmark onto its fixed one, both errors after the rigid step are 0, and a field of zeros leaves them so.
# What happens: the first applies the matrix to the moving points, as `perform_rigid_registration` does to the moving picture, the second its inverse.
# For a shift of 47 pixels the second says that the rigid error is 94 and the nonrigid one too; with 20 degrees half of the landmarks leave the
# picture and are left out. The worse the sections lay, the worse a perfect registration is, and a field has to undo the matrix twice to look good.
# Way out: give `evaluate_nonrigid_registration` the inverse of the matrix (checked below).
# Versions: core-registration 1.0.1, the newest in November 2026 (its module of evaluation is loaded alone, as the package asks for torch and
# tiatoolbox); seen on 2026-12-01. No report of it was found upstream.
# Why it matters: rigid and nonrigid steps are compared by these numbers, and in one of the two tables the rigid step is worse than none.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile numpy==2.3.5 scipy==1.16.3 pandas==2.3.3 scikit-image==0.25.2 \
  opencv-python-headless==4.13.0.92
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps core-registration==1.0.1
cd "$folder"
export OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import distribution, version
from importlib.util import module_from_spec, spec_from_file_location

import cv2
import numpy as np

print(*(f"{name} {version(name)}" for name in ("core-registration", "numpy")))
place = distribution("core-registration").locate_file("core/evaluation/evaluation.py")
spec = spec_from_file_location("evaluation", place)
evaluation = module_from_spec(spec)
spec.loader.exec_module(evaluation)
SIDE = 1500
fixed = np.random.default_rng(0).uniform(300, 1200, (50, 2))
nothing = np.zeros((SIDE, SIDE, 2))
for degrees, shift in ((0, (40, -25)), (5, (40, -25)), (20, (0, 0))):
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle), shift[0]], [np.sin(angle), np.cos(angle), shift[1]], [0, 0, 1]])
    moving = (np.linalg.inv(matrix) @ np.column_stack([fixed, np.ones(len(fixed))]).T).T[:, :2]
    picture = np.zeros((SIDE, SIDE), np.float32)
    cv2.circle(picture, tuple(int(round(one)) for one in moving[0]), 6, 1, -1)
    warped = cv2.warpAffine(picture, matrix[:2], (SIDE, SIDE))
    dot = np.array([np.average(one, weights=warped) for one in np.mgrid[:SIDE, :SIDE][::-1]])
    assert np.hypot(*(dot - fixed[0])) < 1.5
    first = evaluation.evaluate_registration_tre(fixed, moving, matrix, (SIDE, SIDE))
    second = evaluation.evaluate_nonrigid_registration(fixed, moving, matrix, nothing, pixel_scale=1)
    mended = evaluation.evaluate_nonrigid_registration(fixed, moving, np.linalg.inv(matrix), nothing, pixel_scale=1)
    before = np.hypot(*(fixed - moving).T).mean()
    print(
        f"turned by {degrees} degrees and shifted by {shift}, error before {before:.0f} pixels: rigid error of the perfect matrix: guess 0, "
        f"seen {first['tre_final']:.0f} by the one and {second['tre_rigid']:.0f} by the other; with a field of zeros {second['tre_nonrigid']:.0f}, "
        f"from {second['valid_points']} of {second['total_points']} landmarks; with the inverse {mended['tre_rigid']:.0f}"
    )
    assert np.isclose(first["tre_final"], 0, atol=1e-6) and np.isclose(mended["tre_nonrigid"], 0, atol=1e-6)
    assert second["tre_rigid"] > 1.9 * before and second["tre_nonrigid"] > 1.9 * before
assert second["valid_points"] < 30 and mended["valid_points"] == 50
print("as found")
PY
