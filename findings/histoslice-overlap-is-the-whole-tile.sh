#!/usr/bin/env bash
# In histoslice a tile overlaps with all of one that begins to the right of it or below, and tiles stick out of the slide.
#
# One would expect: get_overlap_area gives the area that two tiles share, the same from either side. get_tile_coordinates leaves out
# tiles that go out of the image, as it says and as it is by default.
# What happens: an overlap is measured from the left and upper edge of the first tile to the end of the second. Where the second begins
# later that is more than they share, cut to a whole tile. Of tiles of 100 x 100 that are 50 to the right, 50 below or both 10000 is
# shared, where it is 5000, 5000 and 2500; asked from their side it is right. For tiles at random it is right in 26 % of the pairs,
# and 1.6 times too much in all. Of the tiles that stick out the last one of each row and column is left out, where overlapping ones
# are several: of a picture of 1000 x 1000 and tiles of 256, 9 of 25 stick out with an overlap of .25, 13 of 49 with .5 and 81 of 225
# with .75, by up to 152.
# Way out: shapely's box(...).intersection(...).area, and keep the tiles with x + w <= width and y + h <= height.
# Versions: histoslice 0.6.0 of February 2026, the newest in the package index; seen on 2026-11-30.
# Why it matters: what tiles share is a weight for their predictions and a measure of leaks, and is too large on two sides. What
# sticks out of a slide is filled when it is read, so tiles at two of its borders have less tissue than those inside.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 matplotlib==3.11.2 opencv-python-headless==5.0.0.93 pillow==13.0.0 \
  polars==1.35.2 tqdm==4.70.1 shapely==2.2.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps histoslice==0.6.0
cd "$folder"
export MPLCONFIGDIR=$folder MPLBACKEND=Agg
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from histoslice.functional import get_overlap_area, get_tile_coordinates
from shapely import box

print(*(f"{name} {version(name)}" for name in ("histoslice", "shapely", "numpy")))


def shared(one, others):
    """The areas by shapely."""
    frame = box(one[0], one[1], one[0] + one[2], one[1] + one[3])
    return [box(x, y, x + w, y + h).intersection(frame).area for x, y, w, h in others]


first, others = (0, 0, 100, 100), [(50, 0, 100, 100), (0, 50, 100, 100), (50, 50, 100, 100)]
there = get_overlap_area(first, others)
back = [get_overlap_area(other, [first])[0] for other in others]
print("tiles 50 to the right, 50 below and both:", *there, "- from their side:", *back, "- right:", *shared(first, others))
assert list(there) == [10000] * 3 and list(back) == shared(first, others) == [5000, 5000, 2500]

for seed in (0, 1, 2):
    random = np.random.default_rng(seed)
    tiles = np.hstack([random.integers(0, 100, (300, 2)), np.full((300, 2), 100)])
    seen = np.array([get_overlap_area(tuple(one), tiles) for one in tiles])
    right = np.array([shared(one, tiles) for one in tiles])
    print(
        f"seed {seed}, 300 tiles at random: right in {(seen == right).mean():.0%} of the pairs, {seen.mean() / right.mean():.2f}"
        f" times as much shared, the same from both sides in {(seen == seen.T).mean():.0%}"
    )
    assert (seen >= right).all() and 0.2 < (seen == right).mean() < 0.3 and seen.mean() > 1.5 * right.mean()
    later = (tiles[:, None, :2] >= tiles[None, :, :2]).all(axis=2)
    assert (seen[later] == right[later]).all()

for side, overlap in ((256, 0.0), (256, 0.25), (256, 0.5), (256, 0.75)):
    tiles = np.array(get_tile_coordinates((1000, 1000), width=side, overlap=overlap))
    beyond = (tiles[:, :2] + side > 1000).any(axis=1)
    most = (tiles[:, :2] + side).max() - 1000
    print(
        f"1000 x 1000, tiles of {side}, overlap {overlap}: {len(tiles)}, {beyond.sum()} stick out, by {max(most, 0)} at most;"
        f" {(~beyond).sum()} left"
    )
    assert beyond.any() == (overlap > 0), beyond.sum()
assert (len(tiles), beyond.sum(), most) == (225, 81, 152)
print("as found")
PY
