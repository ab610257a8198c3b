#!/usr/bin/env bash
# "Count repeated neighbours once" in spatiomic looks at a pixel's upper left neighbour alone, and so does the p-value.
#
# One would expect: vicinity_composition(ignore_repeated=True) counts a pixel once where it is in the vicinity of several pixels
# of the same cluster, so that a rough border does not count more than a smooth one. The tutorial of the package does so. Who
# touches whom does not depend on which way a section lies on its slide.
# What happens: for every pixel all neighbours but the first in the list of offsets are dropped, whatever they are; the first
# is the one above and to the left. In a section with immune cells between an epithelium above and stroma below, 58 pixels of
# epithelium and 0 of stroma are in the vicinity of the immune cells, and 0 and 56 where the section is turned over; by hand it
# is 59 and 58 either way. Offsets given in another order give another table. Vessels that lie straight below every second
# immune cell have p = 1 with them, and .01 without ignore_repeated, where all counts are right.
# Versions: spatiomic 0.9.3, the last for Python 3.11; seen on 2026-11-29. 0.11.0 of October 2026 has the same lines in its
# source, and was not run.
# Why it matters: the vicinity graph of each group of sections is made of these tables and compared. Sections that lie
# differently have opposite edges, and a type is far from the one that it lies upon.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.4.6 pandas==2.3.3 scipy==1.16.3 scikit-learn==1.9.1 networkx==3.6.1 esda==2.9.0 libpysal==4.14.1 anndata==0.12.7 \
  joblib==1.6.0 lazy-loader==0.6 tqdm==4.70.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps spatiomic==0.9.3
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from scipy.ndimage import maximum_filter
from spatiomic.spatial import neighborhood_offset, vicinity_composition

print("spatiomic", version("spatiomic"))
names = ["stroma", "epithelium", "immune", "vessel"]
random = np.random.default_rng(1)
section = np.zeros((60, 60), dtype=int)
section[20:40], section[40:45] = 1, 2
section[random.random(section.shape) < 0.02] = 3
queen = neighborhood_offset("queen", order=1)
ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])


def by_hand(picture):
    """Pixels of one type, each once, that have a pixel of another among their eight neighbours: rows what lies in the vicinity
    of the columns, as in the table of spatiomic."""
    near = [maximum_filter((picture == kind).astype(int), footprint=ring, mode="constant") > 0 for kind in range(4)]
    table = np.array([[int((near[centre] & (picture == kind)).sum()) for centre in range(4)] for kind in range(4)])
    np.fill_diagonal(table, 0)
    return table


def by_spatiomic(picture, **options):
    table = vicinity_composition(np.ascontiguousarray(picture), **options)
    return table.reindex(index=range(4), columns=range(4)).fillna(0).to_numpy().astype(int)


turned = section[::-1, ::-1]
ways = {"as it lies": section, "turned by 180": turned, "mirrored": section[:, ::-1], "on its side": section.T}
hand = by_hand(section)
found = {}
for title, picture in ways.items():
    assert (by_hand(picture) == hand).all()
    assert (by_spatiomic(picture) == by_spatiomic(section)).all()
    found[title] = by_spatiomic(picture, ignore_repeated=True)
    around = ", ".join(f"{names[kind]} {found[title][kind, 2]}" for kind in (0, 1))
    print(f"in the vicinity of immune cells, section {title}: guess stroma {hand[0, 2]}, epithelium {hand[1, 2]}, seen {around}")
whole, part = by_spatiomic(section), by_spatiomic(section, ignore_repeated=True)
first = np.zeros((4, 4), dtype=int)
np.add.at(first, (section[:-1, :-1], section[1:, 1:]), 1)
np.fill_diagonal(first, 0)
print("equal to the neighbours above and to the left alone:", bool((part == first).all()))
print(f"without ignore_repeated: stroma {whole[0, 2]}, epithelium {whole[1, 2]}, whichever way it lies")
backwards = by_spatiomic(section, ignore_repeated=True, neighborhood_offset=queen[::-1].copy())
print(f"offsets in reverse: guess the same table, seen stroma {backwards[0, 2]}, epithelium {backwards[1, 2]}")

assert (part == first).all() and (backwards == first.T).all(), (part, backwards)
assert hand[0, 2] > 50 and hand[1, 2] > 50, hand
assert part[0, 2] == 0 and part[1, 2] > 50, part
assert found["turned by 180"][0, 2] > 50 and found["turned by 180"][1, 2] == 0, found
assert (found["turned by 180"] == part.T).all() and (part != part.T).any()

# single immune cells in stroma, and a vessel straight below every second of them
dots = np.zeros((90, 90), dtype=int)
dots[5:85:5, 5:85:5] = 2
dots[6:86:5, 5:85:10] = 3
for title, picture in (("below", dots), ("above", dots[::-1, ::-1])):
    _, p = vicinity_composition(np.ascontiguousarray(picture), permutations=99, ignore_repeated=True, n_jobs=1)
    _, right = vicinity_composition(np.ascontiguousarray(picture), permutations=99, n_jobs=1)
    seen = f"seen {p.loc[3, 2]:.2f}; without ignore_repeated {right.loc[3, 2]:.2f}"
    print(f"p of a vessel straight {title} every second immune cell: guess .01, {seen}")
    assert p.loc[3, 2] > 0.5 and right.loc[3, 2] == 0.01, (p, right)
print("as found")
PY
