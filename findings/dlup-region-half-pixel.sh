#!/usr/bin/env bash
# dlup's read_region does not return the slide's pixels, not even at full resolution: all is moved by half a pixel.
#
# One would expect: a region at scaling 1 is a copy of the pixels, and a nucleus lies where it lies, at any scaling.
# What happens: the last step resizes the crop, to its own size too, with a kernel that is centred half an output pixel
# off. At scaling 1 no pixel of a random picture survives but by chance; the content lies .5 pixel right and down, at
# 1/4 half a coarse pixel, 2 of level 0. Its OpenSlide, tifffile and fastslide backends give the same.
# Versions: dlup 0.9.4 (August 2026) with fimage-python 0.1.2; seen on 2026-11-28.
# Why it matters: tiles around spots are blurred and displaced against those of other readers, and a mask or nucleus
# found in them is written back beside itself, by half a micron at 10x.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  dlup==0.9.4 fimage-python==0.1.2 openslide-python==1.4.7 openslide-bin==4.0.1.2 tifffile==2026.3.3 imagecodecs==2026.3.6 \
  numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import openslide
import tifffile
from dlup import SlideImage


def write(name, pixels):
    with tifffile.TiffWriter(name) as file:
        for factor in (1, 2, 4):
            side = 1024 // factor
            level = pixels.reshape(side, factor, side, factor, 3).mean((1, 3)).round().astype(np.uint8)
            file.write(
                level, tile=(256, 256), photometric="rgb", compression="deflate", subfiletype=int(factor > 1),
                resolution=(20000, 20000), resolutionunit="CENTIMETER", metadata=None,
            )  # fmt: skip


def region(slide, scaling, start, side):
    return np.asarray(slide.read_region((start * scaling, start * scaling), scaling, (side, side)))


random = np.random.default_rng(0).integers(0, 255, (1024, 1024, 3)).astype(np.uint8)
write("random.tif", random)
copied = np.asarray(openslide.OpenSlide("random.tif").read_region((400, 400), 0, (200, 200)))[..., :3]
same = float((region(SlideImage.from_file_path("random.tif"), 1.0, 400, 200) == random[400:600, 400:600]).mean())
y, x = np.mgrid[0:1024, 0:1024] + 0.5
dot = 255 * np.exp(-((x - 500) ** 2 + (y - 500) ** 2) / 800)
write("dot.tif", np.repeat(dot[..., None], 3, axis=2))
slide = SlideImage.from_file_path("dot.tif")
print("dlup", version("dlup"), "fimage-python", version("fimage-python"), "openslide-python", version("openslide-python"))
print(f"pixels kept at scaling 1: guess all, seen {same:.1%}; OpenSlide {(copied == random[400:600, 400:600]).mean():.0%}")
seen = {}
for factor in (1, 2, 4):
    shown = region(slide, 1 / factor, 400, 200 // factor)[..., 0].astype(float)
    centre = (shown.sum(0) * (np.arange(shown.shape[1]) + 0.5)).sum() / shown.sum()
    seen[factor] = round(float(400 + centre * factor), 1)
    print(f"scaling 1/{factor}: guess the dot at 500.0, seen {seen[factor]}")
assert same < 0.02, same
assert (copied == random[400:600, 400:600]).all()
assert seen == {1: 500.5, 2: 501.0, 4: 502.0}, seen
print("as found")
PY
