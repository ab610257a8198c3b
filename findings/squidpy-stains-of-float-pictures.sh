#!/usr/bin/env bash
# squidpy's new separation of stains does not obey Beer and Lambert for pictures of floats: twice the dye counts 1.7 times.
#
# One would expect: the same picture as 8-bit and 16-bit integers and as floats from 0 to 1, all three of which it takes, has
# the same stain vectors and concentrations, and where there is twice the dye there is twice the concentration.
# What happens: absorbance is log((pixel + 1) / (white + 1)). The 1, meant for black pixels, is one of 255 or of
# 65535 for integers, and for floats as much as all the light. So concentrations of floats are a third of those of integers
# and level off, and the stain vectors are two to three degrees off, hematoxylin's ten times as far as from integers. A
# reference that was learned on integers finds more dye in the glass of a float picture than in any nucleus. The range of
# the pixels is checked, and accepted. (normalize_stains does refuse that reference; between floats it runs, on these values.)
# Versions: squidpy 1.8.2 (2026, squidpy.experimental.im.fit_stain_reference, decompose_stains);
# 1.8.3 has the same; seen on 2026-11-29.
# Why it matters: pictures that were resized or read by scikit-image are floats. Sections of one study then have stains that
# differ by how they were read, which is what normalisation is to remove.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  squidpy==1.8.2 scanpy==1.11.5 anndata==0.12.19 spatialdata==0.7.3 ome-zarr==0.15.0 zarr==3.1.6 xarray==2026.9.0 \
  dask==2026.1.1 numpy==2.4.6 pandas==2.3.3 scikit-image==0.26.0
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from spatialdata import SpatialData
from spatialdata.models import Image2DModel, Labels2DModel
from squidpy.experimental.im import decompose_stains, fit_stain_reference

print("squidpy", version("squidpy"))
random = np.random.default_rng(0)
hematoxylin, eosin = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])
hematoxylin, eosin = hematoxylin / np.linalg.norm(hematoxylin), eosin / np.linalg.norm(eosin)
chance = random.random((200, 200))
amounts = np.stack(
    [np.where(chance < 0.5, random.gamma(8, 0.12, chance.shape), 0.02), np.where(chance >= 0.4, random.gamma(8, 0.09, chance.shape), 0.02)]
)
amounts[:, :40] = 0  # glass
amounts[:, 60:70, :50] = [[[1.0]], [[0.0]]]
amounts[:, 60:70, 50:100] = [[[2.0]], [[0.0]]]  # twice as much
light = np.exp(-(amounts[0, ..., None] * hematoxylin + amounts[1, ..., None] * eosin))
tissue = np.ones((200, 200), dtype=int)
tissue[:40] = 0
kinds = {
    "8-bit": ((light * 255).round().astype(np.uint8), 255),
    "16-bit": ((light * 65535).round().astype(np.uint16), 65535),
    "float": (light.astype(np.float32), 1),
}


def section(name):
    return SpatialData(
        images={"slide": Image2DModel.parse(kinds[name][0].transpose(2, 0, 1), dims=("c", "y", "x"), c_coords=["r", "g", "b"])},
        labels={"slide_tissue": Labels2DModel.parse(tissue, dims=("y", "x"))},
    )


def angle(one, other):
    return float(np.degrees(np.arccos(min(one @ other / np.linalg.norm(one) / np.linalg.norm(other), 1))))


references, seen = {}, {}
for name in kinds:
    references[name] = fit_stain_reference(section(name), "slide", method="macenko")
    matrix = np.asarray(references[name].stain_matrix)
    maps = decompose_stains(section(name), "slide", references[name], inplace=False, output_dtype=np.float32)
    amount = np.asarray(maps["hematoxylin"])
    seen[name] = (
        angle(matrix[:, 0], hematoxylin),
        angle(matrix[:, 1], eosin),
        float(amount[60:70, 50:100].mean() / amount[60:70, :50].mean()),
        float(amount[60:70, 50:100].mean()),
    )
    print(
        f"{name}: hematoxylin {seen[name][0]:.1f} and eosin {seen[name][1]:.1f} degrees from the truth; twice the hematoxylin: guess "
        f"2, seen {seen[name][2]:.2f}; its concentration: guess alike in all three, seen {seen[name][3]:.1f}"
    )
# By hand: what log((pixel + 1) / 2) makes of one and of two shares of dye, along hematoxylin's own direction.
two = [-np.log((np.exp(-share * hematoxylin) + 1) / 2) for share in (1.0, 2.0)]
print(f"by hand, log((pixel + 1) / 2) of floats: {np.linalg.norm(two[1]) / np.linalg.norm(two[0]):.2f} times")
glass = {}
for name in ("8-bit", "float"):
    maps = decompose_stains(section(name), "slide", references["8-bit"], inplace=False, output_dtype=np.float32)
    glass[name] = [float(np.asarray(maps[stain])[:40].mean()) for stain in ("hematoxylin", "eosin")]
    print(
        f"{name} picture by the reference of the 8-bit one, glass: guess 0 of both dyes, seen {glass[name][0]:.1f} of hematoxylin, "
        f"{glass[name][1]:.1f} of eosin"
    )
assert max(seen["8-bit"][:2] + seen["16-bit"][:2]) < 1.5, seen
assert seen["float"][0] > 2 and seen["float"][1] > 1, seen
assert abs(seen["8-bit"][2] - 2) < 0.1 and abs(seen["16-bit"][2] - 2) < 0.1 and seen["float"][2] < 1.8, seen
assert seen["float"][3] < 0.6 * seen["8-bit"][3], seen
assert max(map(abs, glass["8-bit"])) < 0.5 and max(map(abs, glass["float"])) > 50, glass
print("as found")
PY
