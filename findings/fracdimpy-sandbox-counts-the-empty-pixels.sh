#!/usr/bin/env bash
# In fracDimPy the sandbox dimension of points, and of masks of ones, is the one of what lies between them: about 2 for a line.
#
# One would expect: sandbox_method, for point sets and images as its README says, counts how many points lie within growing
# squares around the centre, and gives the slope of their logarithms: about 0 for a few points, 1 for a line or a cross, 2 for a
# filled plane. The same for masks with ones where the fractal is, as the package's own generators make them.
# What happens: points are drawn as white pixels into a black picture of 256 pixels, the picture is inverted, and white is what
# is counted: the empty pixels. Four points are at 1.87, a line at 1.93 and a cross at 2.00, with a coefficient of determination
# above .998. Masks are inverted too: clusters grown by diffusion are at 1.96 instead of 1.39, where box counting in the same
# package, which counts the ones, has 1.45. What is seen is the slope of the empty pixels to the last digit. Drawn in black on
# white, which no text of the package asks for, all of them have the slope of the set.
# Versions: fracDimPy 0.1.5 of July 2026, the newest in the package index; seen on 2026-11-30.
# Why it matters: the dimension of the places of cells, or of a mask of vessels or of a tumour, says how densely they fill the
# tissue. Here it is near 2 for whatever is sparse, and the fit is perfect.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.4.6 pandas==3.0.6 scipy==1.17.1 matplotlib==3.11.2 pillow==13.0.0 openpyxl==3.1.5
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps fracdimpy==0.1.5
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from fracDimPy import box_counting, generate_dla, sandbox_method

print(*(f"{name} {version(name)}" for name in ("fracdimpy", "numpy", "scipy")))


def drawn(points, side=256):
    """A mask of the pixels that points lie in, the extent of the points being the picture, as the package draws it."""
    place = ((points - points.min(axis=0)) / np.ptp(points, axis=0) * (side - 1)).astype(int)
    mask = np.zeros((side, side), dtype=bool)
    mask[place[:, 1], place[:, 0]] = True
    return mask


def slope(mask):
    """The sandbox dimension by its definition: pixels of the mask in squares around the centre of the picture."""
    middle = mask.shape[0] // 2
    sides = 2 ** np.arange(1, int(np.log2(mask.shape[0])) + 1)
    inside = []
    for side in sides:
        begin = middle - side // 2
        inside.append(mask[begin : begin + side + 1, begin : begin + side + 1].sum())
    return np.polyfit(np.log(sides), np.log(inside), 1)[0]


def row(name, right, given, mask):
    """One line: what the package says of what it is given, and what the mask of the same says."""
    seen, more = sandbox_method(given)
    numbers = {
        "seen": seen,
        "R2": more["R2"],
        "of the set": slope(mask),
        "of the rest": slope(~mask),
        "black on white": sandbox_method(np.where(mask, 0, 255).astype("uint8"))[0],
    }
    print(f"  {name}, {mask.sum()} of {mask.size} pixels, in theory {right}:")
    print("   ", *(f"{key} {value:.3f}," for key, value in numbers.items()))
    assert abs(numbers["seen"] - numbers["of the rest"]) < 1e-9, numbers
    assert abs(numbers["black on white"] - numbers["of the set"]) < 1e-9, numbers
    assert numbers["R2"] > 0.998, numbers
    return numbers


along = np.linspace(-1, 1, 3001)
none = 0 * along
sets = {
    "four points": (0, np.array([(0.0, 0.0), (1.0, 1.0), (0.5, 0.5), (0.2, 0.7)])),
    "a line": (1, np.column_stack([along, along])),
    "a cross": (1, np.concatenate([np.column_stack([along, none]), np.column_stack([none, along])])),
}
print("points; expected: seen is the one of the set")
found = {name: row(name, right, points, drawn(points)) for name, (right, points) in sets.items()}
assert found["a line"]["seen"] > 1.9 and abs(found["a line"]["of the set"] - 1) < 0.1, found
assert found["a cross"]["seen"] > 1.99 and abs(found["a cross"]["of the set"] - 1) < 0.1, found
assert found["four points"]["seen"] > 1.8 and found["four points"]["of the set"] < 0.3, found

print("masks of clusters grown by diffusion, ones being the cluster; expected: about what box counting has")
for seed in (0, 1, 2):
    mask = generate_dla(seed=seed)
    numbers = row(f"cluster {seed}", "1.7 if large", mask, mask > 0)
    boxes = box_counting(mask, data_type="image")[0]
    print(f"    box counting of the same mask: {boxes:.3f}")
    assert numbers["seen"] > 1.9 and abs(numbers["seen"] - boxes) > 0.4, (numbers, boxes)
    assert abs(numbers["of the set"] - boxes) < 0.15, (numbers, boxes)
print("as found: the empty pixels are what is counted; drawn in black on white the set is")
PY
