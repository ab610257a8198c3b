#!/usr/bin/env bash
# In koopa cells in the middle of a picture that is not square are removed as if they touched its border.
#
# One would expect: `remove_border_objects` removes what touches a side of the picture. A cell that is far from all sides stays, and whether it
# does is the same when the picture is cropped to a square around it.
# What happens: the four numbers of a cell's box are compared with 0, height and width alike, rows and columns not told apart. In a picture of 200
# rows and 600 columns each cell whose box begins or ends at column 200 is removed, however far from all sides. In a grid that has a column of cells
# there the whole column is lost; of cells at random places one in 457. In square pictures nothing of it is seen.
# Way out: `skimage.segmentation.clear_border`, as the script does.
# Versions: koopa 0.0.25, the newest in November 2026, with scikit-image 0.25.2; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: cells are counted, and their spots, so a field of a camera that is not square always lacks the cells along one line.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.3.5 scipy==1.16.3 scikit-image==0.25.2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps koopa==0.0.25
cd "$folder"
export OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from koopa.segment_cells_threshold import remove_border_objects
from skimage.segmentation import clear_border

print(*(f"{name} {version(name)}" for name in ("koopa", "scikit-image")))


def kept(labels):
    return set(np.unique(labels)) - {0}


def grid(height, width, size=20, step=40):
    """Square cells with their upper left corners every 40 pixels, from 40 on, so that none touches a side."""
    labels = np.zeros((height, width), dtype=int)
    for y in range(step, height - size - 1, step):
        for x in range(step, width - size - 1, step):
            labels[y : y + size, x : x + size] = labels.max() + 1
    return labels


for height, width, lost in ((200, 200, 0), (200, 600, 4), (600, 200, 4), (240, 600, 5)):
    labels = grid(height, width)
    inside = kept(clear_border(labels))
    found = kept(remove_border_objects(labels))
    gone = np.isin(labels, list(inside - found))
    places = "" if not gone.any() else f" in rows {np.flatnonzero(gone.any(1))[[0, -1]]} and columns {np.flatnonzero(gone.any(0))[[0, -1]]}"
    print(
        f"{height} rows, {width} columns, {labels.max()} cells, none at a side: guess {len(inside)} kept, seen {len(found)}; "
        f"lost {len(inside - found)}{places}"
    )
    assert len(inside) == labels.max() and len(inside - found) == lost
    if lost:
        square = labels[: min(height, width), : min(height, width)]
        assert kept(remove_border_objects(square)) == kept(clear_border(square))

generator = np.random.default_rng(0)
inner = lost = 0
for _ in range(40):
    labels = np.zeros((200, 600), dtype=int)
    for number in range(1, 200):
        y, x = generator.integers(0, 186), generator.integers(0, 586)
        if not labels[max(0, y - 1) : y + 15, max(0, x - 1) : x + 15].any():
            labels[y : y + 14, x : x + 14] = number
    inside = kept(clear_border(labels))
    inner, lost = inner + len(inside), lost + len(inside - kept(remove_border_objects(labels)))
print(f"cells at random places in 40 pictures of 200 by 600: {inner} touch no side; lost of them: guess 0, seen {lost}, one in {inner / lost:.0f}")
assert lost == 10
print("as found")
PY
