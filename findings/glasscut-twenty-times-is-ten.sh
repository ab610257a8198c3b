#!/usr/bin/env bash
# In GlassCut a tile at 20x of a common Aperio slide is one at 10x, and a tile at 10x one at 2.5x.
#
# One would expect: `Slide.magnifications` lists the magnifications that a slide has, and `extract_tile` at one of them gives a tile of it. A
# slide of 40x whose levels are 1, 4 and 16 times smaller, as many Aperio slides are, has 40x, 10x and 2.5x. Squares of 64 pixels of
# level 0 are 32 pixels wide at 20x and 16 at 10x, and a request for 20x, which the slide does not have, is an error, as documented.
# What happens: level n is taken for one that is 2**n times smaller, whatever the file says. The slide has "40x, 20x, 10x"; the squares are 16
# pixels wide at "20x" and 4 at "10x". `GridTiler` steps by the same rule, so tiles at "20x" overlap by half on each side and each pixel
# is seen four times, and each tile is accepted or refused by the tissue in a quarter of what it shows.
# Way out: compare `slide.magnifications` with OpenSlide's `level_downsamples` first, and read other slides with OpenSlide (seen below).
# Versions: glasscut 0.1.0a1, the newest in November 2026, with openslide-python 1.4.3; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: a data set at "20x" has tiles of 20x from some scanners and of 10x from others.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.3.5 scipy==1.16.3 scikit-image==0.25.2 pillow==12.0.0 tifffile==2025.10.16 imageio==2.37.2 networkx==3.6.1 lazy-loader==0.4 packaging==25.0 \
  openslide-python==1.4.3 openslide-bin==4.0.0.13 orjson==3.11.8 plotly==6.7.0 narwhals==2.13.0 pooch==1.9.0 tqdm==4.67.3 opencv-python-headless==4.13.0.92
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps glasscut==0.1.0a1
cd "$folder"
export OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import tifffile
from glasscut import GridTiler, Slide
from openslide import OpenSlide

print(*(f"{name} {version(name)}" for name in ("glasscut", "openslide-python")))
SIDE, SQUARE, TILE = 4096, 64, 256
rows, columns = np.mgrid[:SIDE, :SIDE]
picture = np.full((SIDE, SIDE, 3), 230, np.uint8)
picture[((rows // SQUARE + columns // SQUARE) % 2).astype(bool)] = (150, 80, 150)


def write(name, factors):
    """A slide in Aperio's manner whose levels are smaller by these factors."""
    with tifffile.TiffWriter(name) as file:
        for factor in factors:
            level = np.ascontiguousarray(picture[factor // 2 :: factor, factor // 2 :: factor])
            size = f"{level.shape[1]}x{level.shape[0]}"
            text = f"Aperio Image Library v12\r\n{SIDE}x{SIDE} [0,0 {size}] (256x256) |AppMag = 40|MPP = 0.25"
            file.write(level, description=text, tile=(256, 256), photometric="rgb", metadata=None)


def width(tile):
    """The most frequent width in pixels of a square."""
    edges = np.flatnonzero(np.diff(np.asarray(tile)[2, :, 1].astype(int)))
    return int(np.bincount(np.diff(edges)).argmax())


for name, factors in (("two.svs", (1, 2, 4)), ("four.svs", (1, 4, 16))):
    write(name, factors)
    truth = OpenSlide(name)
    right = [40 / factor for factor in truth.level_downsamples]
    slide = Slide(name, use_cucim=False)
    print(f"levels {factors} times smaller: magnifications: guess {right}, seen {slide.magnifications}")
    for said in slide.magnifications:
        seen = width(slide.extract_tile((0, 0), (TILE, TILE), said).image)
        print(f"  a square of {SQUARE} pixels at {said:g}x: guess {SQUARE * said / 40:g} pixels, seen {seen}, which is {40 * seen / SQUARE:g}x")
        if factors == (1, 2, 4):
            assert seen == SQUARE * said / 40
    boxes = GridTiler(tile_size=(TILE, TILE), magnification=20, min_tissue_ratio=0, show_progress=False).get_tile_boxes(slide)
    covered = len(boxes) * (TILE * truth.level_downsamples[1]) ** 2 / SIDE**2
    print(f"  tiles at 20x: {len(boxes)}; times that a pixel of the slide is shown: guess 1, seen {covered:.1f}")
    if factors == (1, 4, 16):
        assert right == [40, 10, 2.5] and slide.magnifications == [40, 20, 10] and covered > 3.5
        assert [width(slide.extract_tile((0, 0), (TILE, TILE), said).image) for said in (40, 20, 10)] == [64, 16, 4]
        level = right.index(10)
        assert width(truth.read_region((0, 0), level, (TILE, TILE)).convert("RGB")) == SQUARE * 10 / 40
    else:
        assert right == slide.magnifications and covered == 1
print("as found")
PY
