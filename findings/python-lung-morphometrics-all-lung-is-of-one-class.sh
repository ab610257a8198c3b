#!/usr/bin/env bash
# In python-lung-morphometrics the damaged share of a lung is 0 % or 100 %, or 33 or 67, in any picture.
#
# One would expect: do_kmeans_cluster_image sorts the pixels of an H&E section into background, unaffected, somewhat affected and
# affected lung, and returns a mask for each class and a table of their areas, which it describes as the number of pixels in
# each. So a picture with a third of its lung in each class has three areas of a third.
# What happens: the masks are right, the table does not count them. It takes the whole stack of masks, which holds zeros and
# ones, and counts how often the number of the class stands in it: class 1 has as many pixels as the picture, for each pixel is
# a one in one mask, and classes 2 and 3 have none. So one class has 100 % of the lung and the others have 0 %, whatever is in
# the picture. With three classes it is 67, 33 and 0 %, and the lung has three times as many pixels as the picture. Which class
# gets the 100 % goes by its colour times its area, so a section of which 80 % of the lung is unaffected is 100 % affected.
# Versions: python-lung-morphometrics 0.4.0 of December 2025, the newest in the package index; seen on 2026-11-30.
# Why it matters: these percentages are the result, saved for each section, and are what treatments are compared by. A section
# with 5 % and one with 80 % of damage have the same row.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.4.6 pandas==3.0.6 scipy==1.17.1 scikit-image==0.26.0 scikit-learn==1.9.1 matplotlib==3.11.2 imageio==2.38.1 \
  tifffile==2026.3.3 imagecodecs==2026.3.6 joblib==1.6.0 skops==0.16.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps python-lung-morphometrics==0.4.0
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import contextlib
import io
from importlib.metadata import version

import numpy as np
import tifffile
from skimage.color import lab2rgb

with contextlib.redirect_stdout(io.StringIO()):  # says that cellpose is not there, which is not needed here
    from python_lung_morphometrics import do_kmeans_cluster_image

print(*(f"{name} {version(name)}" for name in ("python-lung-morphometrics", "scikit-image", "scikit-learn", "numpy")))
side = 240
names = ("Unaffected", "Somewhat affected", "Affected")
# the colours that the package begins its classes from, background first, as a and b of CIELAB
colours = np.array([(90, 1, -1), (70, 15, -8), (60, 29, -19), (45, 42, -29)], dtype=float)


def picture(classes, layout, noise):
    """A section saved as TIFF: the class of each pixel becomes a colour, with noise on it."""
    lab = colours[classes] + np.random.default_rng(0).normal(0, noise, (*classes.shape, 3))
    pixels = (lab2rgb(lab).clip(0, 1) * 255).round().astype("uint8")
    tifffile.imwrite(f"{layout}.tif", pixels, resolution=(20000, 20000), resolutionunit="CENTIMETER", photometric="rgb")
    return f"{layout}.tif"


def measured(path, number=4):
    """What the package says of a section: its masks and its table, the latter as it is saved too."""
    with contextlib.redirect_stdout(io.StringIO()):
        masks, table = do_kmeans_cluster_image(path, n_clusters=number, save_fig=False, save_dir="out/")
    return masks, table.iloc[0]


def strips(shares):
    """Columns of one class each, with these shares of the picture."""
    ends = np.round(np.cumsum(shares) * side).astype(int)
    return np.broadcast_to(np.searchsorted(ends, np.arange(side), side="right"), (side, side))


def blobs(_):
    """Discs of affected lung in somewhat affected rings, in unaffected lung, with background in the corners."""
    down, along = np.mgrid[:side, :side] - side / 2 + 0.5
    middle = np.hypot(down, along)
    near = np.hypot(np.abs(down) - 45, np.abs(along) - 45)
    return np.where(near < 20, 3, np.where(near < 34, 2, np.where(middle < 118, 1, 0)))


layouts = {
    "a third each": (strips, [0.25, 0.25, 0.25, 0.25], 0),
    "little damage": (strips, [0.375, 0.5, 0.0625, 0.0625], 0),
    "much damage": (strips, [0.2, 0.1, 0.1, 0.6], 3),
    "in discs": (blobs, None, 3),
}
print("shares of the lung, in % unaffected, somewhat affected, affected; expected: the table has those drawn")
seen = {}
for name, (draw, shares, noise) in layouts.items():
    classes = draw(shares)
    drawn = np.bincount(classes.ravel(), minlength=4)[1:]
    drawn = 100 * drawn / drawn.sum()
    masks, table = measured(picture(classes, name.replace(" ", "-"), noise))
    areas = masks[:, :, 1:].sum(axis=(0, 1))  # the classes begin in the order of the colours above
    areas = 100 * areas / areas.sum()
    seen[name] = np.array([table[f"{one} area (% of lung)"] for one in names])
    print(f"  {name}: drawn", *np.round(drawn, 1), "in the masks", *np.round(areas, 1), "in the table", *np.round(seen[name], 1))
    assert np.abs(areas - drawn).max() < 4, (name, areas, drawn)
    assert sorted(seen[name]) == [0, 0, 100], (name, seen[name])
    assert table["Lung area (px)"] == side * side, (name, table)
assert np.array_equal(seen["a third each"], [100, 0, 0]) and np.array_equal(seen["much damage"], [100, 0, 0]), seen
assert np.array_equal(seen["little damage"], [0, 0, 100]), seen  # 80 % of the lung is unaffected

classes = 1 + strips([0.2, 0.3, 0.5])
masks, table = measured(picture(classes, "three", 0), 3)
areas = 100 * masks.mean(axis=(0, 1))
three = np.array([table[f"{one} area (% of lung)"] for one in names])
print("three classes, 20, 30 and 50 %: in the masks", *np.round(areas, 1), "in the table", *np.round(three, 1))
print(f"  pixels of the picture {side * side}, of the lung in the table {table['Lung area (px)']:.0f}")
assert np.abs(areas - [20, 30, 50]).max() < 4, areas
assert np.allclose(sorted(three), [0, 100 / 3, 200 / 3]) and table["Lung area (px)"] == 3 * side * side, table
print("as found: the table has the same numbers for every section, the masks are right")
PY
