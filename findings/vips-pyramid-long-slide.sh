#!/usr/bin/env bash
# On a long slide that libvips made into a pyramid, OpenSlide's coarse tiles lie several coarse pixels beside their place.
#
# One would expect: a region that is asked for at a coarse level begins at the place that was asked for, to half a pixel of
# that level. libvips halves exactly and drops the last column of an odd width, so level k is 1/2^k.
# What happens: OpenSlide knows the sizes of the levels alone. It takes the ratio of the widths and that of the heights,
# which differ by what was dropped, and divides places along both sides by the mean of the two. The short side's
# rounding, a few percent at a coarse level, so moves places along the long side, the further from the corner the more:
# at the fifth level of a slide of 8191 x 1023 by 3.5 pixels, 112 of level 0. A square slide is off by less than one,
# one with even sizes not at all. tiffslide says the same ratio.
# Versions: pyvips 3.2.0 with libvips 8.18.7, OpenSlide 4.0.1 through openslide-python 1.4.7, tiffslide 3.0.1 (4.0.0
# alike); seen on 2026-11-28.
# Why it matters: strips of several sections, and pyramids made from exported pictures, are of this kind. Tissue masks,
# annotations and spots found at a coarse level are written to level 0 many cells beside the tissue.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  pyvips==3.2.0 pyvips-binary==8.18.7 openslide-python==1.4.7 openslide-bin==4.0.1.2 tiffslide==3.0.1 tifffile==2026.3.3 \
  zarr==3.1.6 imagecodecs==2026.3.6 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import openslide
import pyvips
import tiffslide

libvips = ".".join(str(pyvips.version(part)) for part in range(3))
print("pyvips", version("pyvips"), "libvips", libvips, "OpenSlide", openslide.__library_version__, "tiffslide", version("tiffslide"))
seen = {}
for name, (width, height), (left, top) in (
    ("long", (8191, 1023), (7000, 500)),
    ("square", (4095, 4095), (3500, 3500)),
    ("even", (8192, 1024), (7000, 500)),
):
    y, x = np.ogrid[0:height, 0:width]
    dot = 255 * np.exp(-((x + 0.5 - left) ** 2 + (y + 0.5 - top) ** 2) / (2 * 60**2))
    picture = pyvips.Image.new_from_array(np.repeat(dot.round().astype(np.uint8)[..., None], 3, axis=2))
    picture.tiffsave(f"{name}.tif", pyramid=True, tile=True, tile_width=128, tile_height=128, compression="deflate")
    slide = openslide.OpenSlide(f"{name}.tif")
    assert tiffslide.TiffSlide(f"{name}.tif").level_downsamples == slide.level_downsamples
    for level, half in ((0, 250), (3, 50), (5, 15)):
        corner = (left - half * 2**level, top - half * 2**level)
        tile = np.asarray(slide.read_region(corner, level, (2 * half, 2 * half)))[..., 0].astype(float)
        off = (tile.sum(0) * (np.arange(2 * half) + 0.5)).sum() / tile.sum() - half
        seen[name, level] = off
        print(
            f"{width} x {height}, level {level} (downsampling said to be {slide.level_downsamples[level]:.2f}): guess the dot "
            f"in the middle, to half a pixel; seen {off:+.1f} pixels to its right, {off * 2**level:+.0f} of level 0"
        )
for (name, level), off in seen.items():
    if name == "even" or level == 0:
        assert abs(off) < 0.05, seen
    else:
        assert (3 < off < 4) if name == "long" else (0.5 < off < 0.9), seen
print("as found")
PY
