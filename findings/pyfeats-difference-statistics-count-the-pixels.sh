#!/usr/bin/env bash
# In pyfeats the grey level difference statistics grow with the number of pixels, their entropy is negative, and the background counts too.
#
# One would expect: contrast, angular second moment, entropy and mean of the differences between neighbouring pixels are of the
# shares of the differences, as in Weszka's paper that the package names: noise of sixteen levels has a mean of 5.3, a
# contrast of 42.5 and an entropy of 2.6 in a picture of any size, and a nucleus does not depend on what lies around it.
# What happens: the counts are never divided by their sum. The mean is 1270 in 16 by 16 pixels and 5.6 million in 1024 by 1024, contrast grows as much, the
# angular second moment with the square, and the entropy is -760 to -12 million. Pixels inside the mask whose neighbour lies
# outside are compared with it all the same: a flat disk of level 100 has a contrast of 0 on a background of 100 and 490000 on one of 0.
# Way out: divide the counts by hand, as the script does, and leave out the rim of the mask.
# Versions: pyfeats 1.0.1, the newest in November 2026, with numpy 2.4.6; seen on 2026-12-01. No report of either was found upstream.
# Why it matters: the five features are the size of a nucleus and how dark the glass is; classifiers of texture learn that.
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
from pyfeats import glds_features

print(*(f"{name} {version(name)}" for name in ("pyfeats", "numpy")))
NAMES = ["GLDS_Homogeneity", "GLDS_Contrast", "GLDS_ASM", "GLDS_Entopy", "GLDS_Mean"]


def right(picture, mask):
    """Contrast, second moment, entropy and mean of the shares of differences inside the mask, over four directions."""
    rows = []
    for down, across in ((0, 1), (1, 1), (1, 0), (1, -1)):
        tops = slice(0, picture.shape[0] - down), slice(max(0, -across), picture.shape[1] - max(0, across))
        ends = slice(down, picture.shape[0]), slice(max(0, across), picture.shape[1] - max(0, -across))
        both = mask[tops] & mask[ends]
        shares = np.bincount(np.abs(picture[tops] - picture[ends])[both]) / both.sum()
        size, some = np.arange(len(shares)), shares[shares > 0]
        rows.append((shares @ size**2, shares @ shares, -some @ np.log(some), shares @ size))
    return np.mean(rows, axis=0)


def both(picture, mask):
    """The same four by the package and by shares."""
    values, names = glds_features(picture, mask.astype(int))
    assert names == NAMES
    return np.array(values)[1:], right(picture, mask)


means = {}
for side in (16, 64, 256, 1024):
    noise = np.random.default_rng(0).integers(0, 16, (side, side))
    seen, guess = both(noise, np.ones(noise.shape, dtype=bool))
    means[side] = seen
    text = ", ".join(f"{name} {one:.3g} and {other:.3g}" for name, one, other in zip(("contrast", "second moment", "entropy", "mean"), guess, seen, strict=True))
    print(f"noise of {side} by {side} pixels, guess and seen: {text}")
    assert 30 < guess[0] < 50 and 2 < guess[2] < 3 and 4.5 < guess[3] < 6
assert means[1024][3] > 3000 * means[16][3] and means[1024][0] > 3000 * means[16][0] and all(one[2] < -500 for one in means.values())
rows, columns = np.mgrid[:100, :100]
disk = (rows - 50) ** 2 + (columns - 50) ** 2 <= 20**2
contrasts = {}
for background in (100, 0, 255):
    seen, guess = both(np.where(disk, 100, background), disk)
    contrasts[background] = seen[0]
    print(f"flat disk of level 100 on {background}: contrast: guess {guess[0]:.0f}, seen {seen[0]:.0f}")
    assert guess[0] == 0
assert contrasts[100] == 0 and contrasts[0] > 1e5 and contrasts[255] > 2 * contrasts[0]
print("as found")
PY
