#!/usr/bin/env bash
# In pyfeats each grey level that a picture lacks is a zone as large as the picture, so a dark picture has as high grey levels as a bright one.
#
# One would expect: the size zone matrix counts connected zones of pixels of one grey level. A picture of two halves with levels 3 and 5 has
# two zones, so its High Grey Level Zone Emphasis is (4^2 + 6^2) / 2 = 26, as the package counts levels from 1; that of levels 203 and 205 is
# 42026. The Large Zone Emphasis of noise of eight levels is 2 or 3 in pictures of any size.
# What happens: for each of 255 levels the pixels of all other levels are counted as one more zone of that level. The matrix of the two halves
# has 257 zones, 255 of which are none. The emphasis of high levels is 21633 where the levels are 3 and 5 and 21960 where they are 203 and
# 205, so it hardly knows how bright a picture is. The Large Zone Emphasis of noise is 38000 at 16 by 16 pixels and 1.3 million at 64 by 64.
# Way out: label the pixels of each level that there is and take the means by hand, as the script does for those two.
# Versions: pyfeats 1.0.1, the newest in November 2026, with numpy 2.4.6; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: all 14 features of zones are mostly of how many levels are absent and how large the crop is, so nuclei differ by size.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  pyfeats==1.0.1 numpy==2.4.6 scipy==1.17.1 scikit-image==0.26.0 matplotlib==3.11.2 mahotas==1.4.19 PyWavelets==1.9.0 \
  opencv-python==5.0.0.93
cd "$folder"
export MPLCONFIGDIR=$folder MPLBACKEND=Agg OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from pyfeats import glszm_features
from scipy.ndimage import label

print(*(f"{name} {version(name)}" for name in ("pyfeats", "numpy", "scipy")))


def seen_and_right(picture):
    """Large zone emphasis and high grey level zone emphasis, by the package and from the zones that there are, levels counted from 1."""
    values, names = glszm_features(picture, None)
    table = dict(zip(names, values, strict=True))
    levels, sizes = [], []
    for level in np.unique(picture):
        areas = np.bincount(label(picture == level)[0].ravel())[1:]
        sizes.extend(areas)
        levels.extend([level + 1] * len(areas))
    right = np.mean(np.square(sizes, dtype=float)), np.mean(np.square(levels, dtype=float))
    return (table["GLSZM_LargeZoneEmphasis"], table["GLSZM_HighGrayLevelZoneEmphasis"]), right


highs = {}
for low in (3, 203):
    picture = np.full((32, 32), low)
    picture[16:] = low + 2
    seen, right = seen_and_right(picture)
    highs[low] = seen[1]
    print(f"two halves of levels {low} and {low + 2}: high grey level zone emphasis: guess {right[1]:.0f}, seen {seen[1]:.0f}")
assert highs[3] > 20000 and 1 < highs[203] / highs[3] < 1.02
large = {}
for levels in (8, 64):
    for side in (16, 64):
        noise = np.random.default_rng(0).integers(1, levels + 1, (side, side))
        seen, right = seen_and_right(noise)
        large[levels, side] = seen[0]
        print(f"noise of {levels} levels, {side} by {side} pixels: large zone emphasis: guess {right[0]:.1f}, seen {seen[0]:.0f}")
        assert right[0] < 3 and seen[0] > 30000
assert large[8, 64] > 25 * large[8, 16]
print("as found")
PY
