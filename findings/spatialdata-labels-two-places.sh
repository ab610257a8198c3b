#!/usr/bin/env bash
# Turned into circles a segmented nucleus stays where it is; turned into polygons it moves by half a pixel and loses
# area.
#
# One would expect: to_polygons outlines the pixels of a label, so its area is their number, its centroid that of
# get_centroids and of to_circles from the same labels.
# What happens: the outline is drawn in a frame whose origin is the centre of the first pixel, not its corner, and cuts
# corners. Each polygon lies .5 pixel to the left and above; a single pixel has area .5 and reaches outside the picture,
# to -.5.
# Versions: spatialdata 0.7.3 (the newest for Python 3.11; 0.8.0 of July 2026 was not tried); seen on 2026-11-28.
# Why it matters: at a coarse level (4 um a pixel for bins) half a pixel moves transcripts and bins between neighbouring
# cells; densities per area of small nuclei are too high by up to a factor of two.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  spatialdata==0.7.3 ome-zarr==0.15.0 zarr==3.1.6 xarray==2026.9.0 dask==2026.1.1 anndata==0.12.19 numpy==2.4.6 pandas==2.3.3 \
  geopandas==1.1.4 shapely==2.2.0
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from spatialdata import get_centroids, to_circles, to_polygons
from spatialdata.models import Labels2DModel

pixels = np.zeros((20, 20), np.uint16)
pixels[4:8, 6:9] = 1  # 12 pixels, centre 7.5, 6
pixels[12, 3:10] = 2  # 7 pixels in a row, centre 6.5, 12.5
pixels[0, 0] = 3  # one pixel, centre .5, .5
labels = Labels2DModel.parse(pixels, dims=("y", "x"))
polygons, circles, centroids = to_polygons(labels), to_circles(labels), get_centroids(labels).compute()
print("spatialdata", version("spatialdata"), "geopandas", version("geopandas"))
seen = []
for row, label in enumerate((1, 2, 3)):
    own = polygons.geometry.loc[label]
    where = tuple(float(c) for c in centroids.loc[label, ["x", "y"]])
    round_one = circles.geometry.loc[label]
    assert (round_one.x, round_one.y) == where
    seen.append((own.area, tuple(float(round(b, 2)) for b in own.bounds)))
    ys, xs = np.nonzero(pixels == label)
    box = tuple(map(int, (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)))
    print(f"label {label}: guess area {len(xs)}, bounds {box}; seen {seen[row]}")
assert seen == [(11.5, (5.5, 3.5, 8.5, 7.5)), (6.5, (2.5, 11.5, 9.5, 12.5)), (0.5, (-0.5, -0.5, 0.5, 0.5))], seen
print("as found")
PY
