#!/usr/bin/env bash
# In MorphLink the distances between nuclei count each nucleus as its own neighbour and leave the last one out.
#
# One would expect: `Extract_CC_Features` summarises the distances between each two nuclei of a patch (`dis`) by median, standard deviation and
# quantiles. The smallest is that of the two nearest, and for nuclei thrown at random the median does not depend on how many there are.
# What happens: the upper triangle is taken one row too small and with its diagonal, so each nucleus but the last counts with a distance of 0
# to itself, and no distance to the last is there. The smallest distance is 0 in every patch, and the median rises with the number of
# nuclei: 0 for three, where it should be 96 pixels, 28 for four and 77 for ten instead of 107 and 89. The last may lie anywhere without a change.
# Way out: `scipy.spatial.distance.pdist` of the centroids, which `Extract_CC_Features_each_CC` gives.
# Versions: MorphLink 1.0.7, the newest in November 2026, with pandas 2.2.3; torch and what else takes no part stay out; seen on 2026-12-01.
# No report of it was found upstream.
# Why it matters: distances are the features that say how nuclei lie, they are linked with genes, and they are the number of nuclei.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==1.26.4 pandas==2.2.3 scipy==1.15.0 scikit-learn==1.6.1 matplotlib==3.10.0 scikit-image==0.25.2 scanpy==1.9.7 anndata==0.10.5 \
  numba==0.68.1 opencv-python-headless==4.11.0.86
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps MorphLink==1.0.7
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder MPLBACKEND=Agg OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import sys
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist

for name in ("torch", "staintools", "slideio", "imutils"):
    sys.modules[name] = MagicMock()
from MorphLink.extract_hancraft_features_util import Extract_CC_Features

print(*(f"{name} {version(name)}" for name in ("MorphLink", "pandas", "scikit-image")))
PATCHES, SIDE = 20, 200
NAMES = [f"c0_dis_{name}" for name in ("median", "std", "q0", "q100")]
down, across = np.mgrid[:SIDE, :SIDE]
generator = np.random.default_rng(0)


def painted(middles):
    """A picture of round nuclei with their numbers."""
    picture = np.zeros((SIDE, SIDE), dtype=int)
    for number, (row, column) in enumerate(middles, 1):
        picture[(down - row) ** 2 + (across - column) ** 2 <= 36] = number
    return picture


def thrown(count):
    """Middles of nuclei at random that do not touch, in whole pixels so that they are the centroids too."""
    middles = []
    while len(middles) < count:
        one = generator.integers(10, SIDE - 10, 2)
        if all(np.hypot(*(one - other)) > 18 for other in middles):
            middles.append(one)
    return np.array(middles)


def seen(patches):
    """The summary of distances by the package, a row for each patch."""
    info = pd.DataFrame(index=[f"patch {number}" for number in range(len(patches))])
    with redirect_stdout(StringIO()):
        return Extract_CC_Features(np.array([painted(one) for one in patches])[None], info, [0])[NAMES].to_numpy()


def right(patches):
    """The same by all pairs of nuclei."""
    pairs = [pdist(one) for one in patches]
    return np.array([(np.median(one), one.std(), one.min(), one.max()) for one in pairs])


medians = []
for count in (3, 4, 6, 10, 20, 40):
    patches = [thrown(count) for _ in range(PATCHES)]
    found, guess = seen(patches).mean(axis=0), right(patches).mean(axis=0)
    text = ", ".join(f"{name[7:]} {one:.0f} and {other:.0f}" for name, one, other in zip(NAMES, guess, found, strict=True))
    print(f"{PATCHES} patches of {count} nuclei at random, distances in pixels, guess and seen: {text}")
    medians.append(found[0])
    assert 75 < guess[0] < 120 and guess[2] > 18 and found[2] == 0
assert medians[0] == 0 and medians == sorted(medians) and medians[1] < 45
first = thrown(6)
changes = []
for which in range(6):
    moved = first.copy()
    moved[which] = np.array([10, 10]) if np.hypot(*(first[which] - 10)) > 60 else np.array([190, 190])
    before, after = seen([first, moved])
    difference = np.abs(np.subtract(*right([first, moved]))).max()
    changes.append(np.abs(after - before).max())
    print(f"nucleus {which + 1} of 6 is moved to a corner: largest change of the four numbers: guess {difference:.0f}, seen {changes[-1]:.0f}")
    assert difference > 1
assert changes[-1] == 0 and min(changes[:-1]) > 0
print("as found")
PY
