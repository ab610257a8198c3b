#!/usr/bin/env bash
# lotsofcells finds more of every cell type in the section that has more cells, and significantly so.
#
# One would expect: the test of proportions compares which share of a section's cells each type is. Two sections of one
# composition have a fold change of 0 and no significant type, however many cells each has; a type whose share is halved has
# a fold change below 0. So the package in R that it is a port of, and its documentation: pseudocounts, transformation and
# fold change "mirror the R sources exactly", and percent_in_LABEL is "the percentage of each subtype for each LABEL".
# What happens: counts are divided by the sum over the sections, not over the types: the share of a type's cells that lie in
# the one section. R divides by the other one. So of 80000 and 20000 cells with one composition percent_in is
# 80 and 20 for each type, all fold changes are 1.25 and 17 of 20 types are significant; a type whose share was halved
# in the larger section is up. The null is drawn with the square roots of the numbers of cells and
# is shifted by less, so that p is wrong with the fold change. Two sections of the same size are compared rightly.
# Versions: lotsofcells 0.6.0 (July 2026, lots_of_cells with two labels); lotsOfCells in R by its source, not run; seen on 2026-11-29.
# Why it matters: sections differ in size, and so do measured and predicted cells of one section. Every type that is found in
# the larger one looks enriched there, and by how much says how much larger it is.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  lotsofcells==0.6.0 anndata==0.12.19 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 matplotlib==3.11.2 joblib==1.6.0 zarr==3.1.6
cd "$folder"
export MPLBACKEND=Agg MPLCONFIGDIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import lotsofcells
import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

print("lotsofcells", version("lotsofcells"))
random = np.random.default_rng(0)
types, shares = list("UVWXY"), np.array([0.4, 0.3, 0.15, 0.1, 0.05])
halved = np.array([0.425, 0.325, 0.15, 0.05, 0.05])  # X is half as common


def cells(numbers, compositions):
    drawn = [random.choice(types, number, p=given) for number, given in zip(numbers, compositions)]
    return pd.DataFrame({"section": np.repeat(["one", "two"], numbers), "cell_type": np.concatenate(drawn)})


def change(counts):
    """log2 of the ratio of arcsine square roots of what share of its section each type is, with half a cell added."""
    share = (counts + 0.5) / ((counts + 0.5).sum(1, keepdims=True) + 1)
    return np.log2(np.arcsin(np.sqrt(share[0])) / np.arcsin(np.sqrt(share[1])))


def by_hand(table):
    counts = pd.crosstab(table["section"], table["cell_type"])[types].to_numpy()
    first = random.multivariate_hypergeometric(counts.sum(0), counts[0].sum(), size=999)  # labels of sections shuffled
    null = np.stack([change(np.stack([one, counts.sum(0) - one])) for one in first])
    p = ((abs(null) >= abs(change(counts))).sum(0) + 1) / 1000
    return change(counts), false_discovery_control(p)


def by_package(table, seed):
    result = lotsofcells.lots_of_cells(
        table, "section", "cell_type", ["one", "two"], permutations=300, seed=seed, plot=False, verbose=False
    ).loc[types]
    return result["groupFC"].to_numpy(), result["p.adj"].to_numpy(), result["percent_in_one"].to_numpy()


seen = {}
for name, numbers, first in (
    ("same composition, same size", (20000, 20000), shares),
    ("same composition, four times the cells", (80000, 20000), shares),
    ("X halved in the larger one", (80000, 20000), halved),
):
    hand, package = [], []
    for seed in range(4):
        table = cells(numbers, (first, shares))
        hand.append(by_hand(table))
        package.append(by_package(table, seed))
    folds = np.mean([made[0] for made in hand], axis=0), np.mean([made[0] for made in package], axis=0)
    found = [float(np.mean([made[1] < 0.05 for made in some])) for some in (hand, package)]
    percent = np.mean([made[2] for made in package], axis=0)
    seen[name] = folds, found, percent
    print(f"{name}, {numbers[0]} and {numbers[1]} cells:")
    print(f"  mean fold change: guess {np.round(folds[0], 2)} (by hand), seen {np.round(folds[1], 2)}")
    print(f"  significant: guess {found[0]:.0%} (by hand), seen {found[1]:.0%}; percent_in_one seen {np.round(percent, 2)}, shares {first}")
folds, found, percent = seen["same composition, same size"]
assert abs(folds[1]).max() < 0.15 and found[1] < 0.2, seen
folds, found, percent = seen["same composition, four times the cells"]
assert abs(folds[0]).max() < 0.1 and found[0] < 0.2, seen
assert folds[1].min() > 1 and found[1] > 0.7 and abs(percent - 0.8).max() < 0.03, seen
folds, found, percent = seen["X halved in the larger one"]
assert folds[0][3] < -0.4 and folds[1][3] > 0.4, seen
print("as found")
PY
