#!/usr/bin/env bash
# In tissuelab-sdk a tile that reaches over the right or lower border of a slide shows another place, so nuclei there are moved.
#
# One would expect: `TiffFileWrapper.read_region((x, y), 0, size)` begins at x, y, as its documentation says, and what lies outside the slide is
# empty or missing, as in the package's `TiffSlideWrapper` and in tiffslide.
# What happens: the place is moved until the tile fits. On a slide of 1500 by 1000 pixels the tile of 256 at 1280, 768 shows what lies at 1244, 744,
# and one at 1400, 900 what lies at 1244, 744 too; one at -50, 0 shows 0, 0. Nothing says so. Of 600 spots that are looked for tile
# by tile 225 get coordinates beside any spot, up to 43 pixels off, all of those in the last column and row of tiles.
# Way out: ask for no more than what is left, `min(256, width - x)` and `min(256, height - y)`.
# Versions: tissuelab-sdk 0.1.14, the newest in November 2026, with tifffile 2026.3.3; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: nuclei are found tile by tile, and the last column and row of tiles gives them wrong coordinates in every slide.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.3.5 scipy==1.15.0 Pillow==12.2.0 tifffile==2026.3.3 tiffslide==3.0.1 pydicom==3.0.2 nibabel==5.4.2 zarr==3.1.5 fastslide==0.8.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps tissuelab-sdk==0.1.14
cd "$folder"
export OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import logging
from importlib.metadata import version
from tempfile import TemporaryDirectory

import numpy as np
import tifffile
from scipy.ndimage import center_of_mass, label
from scipy.spatial import cKDTree
from tissuelab_sdk.wrapper import TiffFileWrapper, TiffSlideWrapper

logging.disable(logging.CRITICAL)
print(*(f"{name} {version(name)}" for name in ("tissuelab-sdk", "tifffile", "tiffslide")))
WIDTH, HEIGHT, TILE = 1500, 1000, 256
rows, columns = np.mgrid[:HEIGHT, :WIDTH]
places = np.stack([columns % 256, rows % 256, columns // 256 * 16 + rows // 256], axis=-1).astype(np.uint8)
spots = np.stack(np.meshgrid(np.arange(25, WIDTH, 50), np.arange(25, HEIGHT, 50)), axis=-1).reshape(-1, 2)
section = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
for x, y in spots:
    section[y - 3 : y + 4, x - 3 : x + 4] = 200


def read(slide, x, y, width=TILE, height=TILE):
    return np.asarray(slide.read_region((x, y), 0, (width, height)))[..., :3]


def found(slide, sized):
    """All spots in a grid of tiles, those that a tile's side cuts left out, by the coordinates that they have there."""
    where = []
    for y in range(0, HEIGHT, TILE):
        for x in range(0, WIDTH, TILE):
            tile = read(slide, x, y, *((min(TILE, WIDTH - x), min(TILE, HEIGHT - y)) if sized else ()))
            labels, number = label(tile[..., 0] > 100)
            areas = np.bincount(labels.ravel())[1:]
            for row, column in center_of_mass(labels > 0, labels, np.flatnonzero(areas == 49) + 1):
                where.append((x + column, y + row))
    return np.array(where)


with TemporaryDirectory() as folder:
    for name, pixels in (("places", places), ("section", section)):
        tifffile.imwrite(f"{folder}/{name}.tif", pixels, tile=(256, 256), photometric="rgb")
    slide, other = TiffFileWrapper(f"{folder}/places.tif"), TiffSlideWrapper(f"{folder}/places.tif")
    for x, y in ((0, 0), (1024, 512), (1280, 768), (1400, 900), (-50, 0)):
        first = read(slide, x, y)[0, 0].astype(int)
        seen = int(first[2] // 16 * 256 + first[0]), int(first[2] % 16 * 256 + first[1])
        tile = read(other, x, y)
        begins = tile[max(-y, 0), max(-x, 0)].astype(int)
        by_other = int(begins[2] // 16 * 256 + begins[0] - max(-x, 0)), int(begins[2] % 16 * 256 + begins[1] - max(-y, 0))
        print(f"a tile at {x}, {y} begins at: guess {x}, {y}; seen {seen[0]}, {seen[1]}; by the other wrapper {by_other[0]}, {by_other[1]}")
        assert by_other == (x, y) and seen == (min(max(x, 0), WIDTH - TILE), min(max(y, 0), HEIGHT - TILE))
    slide.close(), other.close()

    slide, other = TiffFileWrapper(f"{folder}/section.tif"), TiffSlideWrapper(f"{folder}/section.tif")
    ways = (("TiffFileWrapper", slide, False), ("TiffSlideWrapper", other, False), ("TiffFileWrapper, tiles cut to size", slide, True))
    for kind, one, sized in ways:
        where = found(one, sized)
        off, _ = cKDTree(spots).query(where)
        print(f"{kind}: {len(where)} whole spots of {len(spots)}, beside any: guess 0, seen {(off > 1).sum()}, by up to {off.max():.0f} pixels")
        if kind == "TiffFileWrapper":
            last = (where[:, 0] >= WIDTH // TILE * TILE) | (where[:, 1] >= HEIGHT // TILE * TILE)
            assert not (off > 1)[~last].any() and (off > 1)[last].all()
            assert (off > 1).sum() > 100 and off.max() > 20
        else:
            assert off.max() < 0.1
    slide.close(), other.close()
print("as found")
PY
