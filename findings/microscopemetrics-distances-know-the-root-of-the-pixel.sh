#!/usr/bin/env bash
# In microscopemetrics a distance between spots is multiplied by the root of the pixel's size.
#
# One would expect: `compute_distances_matrix` gives for each spot of one channel the nearest one of another channel and its distance, with
# `pixel_size` in its unit. Two spots that are 2 pixels of .1 um apart are .2 um apart, and lie nearer than two that are 1 plane of .3 um apart.
# What happens: the sizes are given to scipy's `cdist` as weights, which multiply squares. 2 pixels of .1 um are .63 um, and the same in nanometres
# 20 nm instead of 200; the three parts of the distance stay in pixels. With planes of .3 um the nearest spot is another one for 20 % of
# 500 spots at random, and a limit of .5 um keeps 4 pairs instead of 51.
# Way out: multiply the positions by the pixel's size first, and give none.
# Versions: microscopemetrics 0.2.4, the newest in November 2026, with scipy 1.16.3; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: the shift between channels is what is measured on such spots, and it comes out three times too large, or ten times too small.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.2.6 pandas==2.3.3 scipy==1.16.3 scikit-image==0.25.2 microscopemetrics-schema==0.0.5
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps microscopemetrics==0.2.4
cd "$folder"
export MPLCONFIGDIR=$folder OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from microscopemetrics.analyses.tools import compute_distances_matrix
from scipy.spatial import cKDTree

print(*(f"{name} {version(name)}" for name in ("microscopemetrics", "scipy")))


def seen(one, other, limit, size=None):
    """The rows from the first channel to the second."""
    table = compute_distances_matrix([one, other], limit, size)
    return table[(table.channel_a == 0) & (table.channel_b == 1)] if len(table) else table


first, second = np.array([[5.0, 50, 50]]), np.array([[5.0, 52, 50]])
for unit, size in (("pixels", (1, 1, 1)), ("um", (0.3, 0.1, 0.1)), ("nm", (300, 100, 100))):
    row = seen(first, second, 1e9, size).iloc[0]
    mended = seen(first * size, second * size, 1e9).iloc[0]
    print(
        f"two spots 2 pixels apart, pixels of {size[1]} {unit}: distance: guess {2 * size[1]:.3g}, seen {row.dist_3d:.3g}, with positions in {unit} "
        f"{mended.dist_3d:.3g}; its part along y: seen {row.y_dist:.3g}"
    )
    assert np.isclose(row.dist_3d, 2 * np.sqrt(size[1])) and np.isclose(mended.dist_3d, 2 * size[1])

generator = np.random.default_rng(0)
size = np.array([0.3, 0.1, 0.1])
one, other = (generator.random((500, 3)) * (20, 200, 200) for _ in range(2))
distances, nearest = cKDTree(other * size).query(one * size)
rows = seen(one, other, 1e9, tuple(size)).set_index("labels_a").sort_index()
mended = seen(one * size, other * size, 1e9).set_index("labels_a").sort_index()
wrong = (rows.labels_b.to_numpy() != nearest).mean()
print(
    f"500 spots at random in two channels, pixels of .1 um and planes of .3 um: another nearest spot: guess 0 %, seen {wrong:.0%}; median distance: "
    f"guess {np.median(distances):.2f}, seen {rows.dist_3d.median():.2f}, with positions in um {mended.dist_3d.median():.2f}"
)
assert wrong > 0.1 and (mended.labels_b.to_numpy() == nearest).all() and np.allclose(mended.dist_3d, distances)
assert rows.dist_3d.median() > 2.5 * np.median(distances)
for limit in (0.5, 1.0):
    kept, right = len(seen(one, other, limit, tuple(size))), int((distances < limit).sum())
    print(f"the same, pairs nearer than {limit} um: guess {right}, seen {kept}")
    assert kept < right / 3
print("as found")
PY
