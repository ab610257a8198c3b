#!/usr/bin/env bash
# A crop of a SpatialData picture can say that it begins one pixel from where it does.
#
# One would expect: bounding_box_query with a box that begins inside a pixel takes whole pixels, and the translation it
# attaches is that of the first pixel taken, so that nothing in the world moves.
# What happens: the first pixel is chosen by its centre, the translation by rounding up. Where the box begins in the
# first half of a pixel (.2, .4, .5), the crop moves by a whole pixel to the right and down. In the second half it is
# right.
# Versions: spatialdata 0.7.3 (the newest for Python 3.11; 0.8.0 of July 2026 was not tried); seen on 2026-11-28.
# Why it matters: shapes and points cut by the same box stay where they are, so pictures and spots of a cropped section
# no longer meet; at a coarse level of 8 um a pixel the error is a cell, and which crops have it is a matter of chance.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  spatialdata==0.7.3 ome-zarr==0.15.0 zarr==3.1.6 xarray==2026.9.0 dask==2026.1.1 anndata==0.12.19 numpy==2.4.6 pandas==2.3.3
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from spatialdata import bounding_box_query
from spatialdata.models import Image2DModel
from spatialdata.transformations import get_transformation

AXES = ("x", "y")
y, x = np.mgrid[0:400, 0:400] + 0.5
picture = Image2DModel.parse(np.exp(-((x - 200) ** 2 + (y - 200) ** 2) / 288)[None], dims=("c", "y", "x"))


def place(crop):
    """Where the crop and its own transformation say that the dot drawn at 200 is, along x."""
    shown = np.asarray(crop.data)[0]
    centre = (shown.sum(0) * (np.arange(shown.shape[1]) + 0.5)).sum() / shown.sum()
    return float((get_transformation(crop).to_affine_matrix(AXES, AXES) @ [centre, centre, 1])[0])


print("spatialdata", version("spatialdata"))
seen = {}
for start in (100.0, 100.2, 100.4, 100.5, 100.6, 100.8):
    crop = bounding_box_query(
        picture, axes=AXES, min_coordinate=[start] * 2, max_coordinate=[start + 200] * 2, target_coordinate_system="global"
    )
    seen[start] = (crop.shape[2], round(place(crop), 2))
    print(f"box from {start}: guess 200 or 201 pixels and the dot at 200.0; seen {seen[start][0]} pixels, dot at {seen[start][1]}")
assert seen == {
    100.0: (200, 200.0),
    100.2: (200, 201.0),
    100.4: (200, 201.0),
    100.5: (201, 201.0),
    100.6: (200, 200.0),
    100.8: (200, 200.0),
}, seen
print("as found")
PY
