#!/usr/bin/env bash
# MORTIS finds every cluster enriched beside itself, with p near 0, in labels drawn at random.
#
# One would expect: neighborhood_enrichment compares the links seen between two clusters with those in permuted labels. Where the
# labels are drawn at random all z lie around 0 and 5 percent of the pairs, a cluster with itself too, have p < .05.
# What happens: of what is seen a link within a cluster is counted twice, as it is met from both ends, and in every permutation
# once. So seen is twice expected for a cluster with itself, at random: p < .05 for all 80 in 20 random sections, and z up to 93.
# Two different clusters are counted twice in both, and are right. Where clusters keep apart from themselves, with .7 times the
# links of chance, they are enriched all the same: z = 31 in place of -23 for the commonest.
# Versions: mortis-spatial 0.1.0 of September 2026, the only one (neighborhood_enrichment over spatial_neighbors); seen on 2026-11-29.
# Why it matters: own clusters beside each other are what tells domains from noise. Any clustering passes, of noise, of measured or
# of predicted values, and the larger the section, the better. Mantpy's table errs the other way round, so the two disagree.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  mortis-spatial==0.1.0 scanpy==1.11.5 anndata==0.12.19 numba==0.68.1 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 zarr==3.1.6
cd "$folder"
export MPLBACKEND=Agg MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import contextlib
import io
from importlib.metadata import version

import anndata
import numpy as np
import pandas as pd

with contextlib.redirect_stdout(io.StringIO()):
    import mortis

print("mortis-spatial", version("mortis-spatial"))
random = np.random.default_rng(0)
pixels, permutations = 2500, 300
shares = {"A": 0.5, "B": 0.25, "C": 0.15, "D": 0.1}
section = anndata.AnnData(np.zeros((pixels, 1), dtype="float32"), obs=pd.DataFrame(index=[f"pixel{number}" for number in range(pixels)]))
section.obsm["spatial"] = random.uniform(0, 50, (pixels, 2))
mortis.spatial_neighbors(section)
links = section.obsp["spatial_connectivities"].tocoo()
one, two = links.row[links.row < links.col], links.col[links.row < links.col]  # every link once
neighbours = np.split(links.tocsr().indices, links.tocsr().indptr[1:-1])


def count(labels, a, b):
    there = (labels[one] == a) & (labels[two] == b)
    return int((there | ((labels[one] == b) & (labels[two] == a))).sum())


def test(labels):
    section.obs["cluster"] = labels
    table = mortis.neighborhood_enrichment(section, n_permutations=permutations)[1]
    return table.set_index(["cluster_a", "cluster_b"])


def by_hand(labels, a, b):
    null = [count(random.permutation(labels), a, b) for _ in range(permutations)]
    return (count(labels, a, b) - np.mean(null)) / np.std(null)


own, others, ratio, highest = [], [], [], 0.0
hand = []
for _ in range(20):
    labels = random.choice(list(shares), pixels, p=list(shares.values()))
    table = test(labels)
    for (a, b), row in table.iterrows():
        if a == b:
            own.append(row["pval"] < 0.05)
            ratio.append(row["observed"] / row["expected"])
            assert row["observed"] == 2 * count(labels, a, a)
            highest = max(highest, row["zscore"])
        else:
            others.append(row["pval"] < 0.05)
            assert row["observed"] == count(labels, a, b)
    hand.append(by_hand(labels, "A", "A"))
print(f"a cluster with itself at random, p < .05: guess 5%, seen {np.mean(own):.0%} of {len(own)}; highest z {highest:.0f}; by hand A with A at {np.mean(hand):+.1f}")
print(f"seen over expected: guess 1, seen {min(ratio):.2f} to {max(ratio):.2f}, on average {np.mean(ratio):.2f}")
print(f"two different clusters, p < .05: guess 5%, seen {np.mean(others):.0%} of {len(others)}")

# Clusters that keep apart from themselves: labels change places wherever that lowers the links within clusters.
labels = random.choice(list(shares), pixels, p=list(shares.values()))
expected = {name: np.mean([count(random.permutation(labels), name, name) for _ in range(100)]) for name in shares}
while count(labels, "A", "A") > 0.7 * expected["A"]:
    for first, second in random.integers(0, pixels, (50, 2)):
        if labels[first] != labels[second] and second not in neighbours[first]:
            before = (labels[neighbours[first]] == labels[first]).sum() + (labels[neighbours[second]] == labels[second]).sum()
            after = (labels[neighbours[first]] == labels[second]).sum() + (labels[neighbours[second]] == labels[first]).sum()
            if after < before:
                labels[first], labels[second] = labels[second], labels[first]
shun = float(test(labels).loc[("A", "A"), "zscore"])
truth = float(by_hand(labels, "A", "A"))
print(f"A keeps apart from A, {count(labels, 'A', 'A') / expected['A']:.2f} times the links of chance: guess z = {truth:.0f}, seen z = {shun:.0f}")
assert all(own) and np.mean(others) < 0.12, (np.mean(own), np.mean(others))
assert 1.9 < np.mean(ratio) < 2.1, np.mean(ratio)
assert abs(np.mean(hand)) < 1 and truth < -10 and shun > 10, (np.mean(hand), truth, shun)
print("as found")
PY
