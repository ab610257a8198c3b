#!/usr/bin/env bash
# In LazySlide smoothed features show where the tissue has gaps and ends: a flat feature is not flat, and noise has domains at the border.
#
# One would expect: spatial smoothing gives each tile the mean of its own features and of its neighbours', so that a feature that is 1 in
# all tiles stays 1, at borders too, and the first component of smoothed noise has nothing to do with where tissue ends.
# What happens: rows of the matrix of neighbours are divided by their sums, and then it is applied from the other side. A tile's weights are
# shares of its neighbours' sums, and add up to more than 1 inside and less at the ends. On a full square of 20 by 20 tiles a flat
# feature becomes .83 to 1.1, and where three of ten tiles are left out .5 to 1.5 or so. As features of networks are not around 0, all of
# them get that factor: of 50 independent features of noise around 5, where three of ten tiles are left out, the first component after
# scaling has 80 % of the variance and follows the factor at 1.00; with right means it has 7 % and follows nothing.
# Way out: smooth by hand with the same graph, (A + I) X over the sums of the rows of A + I, as the script does.
# Versions: lazyslide 0.13.0 and wsidata 0.12.0 of October 2026 with spatialdata 0.7.3; seen on 2026-11-30.
# Why it matters: spatial domains are clusters of that layer. Borders, holes and sparse tissue become domains of their own.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  spatialdata==0.7.3 anndata==0.12.19 numpy==2.4.6 pandas==2.3.3 scipy==1.17.1 scikit-learn==1.9.1 numba==0.68.1 geopandas==1.2.0 \
  shapely==2.2.0 rich==15.0.0 opencv-python-headless==5.0.0.93 openslide-bin==4.0.1.2 openslide-python==1.4.7 tifffile==2026.3.3
# without torch, which networks alone need
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps wsidata==0.12.0 lazyslide==0.13.0
cd "$folder"
export MPLCONFIGDIR=$folder MPLBACKEND=Agg NUMBA_CACHE_DIR=$folder OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import importlib
import sys
import types
from importlib.metadata import distribution, version

import geopandas as gpd
import numpy as np
import pandas as pd
import tifffile
from anndata import AnnData
from scipy.sparse import identity
from shapely.geometry import box
from spatialdata.models import ShapesModel
from wsidata import open_wsi

for name in ("lazyslide", "lazyslide.tools", "lazyslide.preprocess"):  # their folders, without running what they import
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [str(distribution("lazyslide").locate_file(name.replace(".", "/")))]
tile_graph = importlib.import_module("lazyslide.preprocess._graph").tile_graph
spatial_features = importlib.import_module("lazyslide.tools._spatial_features").spatial_features

print(*(f"{name} {version(name)}" for name in ("lazyslide", "wsidata", "spatialdata", "numpy")))
SIDE, TILE, FEATURES = 20, 16, 50
tifffile.imwrite("slide.tif", np.full((SIDE * TILE, SIDE * TILE, 3), 200, np.uint8), tile=(64, 64), photometric="rgb")


def smoothed(places, features):
    slide = open_wsi("slide.tif", store=None, attach_thumbnail=False)
    squares = [box(x * TILE, y * TILE, (x + 1) * TILE, (y + 1) * TILE) for y, x in places]
    slide.shapes["tiles"] = ShapesModel.parse(gpd.GeoDataFrame({"tile_id": range(len(places)), "tissue_id": 0}, geometry=squares))
    slide.tables["made_tiles"] = AnnData(features.astype(np.float32), obs=pd.DataFrame(index=[str(one) for one in range(len(places))]))
    tile_graph(slide)
    spatial_features(slide, "made")
    around = slide.tables["tiles_graph"].obsp["spatial_connectivities"] + identity(len(places))
    return slide.tables["made_tiles"].layers["spatial_features"], np.asarray(around @ features) / np.asarray(around.sum(axis=1))


def first_component(values, factor):
    """Its share of the variance of scaled features, and how it follows what became of a flat one."""
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    left, sizes, _ = np.linalg.svd(scaled, full_matrices=False)
    return sizes[0] ** 2 / (sizes**2).sum(), abs(np.corrcoef(left[:, 0], factor)[0, 1])


everywhere = np.argwhere(np.ones((SIDE, SIDE), dtype=bool))
for seed in (0, 1, 2):
    random = np.random.default_rng(seed)
    for kind, places in (("full square", everywhere), ("three of ten left out", everywhere[random.random(len(everywhere)) > 0.3])):
        features = np.concatenate([np.ones((len(places), 1)), 5 + random.normal(size=(len(places), FEATURES))], axis=1)
        seen, right = smoothed(places, features)
        share, follows = first_component(seen[:, 1:], seen[:, 0])
        right_share, right_follows = first_component(right[:, 1:], seen[:, 0])
        print(
            f"seed {seed}, {kind}: a flat feature: guess 1, seen {seen[:, 0].min():.2f} to {seen[:, 0].max():.2f}; first component of noise: guess"
            f" {right_share:.0%} of the variance, following that at {right_follows:.2f}, seen {share:.0%} and {follows:.2f}"
        )
        assert np.allclose(right[:, 0], 1) and right_share < 0.15 and right_follows < 0.35
        assert seen[:, 0].min() < (0.84 if kind == "full square" else 0.7) and seen[:, 0].max() > (1.09 if kind == "full square" else 1.3)
        assert kind == "full square" or (share > 0.6 and follows > 0.95)
print("as found")
PY
