#!/usr/bin/env bash
# In spatools every two clusters of about one size are neighbours more often than by chance, in noise and where they lie apart.
#
# One would expect: z_score sets the links seen between two clusters beside those expected from their sizes. With clusters at
# random it is about 0; its README says that above 0 they are neighbours more often than by chance, below 0 they exclude each
# other.
# What happens: the share of links that is seen is one of the links between different clusters, all of which add up to 1. The
# share expected is 2 p q, which adds up to 1 only together with links within a cluster. So what is expected is too small: with
# three clusters at random 0.22 where 0.33 is seen, and z is 21 for every pair; with five it is 6, for two it is 68. Two
# clusters that fill a half of the section each, with one line of contact, are at +13, as the one pair that there is has all
# the links between clusters. The sizes, too, are counted from these links alone: of a cluster of 70 % and two rare ones at
# random, the rare ones are at 41 and 21 with the common one and at -9 with each other.
# With shares expected from the numbers of spots, divided by their sum, three and more clusters at random are at 0, and the
# shares that are seen are those of shuffled labels. For two clusters links within them are needed to say anything.
# Versions: spatools 0.41.5 of August 2026, the newest in the package index; seen on 2026-11-30.
# Why it matters: the matrix of these numbers is drawn as which domains are neighbours, and whatever is above 0 in it is read
# as attraction. Chance itself is anywhere from -9 to 68, by how many clusters there are and how large they are.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.4.6 pandas==2.3.3 scipy==1.17.1 anndata==0.12.19 scanpy==1.11.5 matplotlib==3.11.2 seaborn==0.13.2 mygene==3.2.2 \
  pmenu_lib==1.2.2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps spatools==0.41.5
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import contextlib
import io
from importlib.metadata import version

import numpy as np
import spatools as st
from anndata import AnnData

print(*(f"{name} {version(name)}" for name in ("spatools", "anndata", "numpy", "pandas")))
side, sections, shuffles = 40, 10, 50
down, along = np.mgrid[:side, :side]
place = np.stack([(along + down % 2 / 2).ravel() * 100, (down * 3**0.5 / 2).ravel() * 100], axis=1)


def table(labels):
    """What spatools makes of spots that lie in hexagons, 100 um apart."""
    data = AnnData(np.zeros((len(labels), 1), dtype="float32"))
    data.obsm["spatial"], data.obs["cluster"], data.obs["batch"] = place, labels.astype(str), "one"
    with contextlib.redirect_stdout(io.StringIO()):
        st.tl.correlate_distances(data, cluster_col="cluster")
        st.tl.z_score(data)
    (seen,) = data.uns["z-score"].values()
    return seen.set_index("combination")


def by_sizes(seen, labels):
    """z against the same links, from how many spots each cluster has; each link stands twice in the table."""
    spots = np.bincount(labels)
    pairs = np.array([spots[one] * spots[other] for one, other in seen.index], dtype=float)
    share = pairs / pairs.sum()
    links = seen["count"].sum() / 2
    return (seen["proportion_observed"] - share) / np.sqrt(share * (1 - share) / links)


found = {}
print(f"clusters at random, mean over {sections} sections; expected: about 0 for each pair")
mixtures = {"three of one size": [1 / 3] * 3, "five of one size": [0.2] * 5, "a common, two rare": [0.7, 0.2, 0.1]}
for name, shares in mixtures.items():
    seen, right = [], []
    for seed in range(sections):
        labels = np.random.default_rng(seed).choice(len(shares), side * side, p=shares)
        numbers = table(labels)
        seen.append(numbers["Z_score"])
        right.append(by_sizes(numbers, labels))
    found[name] = np.mean(seen, axis=0), np.mean(right, axis=0)
    print(f"  {name}: seen", *np.round(found[name][0], 1), "by sizes", *np.round(found[name][1], 1))
assert (found["three of one size"][0] > 15).all() and (found["five of one size"][0] > 4).all(), found
assert found["a common, two rare"][0][0] > 35 and found["a common, two rare"][0][1] > 15, found
assert found["a common, two rare"][0][2] < -5, found
assert all(np.abs(right).max() < 1 for _, right in found.values()), found

# shuffled labels are what chance is, without any formula
labels = np.random.default_rng(0).choice(3, side * side)
seen = table(labels)
chance = [table(np.random.default_rng(seed).permutation(labels))["proportion_observed"] for seed in range(1, shuffles + 1)]
print("three of one size, share of links, one section: seen", *np.round(seen["proportion_observed"], 3))
print("  shuffled", *np.round(np.mean(chance, axis=0), 3), "expected by spatools", *np.round(seen["proportion_expected"], 3))
assert np.abs(seen["proportion_observed"] - np.mean(chance, axis=0)).max() < 0.015
assert (np.mean(chance, axis=0) - seen["proportion_expected"]).min() > 0.09

halves = (place[:, 0] > place[:, 0].mean()).astype(int)
apart = table(halves).loc[[(0, 1)]].iloc[0]
mixed = table(np.random.default_rng(0).permutation(halves)).loc[[(0, 1)]].iloc[0]
print("two clusters, a half of the section each; expected: far below 0 apart, about 0 mixed")
print(f"  apart ({apart['count'] / 2:.0f} links): seen {apart['Z_score']:+.0f}")
print(f"  mixed ({mixed['count'] / 2:.0f} links): seen {mixed['Z_score']:+.0f}")
assert apart["Z_score"] > 8 and mixed["Z_score"] > 50, (apart, mixed)
assert apart["count"] * 20 < mixed["count"], (apart, mixed)
print("as found")
PY
