#!/usr/bin/env bash
# Geary's C of counts depends on the integer type they are stored in: noise becomes perfect spatial order.
#
# One would expect: C of total counts thrown at random is 1, whether they are 16-bit, 32-bit or floating, as Moran's I is
# the same for all of them; esda makes deviations from the mean in floating point first.
# What happens: it does so for the denominator alone. The differences between neighbours are taken and squared in the type
# that was given. Above 255 the square of a 16-bit difference wraps around, above 46340 that of a 32-bit one, and 8-bit
# values wrap at 16. The numerator is far too small, C falls to .002 and the analytic z-score to -54. The permutation
# test wraps alike and sees nothing.
# Versions: esda 2.9.0 and libpysal 4.14.1, as in 2.10.0 and 4.15.1; scanpy 1.11.5 is right; seen on 2026-11-28.
# Why it matters: counts, stain intensities and label pictures are kept as small integers to save space. Measured counts
# then look structured and their predictions, floating numbers, do not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  esda==2.9.0 libpysal==4.14.1 scanpy==1.11.5 anndata==0.12.19 numba==0.68.1 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 \
  scikit-learn==1.9.1 geopandas==1.2.0 shapely==2.2.0
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import esda
import numpy as np
import scanpy
from libpysal.weights import KNN

random = np.random.default_rng(0)
graph = KNN.from_array(random.uniform(0, 100, (1000, 2)), k=6)
totals = random.negative_binomial(2, 2 / 4002, 1000).clip(0, 32000)
few = random.poisson(20, 1000)
print("esda", version("esda"), "libpysal", version("libpysal"), "scanpy", version("scanpy"))
print(f"totals of {totals.min()} to {totals.max()} a spot, and counts of {few.min()} to {few.max()}, both at random")
seen = {}
for name, values, kind in (
    ("totals", totals, "float64"),
    ("totals", totals, "int32"),
    ("totals", totals, "uint16"),
    ("totals", totals, "int16"),
    ("totals times 10", totals * 10, "int32"),
    ("counts", few, "float64"),
    ("counts", few, "uint8"),
    ("counts", few, "int8"),
):
    given = values.astype(kind)
    assert (given == values).all()
    geary = esda.Geary(given, graph, permutations=0)
    moran = esda.Moran(given, graph, permutations=0).I
    scanpys = scanpy.metrics.gearys_c(graph.sparse.tocsr(), given)
    seen[name, kind] = round(float(geary.C), 3), round(float(scanpys), 3)
    print(
        f"{name} as {kind}: guess C near 1; seen {geary.C:.3f}, z {geary.z_norm:.0f}; scanpy {scanpys:.3f}; Moran's I {moran:.3f}"
    )
assert all(0.9 < scanpys < 1.1 for _, scanpys in seen.values()), seen
for right in (("totals", "float64"), ("totals", "int32"), ("counts", "float64")):
    assert 0.9 < seen[right][0] < 1.1, seen
assert seen["totals", "uint16"][0] < 0.01, seen
assert seen["totals", "int16"][0] < 0.01, seen
assert seen["totals times 10", "int32"][0] < 0.9, seen
assert seen["counts", "uint8"][0] < 0.95, seen
assert seen["counts", "int8"][0] < 0.6, seen
print("as found")
PY
