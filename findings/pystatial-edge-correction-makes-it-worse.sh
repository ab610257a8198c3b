#!/usr/bin/env bash
# The edge correction of pystatial goes the wrong way: cells at random avoid each other, more so beside larger radii.
#
# One would expect: Kontextual gives L, which is 0 for two types at random. A cell near the border has part of its circle
# outside, so its neighbours count for more: edge_correct=True, as it is by default, brings L from below 0 back to 0.
# What happens: neighbours of cells near the border count for less, down to a hundredth, so the cells that see too few others
# see fewer still. In 20 random sections of 1 mm L at a radius of 100 um is -4 without the correction and -11 with it; with each
# count divided by the share of its circle that is inside, by hand, it is 0. How wide the border is follows the largest radius
# of the call: at 50 um L is -3 when asked for alone and -10 beside a radius of 200. The conditional value, 3 at 100 um without
# the correction, is 43 with it.
# Versions: pystatial 0.1.2 of May 2026 (Kontextual, its curve calls the same); seen on 2026-11-29. Not run: Statial in R.
# Why it matters: the sign of L is read as attraction or avoidance, and small fields, as of imaging mass cytometry, are mostly
# border. Sections of other sizes, or calls with other radii, cannot be compared.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.4.6 pandas==2.3.3 scipy==1.17.1 scikit-learn==1.8.0 anndata==0.12.19 zarr==3.1.6
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps pystatial==0.1.2  # scanpy is not used
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import pandas as pd
import statial
from scipy.spatial import cKDTree

print("pystatial", version("pystatial"))
random = np.random.default_rng(0)
side, cells = 1000.0, 2000
steps = np.arange(2000) + 0.5  # points that fill a circle evenly
turn, far = steps * np.pi * (3 - np.sqrt(5)), np.sqrt(steps / 2000)
circle = np.stack([far * np.cos(turn), far * np.sin(turn)], axis=1)


def by_hand(places, kinds, radius):
    """L of A to B, each count divided by the share of the circle around the cell that lies in the section."""
    one, two = places[kinds == "A"], places[kinds == "B"]
    count = cKDTree(two).query_ball_point(one, radius, return_length=True)
    around = one[:, None] + radius * circle
    share = ((around > 0) & (around < side)).all(axis=-1).mean(axis=1)
    return np.sqrt((count / share).sum() * side**2 / (len(one) * len(two)) / np.pi) - radius


def by_statial(places, kinds, radii, correct):
    table = pd.DataFrame({"x": places[:, 0], "y": places[:, 1], "cellType": kinds, "imageID": "section"})
    result = statial.Kontextual(
        table, r=radii, from_types="A", to_types="B", parent=["B", "C"], window="square", edge_correct=correct
    )
    return result.set_index("r")[["original", "kontextual"]].astype(float)


radii = (25, 50, 100)
rows = []
for _ in range(20):
    places = random.uniform(0, side, (cells, 2))
    kinds = random.choice(["A", "B", "C"], cells)
    for radius in radii:
        off, on = (by_statial(places, kinds, radius, correct).loc[radius] for correct in (False, True))
        beside = by_statial(places, kinds, [radius, 200], True).loc[radius, "original"]
        hand = by_hand(places, kinds, radius)
        rows.append((radius, hand, off["original"], on["original"], beside, off["kontextual"], on["kontextual"]))
names = ["radius", "hand", "off", "on", "beside", "conditional off", "conditional on"]
table = pd.DataFrame(rows, columns=names)
means = table.groupby("radius").mean()
for radius, row in means.iterrows():
    print(
        f"L of two types at random, radius {radius}: guess 0 with the correction; seen {row['off']:.1f} without it, "
        f"{row['on']:.1f} with it, {row['beside']:.1f} with it beside a radius of 200; by hand {row['hand']:.1f}"
    )
last = table[table["radius"] == 100]
below = {name: int((last[name] < 0).sum()) for name in ("on", "hand")}
print(f"sections of 20 with L below 0 at 100: guess about half; seen {below['on']}, by hand {below['hand']}")
print(
    f"conditional value at 100: guess as near to 0 with the correction; seen {means.loc[100, 'conditional off']:.0f} without, "
    f"{means.loc[100, 'conditional on']:.0f} with it"
)
assert (means["hand"].abs() < 0.6).all(), means
assert means.loc[100, "on"] < 2 * means.loc[100, "off"] < -6, means
assert (last["on"] < -5).all(), last
assert (means["beside"] < means["on"] - 3).all(), means
assert means.loc[100, "conditional on"] > 5 * means.loc[100, "conditional off"], means
print("as found")
PY
