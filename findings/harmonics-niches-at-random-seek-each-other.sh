#!/usr/bin/env bash
# In Harmonics niches that are drawn at random are significant neighbours of each other, all pairs of them.
#
# One would expect: `nnc_enrichment_test` asks by Fisher's exact test whether cells of one niche lie beside cells of another more often than
# others do. Where each of 3000 cells gets its niche at random, no pair is enriched, and a twentieth of the p-values is below .05.
# What happens: contacts within a niche are left out of the table, but the cells of the second niche stay in the row that the first is
# compared with, where they can have no contact with their own. That row is too low by as much as they are many, so every niche seeks the others.
# With three equal niches all six pairs have a q near 1e-150 and a fold of about two; where one niche has three fifths of the cells, four of
# 6 or of 20 pairs are reported as enriched. Shuffles of the same niches give p-values as noise has them.
# Way out: count contacts in labels shuffled among the cells, as the script does.
# Versions: harmonics-bio 1.1.0, the newest in November 2026, with scipy 1.15.0; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: which niches border on each other is what the test is for, and it says all of them, the surest around the largest.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.3.5 pandas==2.3.3 scipy==1.15.0 scikit-learn==1.7.2 anndata==0.12.19 statsmodels==0.14.6 matplotlib==3.10.7 numba==0.68.1 tqdm==4.70.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps harmonics-bio==1.1.0
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder MPLBACKEND=Agg OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import pandas as pd
from anndata import AnnData
from Harmonics import nnc_enrichment_test

print(*(f"{name} {version(name)}" for name in ("harmonics-bio", "scipy")))
CELLS, TISSUES, SHUFFLES = 3000, 5, 199


def by_shuffles(links, labels, table, generator):
    """The two-sided p-value of each pair of the table, by its number of contacts where the niches are shuffled among the cells."""
    counts = []
    for _ in range(SHUFFLES + 1):
        sides = [labels == one for one in sorted(set(labels))]
        counts.append([[(links[one] @ other).sum() for other in sides] for one in sides])
        labels = generator.permutation(labels)
    counts = np.array(counts)
    above, below = (counts >= counts[0]).mean(axis=0), (counts <= counts[0]).mean(axis=0)
    return np.minimum(1, 2 * np.minimum(above, below))[table.niche1_idx, table.niche2_idx]


for kind, shares in (
    ("three niches of a third each", [1 / 3] * 3),
    ("three niches, one of three fifths", [0.6, 0.2, 0.2]),
    ("five niches, one of three fifths", [0.6, 0.1, 0.1, 0.1, 0.1]),
    ("five niches of a fifth each", [0.2] * 5),
):
    generator = np.random.default_rng(0)
    names = list("ABCDE")[: len(shares)]
    seen, right, enriched, folds = [], [], [], []
    for _ in range(TISSUES):
        cells = pd.DataFrame({"niche": generator.choice(names, CELLS, p=shares)}, index=[f"cell {number}" for number in range(CELLS)])
        sample = AnnData(np.zeros((CELLS, 1), dtype=np.float32), obs=cells)
        sample.obsm["spatial"] = generator.random((CELLS, 2))
        table, _, _ = nnc_enrichment_test([sample], "niche", verbose=False)
        seen.append(table["q-value"].to_numpy())
        folds.append(2 ** table.log2fc.to_numpy())
        enriched.append(table.enrichment.sum())
        right.append(by_shuffles(sample.obsp["delaunay_adj_mtx"], cells.niche.to_numpy(), table, generator))
    seen, right = np.array(seen), np.array(right)
    print(
        f"random tissues, {kind}, {seen.shape[1]} pairs: q below .05: guess 0 %, seen {(seen < 0.05).mean():.0%}, the median q {np.median(seen):.0e}; "
        f"reported as enriched: guess 0, seen {min(enriched)} to {max(enriched)}; mean fold: guess 1.0, seen {np.mean(folds):.1f}; "
        f"p below .05 in {SHUFFLES} shuffles of the niches: {(right < 0.05).mean():.0%}"
    )
    assert (seen < 0.05).mean() > 0.8 and np.mean(folds) > 1.2 and (right < 0.05).mean() < 0.2
    if kind.startswith("three"):
        assert min(enriched) >= 1 and np.median(seen) < 1e-50
    if kind.endswith("fifths"):
        assert min(enriched) >= 4
print("as found")
PY
