#!/usr/bin/env bash
# CellSegmentationEvaluator scores the same segmentation 3 or 11 by how the picture lies, as each column of pixels is standardised on its own.
#
# One would expect: the score of a segmentation without a reference asks how well the intensities of its cells fall into types. A picture and its
# mask that are turned together have the same score. Where half of the cells have one marker only and the other half another one only,
# two clusters are those halves, in a plane or in a stack.
# What happens: the z-scores of a channel come from scikit-learn's `StandardScaler`, which takes the rows of the picture for samples and its
# columns for features. Where the types lie left and right, every column has one type alone and its z-scores know nothing of it: two
# clusters agree with the types as chance does (adjusted Rand index 0) and the quality score is 2.8. Turned, the same pixels give an
# index of 1 and a score of 10.9. In a stack each pixel is standardised over depth, so cells that reach through all planes have no type.
# Way out: give it pictures in both orientations and trust no difference smaller than that between the two; or take z-scores by hand.
# Versions: CellSegmentationEvaluator 1.5.19, the newest in November 2026, scikit-learn 1.7.2; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: segmentations are ranked by this score across tissues, and a tumour beside its stroma scores by which way it lies.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  CellSegmentationEvaluator==1.5.19 aicsimageio==4.14.0 numpy==2.4.6 scipy==1.16.3 pandas==2.3.3 scikit-learn==1.7.2 \
  scikit-image==0.25.2 xmltodict==0.15.1 matplotlib==3.10.7
cd "$folder"
export MPLCONFIGDIR=$folder MPLBACKEND=Agg OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO

import numpy as np
from CellSegmentationEvaluator.functions import cell_type
from CellSegmentationEvaluator.single_method_eval import single_method_eval
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

print(*(f"{name} {version(name)}" for name in ("CellSegmentationEvaluator", "scikit-learn", "numpy")))
SIDE, STEP, DEPTH = 240, 20, 6
COUNT = SIDE // STEP
generator = np.random.default_rng(0)
cells, nuclei = np.zeros((2, SIDE, SIDE), dtype=int)
for number in range(COUNT * COUNT):
    top, left = STEP * (number // COUNT), STEP * (number % COUNT)
    margin = generator.integers(1, 3)
    cells[top + margin : top + STEP - margin, left + margin : left + STEP - margin] = number + 1
    nuclei[top + 5 : top + 15, left + 5 : left + 15] = number + 1
is_right = np.broadcast_to(np.arange(SIDE) >= SIDE // 2, (SIDE, SIDE))
picture = np.stack([100.0 * ~is_right, 100.0 * is_right, np.full((SIDE, SIDE), 40.0)]) + generator.gamma(4, 2, (3, SIDE, SIDE))


def means(channels, mask):
    """Mean intensity of each cell in each channel."""
    return np.array([[channel[mask == number].mean() for channel in channels] for number in np.unique(mask)[1:]])


def agreement(labels, mask, right):
    """Adjusted Rand index of two clusters with the side that each cell lies on."""
    return adjusted_rand_score(labels, [right[mask == number][0] for number in np.unique(mask)[1:]])


scores, indices = {}, {}
for name, turn in (("types left and right", lambda table: table), ("the same, turned", lambda table: np.swapaxes(table, -1, -2).copy())):
    turned, mask, right = turn(picture), turn(cells), turn(is_right)
    right_labels = KMeans(2, random_state=0).fit_predict(means(turned, mask))
    with redirect_stdout(StringIO()):
        labels = cell_type(mask, turned)[1]
        metrics = single_method_eval(
            {"name": name, "img": None, "data": turned[None, :, None]},
            {"img": None, "data": np.stack([mask, turn(nuclei)])[None, :, None]},
            "2Dv1.5",
            ".",
            pixelsizex=0.5,
            pixelsizey=0.5,
        )
    scores[name] = metrics["QualityScore"]
    indices[name] = agreement(labels, mask, right)
    guess = agreement(right_labels, mask, right)
    print(f"{name}: two clusters agree with types: guess {guess:.2f}, seen {indices[name]:.2f}; quality score {scores[name]:.2f}")
    assert guess == 1
assert abs(indices["types left and right"]) < 0.1 and indices["the same, turned"] == 1
assert scores["the same, turned"] > 2.5 * scores["types left and right"]
stack = np.stack([np.swapaxes(picture, 1, 2) + generator.normal(0, 2, picture.shape) for _ in range(DEPTH)], axis=1)
mask, right = np.stack([cells.T] * DEPTH), np.stack([is_right.T] * DEPTH)
guess = agreement(KMeans(2, random_state=0).fit_predict(means(stack, mask)), mask, right)
seen = agreement(cell_type(mask, stack)[1], mask, right)
print(f"a stack of {DEPTH} such planes, turned: guess {guess:.2f}, seen {seen:.2f}")
assert guess == 1 and abs(seen) < 0.2
print("as found")
PY
