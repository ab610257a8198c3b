#!/usr/bin/env bash
# The same JPEG-compressed slide has other colours at every edge when fastslide reads it.
#
# One would expect: JPEG tiles are decoded by libjpeg-turbo everywhere, so four readers give the same pixels, or differ
# by 1.
# What happens: OpenSlide, tiffslide and Pillow agree to the bit. fastslide repeats each stored colour over two by two
# pixels where the others blend neighbours, so nuclei of 7 pixels differ by up to a tenth of the range at their rim.
# Even without subsampling it is off by a few values.
# Versions: fastslide 0.8.1 (September 2026), openslide-python 1.4.7 with openslide-bin 4.0.1.2, tiffslide 3.0.1, pillow
# 13.0.0; seen on 2026-11-28.
# Why it matters: 4:2:0 is what most scanners write. Features of a frozen trunk, cached with one reader and compared
# with those of another, differ for no reason in the tissue; a faster reader is not a drop-in replacement within one
# study.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  fastslide==0.8.1 openslide-python==1.4.7 openslide-bin==4.0.1.2 tiffslide==3.0.1 tifffile==2026.3.3 imagecodecs==2026.3.6 \
  zarr==3.1.6 numpy==2.4.6 pillow==13.0.0
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import fastslide
import numpy as np
import openslide
import tifffile
import tiffslide
from PIL import Image

random = np.random.default_rng(0)
stain = np.full((512, 512, 3), (235, 190, 215), float)  # eosin, with nuclei of haematoxylin on it
y, x = np.mgrid[0:512, 0:512]
for cx, cy in random.uniform(0, 512, (1500, 2)):
    stain[np.hypot(x - cx, y - cy) < 3.5] = (95, 60, 140)
to_ycc = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
ycc = np.clip(stain @ to_ycc.T + (0, 128, 128), 0, 255).round().astype(np.uint8)
print({name: version(name) for name in ("fastslide", "openslide-python", "tiffslide", "pillow")})
seen = {}
for subsampling in ((1, 1), (2, 2)):
    with tifffile.TiffWriter("slide.tif") as file:
        file.write(
            ycc, tile=(256, 256), photometric="ycbcr", compression="jpeg", compressionargs={"level": 90},
            subsampling=subsampling, metadata=None,
        )
    read = {
        "openslide": np.asarray(openslide.OpenSlide("slide.tif").read_region((0, 0), 0, (512, 512)))[..., :3],
        "tiffslide": np.asarray(tiffslide.TiffSlide("slide.tif").read_region((0, 0), 0, (512, 512))),
        "pillow": np.asarray(Image.open("slide.tif").convert("RGB")),
        "fastslide": fastslide.FastSlide.from_file_path("slide.tif").read_region((0, 0), 0, (512, 512)).numpy(),
    }
    assert abs(read["openslide"].astype(float) - stain).mean() < 12  # the picture is there
    for name, pixels in read.items():
        away = abs(pixels.astype(int) - read["openslide"])
        seen[subsampling, name] = int(away.max()), round(float(away.mean()), 2)
        print(f"subsampling {subsampling}, {name} against OpenSlide: guess 0 or 1, seen {seen[subsampling, name]} (most, mean)")
for subsampling in ((1, 1), (2, 2)):
    assert seen[subsampling, "tiffslide"] == seen[subsampling, "pillow"] == (0, 0.0), seen
assert 2 <= seen[(1, 1), "fastslide"][0] <= 12, seen
assert seen[(2, 2), "fastslide"][0] >= 20, seen
print("as found")
PY
