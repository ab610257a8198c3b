#!/usr/bin/env bash
# In wsiradiomics intensities at a coarse level of a slide are those of a place nearer to its corner.
#
# One would expect: `compute_cell_features` takes outlines in pixels of the finest level, and with `slide_level` it measures the same cells at a
# coarser one: 100 flat cells of different brightness have the same means at each level.
# What happens: a cell's place is divided by the downsample of the level, and then given to a reader that takes places of the finest level, as its
# own does and OpenSlide's. So it is measured at half its place at level 1 and at a quarter at level 2: one and two of 100 cells have their own
# mean, and the means correlate at .03 and -.07 with those at level 0. Shapes are right.
# Way out: `slide_level` 0; or a reader whose `read_region` multiplies the place by the downsample first, as in the script.
# Versions: wsiradiomics 0.2.0, the newest in November 2026, with tifffile 2025.5.10; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: coarse levels are what makes a slide of a million cells quick to measure, and nothing tells that other places were. (The reader
# of its YAML files knows no `slide_level`, so only who calls the function meets it.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.2.6 pandas==2.3.3 scipy==1.16.3 scikit-image==0.25.2 shapely==2.1.2 pyyaml==6.0.3 tifffile==2025.5.10 pillow==12.0.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps wsiradiomics==0.2.0
cd "$folder"
export MPLCONFIGDIR=$folder OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import tifffile
from wsiradiomics.io.slide import open_slide
from wsiradiomics.pipeline.cell_features import compute_cell_features

print(*(f"{name} {version(name)}" for name in ("wsiradiomics", "tifffile", "scikit-image")))
SIDE, STEP = 1600, 160
generator = np.random.default_rng(0)
picture = np.full((SIDE, SIDE, 3), 240, dtype=np.uint8)
angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
cells, bright = [], []
for row in range(SIDE // STEP):
    for column in range(SIDE // STEP):
        middle = np.array([column, row]) * STEP + STEP // 2
        value = int(generator.integers(20, 200))
        picture[middle[1] - 72 : middle[1] + 72, middle[0] - 72 : middle[0] + 72] = value
        bright.append(value)
        outline = middle + 48 * np.column_stack([np.cos(angle), np.sin(angle)])
        cells.append({"polygon_xy": [(float(x), float(y)) for x, y in outline], "cell_type": "one"})
with tifffile.TiffWriter("slide.tif") as file:
    file.write(picture, tile=(256, 256), subifds=2, photometric="rgb")
    for factor in (2, 4):
        file.write(picture[::factor, ::factor], tile=(256, 256), subfiletype=1, photometric="rgb")
slide = open_slide("slide.tif")
assert [round(one) for one in slide.level_downsamples] == [1, 2, 4]


class Placed:
    """The same slide, which takes places of the level that is read."""

    level_downsamples, level_dimensions, level_count = slide.level_downsamples, slide.level_dimensions, slide.level_count

    def read_region(self, place, level, size):
        return slide.read_region(tuple(int(round(one * self.level_downsamples[level])) for one in place), level, size)


def means(slide, level):
    """The mean of each cell and its area."""
    config = {"cell_features": {"firstorder": ["Mean"], "shape": ["PixelSurface"]}, "slide_level": level}
    rows = compute_cell_features(slide, cells, config)
    return np.array([(row["Mean"], row["PixelSurface"]) for row in rows]).T


bright = np.array(bright)
for level in range(3):
    (seen, areas), (mended, _) = means(slide, level), means(Placed(), level)
    right, agree = (np.abs(seen - bright) < 1).mean(), np.corrcoef(seen, bright)[0, 1]
    print(
        f"100 cells at level {level}: means that are right: guess 100 %, seen {right:.0%}, "
        f"with places of the level {(np.abs(mended - bright) < 1).mean():.0%}; "
        f"correlation with what is right: guess 1.00, seen {agree:.2f}; cells as bright as glass: guess 0, seen {int((seen > 210).sum())}"
    )
    assert (np.abs(mended - bright) < 1).all() and np.ptp(areas) < 1e-6
    assert (right == 1) if level == 0 else (right < 0.1 and agree < 0.4)
print("as found")
PY
