#!/usr/bin/env bash
# In tissuelab-sdk a coarse level of a NIfTI picture is the finest one, read at a half or a quarter of the place that was asked for.
#
# One would expect: `NiftiImageWrapper` lists levels of half and a quarter of the sides, and `read_region` takes a place in the finest level, a level
# and a size in that level, as the readers of slides that it stands beside do. The whole of level 1 is the picture at half its size.
# What happens: the place is divided by the downsample, the pixels are then taken from the finest level, as many as were asked for. The whole of
# level 1 of a picture of 512 by 512 is its upper left quarter at full size, and the region at 256, 256 shows what lies at 128, 128. At the lower
# and right border what is left of the picture is stretched to the size asked for: a square of 16 by 16 pixels is 34 wide there.
# Way out: read level 0 no further than its border, and make it smaller by hand.
# Versions: tissuelab-sdk 0.1.14, the newest in November 2026, with nibabel 5.4.2; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: models for segmentation are run on a coarse level, and here they see a part of the picture and call it the whole.
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
from importlib.metadata import version
from tempfile import TemporaryDirectory

import nibabel
import numpy as np
from scipy.ndimage import find_objects, label
from tissuelab_sdk.wrapper import NiftiImageWrapper

print(*(f"{name} {version(name)}" for name in ("tissuelab-sdk", "nibabel")))
SIDE = 512
rows, columns = np.mgrid[:SIDE, :SIDE]


def opened(picture, folder):
    name = f"{folder}/picture.nii"
    nibabel.save(nibabel.Nifti1Image(picture.astype(np.float32)[:, :, None], np.eye(4)), name)
    return NiftiImageWrapper(name)


def read(slide, place, level, size):
    return np.asarray(slide.read_region(place, level, size))[..., 0].astype(float)


with TemporaryDirectory() as folder:
    for name, picture in (("rows", rows), ("columns", columns)):
        slide = opened(picture, folder)
        assert slide.level_dimensions[:3] == [(512, 512), (256, 256), (128, 128)]
        for level, size in ((0, 512), (1, 256), (2, 128)):
            whole = read(slide, (0, 0), level, (size, size))
            print(f"{name}, the whole of level {level}, {whole.shape[0]} wide: brightest of 255: guess 255, seen {whole.max():.0f}")
            assert abs(whole.max() - 255 / 2**level) < 2
            full = (picture / 511 * 255).astype(np.uint8)
            assert np.array_equal(whole, full[:size, :size])
        for level, place in ((1, 256), (2, 256), (2, 384)):
            first = read(slide, (place, place), level, (32, 32))[0, 0] * 511 / 255
            print(f"{name}, level {level} at {place}, {place}: what lies at: guess {place}, seen {first:.0f}")
            assert abs(first - place / 2**level) < 3

    squares = np.zeros((SIDE, SIDE))
    squares[(rows % 32 < 16) & (columns % 32 < 16)] = 1
    slide = opened(squares, folder)
    for place in ((0, 0), (392, 0), (392, 392)):
        tile = read(slide, place, 0, (256, 256))
        inside = [where for where in find_objects(label(tile > 127)[0]) if where[0].start > 0 and where[1].start > 0]
        inside = [where for where in inside if where[0].stop < 256 and where[1].stop < 256]
        heights, widths = ([where[axis].stop - where[axis].start for where in inside] for axis in (0, 1))
        left = max(1, 256 / (SIDE - place[1])), max(1, 256 / (SIDE - place[0]))
        print(
            f"squares of 16 by 16, a tile of 256 at {place[0]}, {place[1]} of {SIDE}: their height and width: guess 16, 16, "
            f"seen {np.median(heights):.0f}, {np.median(widths):.0f}"
        )
        assert abs(np.median(heights) - 16 * left[0]) < 2 and abs(np.median(widths) - 16 * left[1]) < 2
    tile = read(slide, (392, 392), 0, (SIDE - 392,) * 2)
    mended = read(slide, (0, 0), 0, (SIDE, SIDE)).reshape(SIDE // 2, 2, SIDE // 2, 2).mean(axis=(1, 3))
    assert np.array_equal(tile > 127, squares[392:, 392:] > 0) and np.allclose(mended / 255, squares.reshape(256, 2, 256, 2).mean(axis=(1, 3)))
print("as found")
PY
