#!/usr/bin/env bash
# In rescale4dl a predicted cell that is several times too large agrees wholly with the true one, if it grows down and to the right.
#
# One would expect: `per_object_statistics` gives each true cell its intersection over union with the predicted one, and each picture its
# sensitivity: cells that are found (more than .5) by all cells. Turned pictures have the same numbers.
# What happens: both are cut to a frame around the true cell before they are compared. It is wider by half a cell above and left, and ends with the
# cell below and right, so whatever a prediction has there is not seen: one of 6.25 times the area has 1.00 and not .16, and a shift by a quarter of
# the side .56 and not .39. Turned by 180 degrees the same pictures have 0 for both. A cell counts as missed only where its frame is wholly empty:
# with half of the cells predicted at a quarter of their area the sensitivity is 1.00 and not .50, and where all are, it is not a number.
# Way out: match the labels of the whole pictures by a table of overlaps, as the script does.
# Versions: rescale4dl 0.2.3, the newest in November 2026, with scikit-image 0.25.2; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: the resolution that suffices for a segmentation is chosen by these numbers, and coarse ones give cells that are too large.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.3.5 scipy==1.16.3 pandas==2.3.3 scikit-image==0.25.2 scikit-learn==1.7.2 pypdf==6.4.0 \
  tifffile==2025.10.16 matplotlib==3.10.7 seaborn==0.13.2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps rescale4dl==0.2.3
cd "$folder"
export OMP_NUM_THREADS=1 MPLCONFIGDIR=$folder MPLBACKEND=Agg
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tifffile
from rescale4dl.metrics.metrics import per_object_statistics

print(*(f"{name} {version(name)}" for name in ("rescale4dl", "scikit-image", "pandas")))
CELLS, STEP, SIDE = 5, 60, 20


def picture(top=0, bottom=SIDE, left=0, right=SIDE, only=lambda number: True):
    """A grid of square cells, each of which lies from top to bottom and from left to right of its place, where `only` says so."""
    labels = np.zeros((CELLS * STEP + 20, CELLS * STEP + 20), dtype=np.uint16)
    for number in range(CELLS * CELLS):
        y, x = (20 + STEP * place for place in divmod(number, CELLS))
        if only(number):
            labels[y + top : y + bottom, x + left : x + right] = number + 1
    return labels


def seen(truth, prediction):
    """Mean intersection over union, sensitivity and number of missed cells as the package says."""
    with TemporaryDirectory() as folder:
        for kind, labels in (("GT", truth), ("Prediction", prediction)):
            where = Path(folder) / "cells" / "OG" / kind
            where.mkdir(parents=True)
            tifffile.imwrite(where / "one.tif", labels)
        results = Path(folder) / "results"
        results.mkdir()
        with redirect_stdout(StringIO()):
            summary, _ = per_object_statistics(str(Path(folder) / "cells"), str(results), ["OG"])
    return [float(summary[name].iloc[0]) for name in ("IoU", "Sensitivity", "false_negatives_count")]


def right(truth, prediction):
    """The same by a table of overlaps of the whole pictures; cells that are not found count 0, as in the package."""
    overlaps = np.zeros((truth.max() + 1, prediction.max() + 1))
    np.add.at(overlaps, (truth.ravel(), prediction.ravel()), 1)
    shares = overlaps / (overlaps.sum(axis=0) + overlaps.sum(axis=1)[:, None] - overlaps)
    best = shares[1:, 1:].max(axis=1)
    return best.mean(), (best > 0.5).mean(), (best <= 0.5).sum()


truth = picture()
table = {}
for kind, prediction in (
    ("the same", picture()),
    ("6.25 times the area, below and right", picture(bottom=50, right=50)),
    ("moved by 5 of 20 pixels down and right", picture(top=5, bottom=25, left=5, right=25)),
    ("every second at a quarter of the area", np.maximum(picture(only=lambda n: n % 2), picture(5, 15, 5, 15, only=lambda n: not n % 2))),
    ("all at a quarter of the area", picture(5, 15, 5, 15)),
):
    guess = right(truth, prediction)
    found = seen(truth, prediction)
    turned = seen(truth[::-1, ::-1], prediction[::-1, ::-1])
    table[kind] = guess, found, turned
    print(
        f"{kind}: intersection over union of the whole cells {guess[0]:.2f}, seen {found[0]:.2f}, turned {turned[0]:.2f}; "
        f"sensitivity by hand {guess[1]:.2f}, seen {found[1]:.2f}, turned {turned[1]:.2f}; missed by hand {guess[2]}, seen {found[2]:.0f}"
    )
assert all(np.allclose(one, (1, 1, 0)) for one in table["the same"])
guess, found, turned = table["6.25 times the area, below and right"]
assert np.isclose(guess[0], 0.16) and found[:2] == [1, 1] and turned[0] == 0
guess, found, turned = table["moved by 5 of 20 pixels down and right"]
assert guess[0] < 0.4 and 0.5 < found[0] < 0.6 and found[1] == 1 and turned[0] == 0
guess, found, _ = table["every second at a quarter of the area"]
assert np.isclose(guess[1], 12 / 25) and found[1] == 1 and guess[2] == 13 and found[2] == 0
guess, found, _ = table["all at a quarter of the area"]
assert guess[1] == 0 and np.isnan(found[1]) and found[2] == 0
print("as found")
PY
