#!/usr/bin/env bash
# In wsi-patching cells are put into the patch where most corners of their outline are, and the first corner counts twice.
#
# One would expect: `AddAnnotationFromGeoJSON` assigns each outline to the patch its centroid falls into, as its documentation says. A rectangle from 59 to 71
# over two patches of 64 pixels has its middle at 65 and belongs to the second, wherever its outline is begun.
# What happens: the "centroid" is the mean of the corners, and a closed ring, as GeoJSON asks for, has its first corner twice. Begun at the left the
# rectangle's is 63.8 and it goes to the first patch, begun at the right 66.2. A cell whose outline has more corners on one side,
# such as a drop with one round and one pointed end, leans to that side: its middle is at 66.1, the mean of its corners at 56.6.
# Way out: `shapely.geometry.shape(feature["geometry"]).centroid`, written back as a Point feature.
# Versions: wsi-patching 0.5.5, the newest in December 2026; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: counts of cells per patch, and labels made of them, change with the corner at which a program began to trace.
# The stage is loaded without the package's __init__, which asks for torch, and with a stand-in for webdataset, which writes tiles.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile shapely==2.1.2 \
  wsi-patching==0.5.5 numpy==2.4.6 fastslide==0.8.1 opencv-python-headless==4.13.0.92 orjson==3.13.0 pillow==12.0.0 rtree==1.4.1 webdataset==1.0.2
cd "$folder"
export OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import importlib.util
import json
import sys
import types
from importlib.metadata import version

import numpy as np
from shapely.geometry import mapping, shape

package = types.ModuleType("wsi_patching")
package.__path__ = list(importlib.util.find_spec("wsi_patching").submodule_search_locations)
sys.modules["wsi_patching"], sys.modules["webdataset"] = package, types.ModuleType("webdataset")
from wsi_patching.annotations.add_annotation_from_geojson import AddAnnotationFromGeoJSON
from wsi_patching.core.types.types import CollatedPatchBatch
from wsi_patching.utils.meta_typing import PipelineContext

print(*(f"{name} {version(name)}" for name in ("wsi-patching", "shapely")))


def patch_of(geometry):
    """Which of two patches of 64 pixels side by side an outline is given to."""
    with open("cells.geojson", "w") as file:
        json.dump({"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {"cell": 1}, "geometry": geometry}]}, file)
    stage = AddAnnotationFromGeoJSON({"slide": "cells.geojson"})
    stage.attach_context(PipelineContext(use_gpu=False, tile_size=64))
    batch = CollatedPatchBatch("slide", np.array([[0, 0], [64, 0]]), np.zeros((2, 64, 64, 3), np.uint8), False, (128, 64))
    cells = next(iter(stage([batch]))).metadata.get_all_row_wise()
    return [len(row["annotations"]) for row in cells].index(1)


def rectangle(left, right, first):
    corners = [(left, 20), (left, 40), (right, 40), (right, 20)]
    ring = corners[first:] + corners[:first]
    return {"type": "Polygon", "coordinates": [[list(one) for one in [*ring, ring[0]]]]}


angles = np.linspace(np.pi / 2, 3 * np.pi / 2, 25)
half = np.stack([60 + 8 * np.cos(angles), 30 + 8 * np.sin(angles)], axis=1).tolist()
drop = {"type": "Polygon", "coordinates": [[*half, [90.0, 30.0], half[0]]]}
begun = {"at the left": rectangle(59, 71, 0), "at the right": rectangle(59, 71, 2)}
for name, geometry in [*((f"a rectangle begun {words}", one) for words, one in begun.items()), ("a drop", drop)]:
    middle, corners = shape(geometry).centroid.x, np.mean(geometry["coordinates"][0], axis=0)[0]
    print(f"{name}: middle {middle:.1f}, mean of its corners {corners:.1f}; guess patch {int(middle >= 64)}, seen patch {patch_of(geometry)}")
seen = [patch_of(one) for one in (*begun.values(), drop)]
middles = [shape(one).centroid.x for one in (*begun.values(), drop)]
assert all(one > 64 for one in middles) and seen == [0, 1, 0], (middles, seen)
mended = [patch_of(mapping(shape(one).centroid)) for one in (*begun.values(), drop)]
print(f"as points: {mended}")
assert mended == [1, 1, 1]
print("as found")
PY
