#!/usr/bin/env bash
# In qubalab an image of labels made from objects has each of them one row and one column too large, and eats the neighbours.
#
# One would expect: `ImageFeature.create_from_label_image` turns labels into polygons along the pixels' sides, and `LabeledImageServer` draws
# polygons as labels, so labels come back as they were, and at a downsample of 8 a square of 16 pixels has 2 by 2 pixels.
# What happens: the polygon's far sides are drawn as pixels too. A square of 8 pixels comes back with 9 by 9 (81 instead of 64), a nucleus of one
# pixel with four, and of two that touch the one drawn later takes a column of the other: 110 and 121 pixels instead of 100 and 100. It is one
# pixel of the level, so at a downsample of 8 the square has more than twice its area, and an annotation reaches 8 pixels over its border.
# Way out: `rasterio.features.rasterize` of the same polygons.
# Versions: qubalab 0.2.1, the newest in November 2026, with Pillow 11.3.0; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: such images are what a network is trained on from QuPath's annotations, and what overlaps are counted with.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.3.5 Pillow==11.3.0 shapely==2.1.2 rasterio==1.4.4 geojson==3.2.0 dask==2025.11.0 dask-image==2025.11.0 pandas==2.3.3 scipy==1.15.0 \
  imageio==2.37.2 py4j==0.10.9.9 tifffile==2025.10.16 bioio==3.6.0 bioio-base==3.5.0 tiffslide==3.0.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps qubalab==0.2.1
cd "$folder"
export OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from qubalab.images.labeled_server import LabeledImageServer
from qubalab.images.metadata.image_metadata import ImageMetadata
from qubalab.images.metadata.image_shape import ImageShape
from qubalab.images.metadata.pixel_calibration import PixelCalibration
from qubalab.objects import ImageFeature
from rasterio.features import rasterize
from rasterio.transform import Affine

print(*(f"{name} {version(name)}" for name in ("qubalab", "Pillow", "rasterio")))
SIDE = 64
picture = ImageMetadata("picture", "picture", (ImageShape(SIDE, SIDE),), PixelCalibration(), False, np.uint8)


def drawn(features, downsample=1):
    return LabeledImageServer(picture, features, downsample=downsample).read_region(downsample=downsample)[0]


def by_hand(features, downsample=1):
    shapes = [(feature.geometry, number) for number, feature in enumerate(features, 1)]
    return rasterize(shapes, out_shape=(SIDE // downsample,) * 2, transform=Affine.scale(downsample))


def areas(labels):
    return np.bincount(labels.ravel())[1:]


nuclei = np.zeros((SIDE, SIDE), dtype=np.uint8)
for number, (row, column) in enumerate(np.ndindex(4, 4), 1):
    nuclei[row * 14 + 4 : row * 14 + 12, column * 14 + 4 : column * 14 + 12] = number
pixel = np.zeros_like(nuclei)
pixel[10, 10] = 1
disk = (np.add.outer((np.arange(SIDE) - 32) ** 2, (np.arange(SIDE) - 32) ** 2) <= 100).astype(np.uint8)
for name, labels in (("16 squares of 8 by 8", nuclei), ("a nucleus of one pixel", pixel), ("a disk", disk)):
    features = ImageFeature.create_from_label_image(labels)
    seen, mended = areas(drawn(features)), areas(by_hand(features))
    print(f"{name}: pixels of each: guess {areas(labels).mean():.0f}, seen {seen.mean():.0f}; by rasterio {mended.mean():.0f}")
    assert np.array_equal(mended, areas(labels)) and (seen > areas(labels)).all()
    if name.startswith("16"):
        assert (seen == 81).all() and np.array_equal(drawn(features)[4:13, 4:13] == 1, np.ones((9, 9), dtype=bool))
assert areas(drawn(ImageFeature.create_from_label_image(pixel)))[0] == 4

touching = np.zeros_like(nuclei)
touching[10:20, 10:20], touching[10:20, 20:30] = 1, 2
features = ImageFeature.create_from_label_image(touching)
seen, mended = areas(drawn(features)), areas(by_hand(features))
print(f"two that touch, 10 by 10 each: guess [100 100], seen {seen}; by rasterio {mended}")
assert sorted(seen) == [110, 121] and np.array_equal(mended, [100, 100])

square = np.zeros_like(nuclei)
square[16:32, 16:32] = 1
features = ImageFeature.create_from_label_image(square)
for downsample in (1, 2, 4, 8):
    seen, mended = (areas(draw(features, downsample))[0] * downsample**2 for draw in (drawn, by_hand))
    print(f"a square of 16 by 16 at a downsample of {downsample}: its area in full pixels: guess 256, seen {seen}; by rasterio {mended}")
    assert seen == (16 + downsample) ** 2 and mended == 256
print("as found")
PY
