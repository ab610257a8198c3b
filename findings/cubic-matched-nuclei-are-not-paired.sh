#!/usr/bin/env bash
# In cubic the morphology of matched nuclei is correlated in the order of their labels, so matches are not used as pairs.
#
# One would expect: `morphology_correlations` takes the matches of `compute_matches`, pairs of a label of the truth and one of the prediction, and
# says for each feature how the nuclei of a pair agree. The same segmentation with its labels numbered anew has 1 for all of them.
# What happens: the matches only choose which nuclei take part; then the first of the truth stands beside the first of the prediction, by label.
# With 36 nuclei numbered anew the area has -.26 to .09, and -.20 where one side counts row by row and the other column by column.
# Besides, features are measured in the order of the alphabet and named in the order asked for: area is given for solidity and the reverse.
# Way out: give the prediction the labels of its matches first, and name features in the order of the alphabet, as the script does.
# Versions: cubic 0.8.0, the newest in November 2026, with scikit-image 0.25.2; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: a segmentation model is called bad at shape because it counts its nuclei from another corner.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.3.5 scipy==1.16.3 scikit-image==0.25.2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps cubic==0.8.0
cd "$folder"
export OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from cubic.metrics import morphology_correlations
from cubic.metrics.average_precision import compute_matches
from scipy.ndimage import binary_erosion
from skimage.draw import ellipse
from skimage.measure import regionprops_table

print(*(f"{name} {version(name)}" for name in ("cubic", "numpy", "scikit-image")))
FEATURES = ["area", "eccentricity", "solidity"]
generator = np.random.default_rng(0)
SIDE, STEP = 6, 50
COUNT = SIDE * SIDE
truth = np.zeros((SIDE * STEP, SIDE * STEP), dtype=int)
for number in range(COUNT):
    y, x = divmod(number, SIDE)
    inside = ellipse(25 + STEP * y, 25 + STEP * x, *generator.uniform(8, 22, 2), rotation=generator.uniform(0, 3))
    truth[inside] = number + 1


def seen(prediction, features=FEATURES, limit=0.1):
    matches = compute_matches(truth, prediction, [limit])
    found = morphology_correlations(truth, prediction, features, [limit], matches)[limit]
    return matches[limit], {name: float(value) for name, value in found.items()}


def by_pairs(prediction, pairs):
    """The correlation of each feature over the pairs, by scikit-image and numpy."""
    tables = [regionprops_table(one, properties=["label", *FEATURES]) for one in (truth, prediction)]
    rows = [np.searchsorted(table["label"], labels) for table, labels in zip(tables, pairs, strict=True)]
    return {name: float(np.corrcoef(tables[0][name][rows[0]], tables[1][name][rows[1]])[0, 1]) for name in FEATURES}


def text(values):
    return ", ".join(f"{name} {value:.2f}" for name, value in values.items())


_, same = seen(truth)
print(f"the same labels: guess 1 for all, seen {text(same)}")
assert min(same.values()) > 0.999
areas = []
for turn in range(5):
    numbers = np.r_[0, generator.permutation(COUNT) + 1]
    pairs, found = seen(numbers[truth])
    right = by_pairs(numbers[truth], pairs)
    areas.append(found["area"])
    assert len(pairs[0]) == COUNT and min(right.values()) > 0.999 and max(map(abs, found.values())) < 0.7
    if not turn:
        print(f"labels numbered anew, {len(pairs[0])} matches: by pairs {text(right)}; seen {text(found)}")
print(f"area in five such numberings: guess 1.00, seen {min(areas):.2f} to {max(areas):.2f}")
assert max(map(abs, areas)) < 0.6

# the prediction counts the nuclei column by column
back = np.r_[0, np.arange(COUNT).reshape(SIDE, SIDE).T.ravel() + 1][truth]
pairs, found = seen(back)
print(f"labels counted column by column: by pairs {text(by_pairs(back, pairs))}; seen {text(found)}")
assert max(map(abs, found.values())) < 0.7
mended = np.zeros(back.max() + 1, dtype=int)
mended[pairs[1]] = pairs[0]
_, found = seen(mended[back])
print(f"the same with the labels of the matches: seen {text(found)}")
assert min(found.values()) > 0.999

# the same labels, and borders that are worn off by as much as chance says
worn = np.zeros_like(truth)
for number in range(1, COUNT + 1):
    worn[binary_erosion(truth == number, iterations=int(generator.integers(1, 7)))] = number
pairs, found = seen(worn)
_, turned = seen(worn, FEATURES[::-1])
right = by_pairs(worn, pairs)
print(f"worn borders: by pairs {text(right)}; seen {text(found)}; asked for in reverse: {text(turned)}")
assert all(np.isclose(found[name], right[name]) for name in FEATURES)
assert np.isclose(turned["area"], right["solidity"]) and np.isclose(turned["solidity"], right["area"])
assert abs(right["area"] - right["solidity"]) > 0.1
print("as found")
PY
