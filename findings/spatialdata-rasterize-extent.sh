#!/usr/bin/env bash
# spatialdata.rasterize does not cover the box it was asked for, unless the scale stays the same.
#
# One would expect: a picture rasterized from 0 to 400 at a tenth of its resolution has 40 pixels whose extent is 0 to
# 400, so that pixel 0 shows the middle of the first ten.
# What happens: the grid is laid by the corners of pixels and read by their centres. Pixel 0 shows the place .5, not 5;
# the extent is -4.5 to 395.5. Enlarging moves it the other way (.25 to 400.25). The transformation attached says so,
# and is right.
# Versions: spatialdata 0.7.3 (the newest for Python 3.11; 0.8.0 of July 2026 was not tried); seen on 2026-11-28.
# Why it matters: who rasterizes to the grid of bins (say 16 um from a picture of .5 um) and pairs pixel i with bin i is
# off by half a bin, the same way everywhere, and no correlation tells.
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
from spatialdata import get_extent, rasterize
from spatialdata.models import Image2DModel

y, x = np.mgrid[0:400, 0:400] + 0.5
picture = Image2DModel.parse(np.exp(-((x - 200) ** 2 + (y - 200) ** 2) / 288)[None], dims=("c", "y", "x"))
print("spatialdata", version("spatialdata"))
seen = {}
for scale in (2, 1, 0.5, 0.25, 0.1):
    raster = rasterize(
        picture, ["x", "y"], [0, 0], [400, 400], target_coordinate_system="global", target_unit_to_pixels=scale
    )
    shown = np.asarray(raster.data)[0]
    dot = (shown.sum(0) * (np.arange(shown.shape[1]) + 0.5)).sum() / shown.sum() / scale
    low, high = (float(round(edge, 2)) for edge in get_extent(raster)["x"])
    seen[scale] = (low, high, round(float(dot), 1))
    print(f"{scale} pixels a unit: guess 0 to 400, dot at 200.0 of the box; seen {low} to {high}, dot at {seen[scale][2]}")
assert seen == {
    2: (0.25, 400.25, 199.5),
    1: (0.0, 400.0, 200.0),
    0.5: (-0.5, 399.5, 200.5),
    0.25: (-1.5, 398.5, 201.5),
    0.1: (-4.5, 395.5, 204.5),
}, seen
print("as found")
PY
