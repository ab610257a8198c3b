#!/usr/bin/env bash
# In pySTIM all types of a random section attract each other or none does, by the spacing of the cells, and a real attraction can be 0.
#
# One would expect: `calculate_enrichment` asks whether two types are together more often than by chance. Where each cell has a type drawn at random,
# whatever the distance from cell to cell, about one pair of types in twenty has a z-score above 1.6, as with shuffled labels.
# What happens: each cell is moved by up to 50 um on its own and keeps its type, so chance is a section of cells that lie on each other and beyond the
# border. Real cells keep their distance: as many of them as the grid has are within the 15 um asked for. Cells 8, 12 or
# 13 um apart have more neighbours than moved ones, and all six pairs of three random types are enriched (z up to 7); at 9.5 um they have fewer and
# none is, nor are two types that stand side by side all over the section (z 5.6 with shuffled labels), as what is below 0 becomes 0.
# Way out: shuffle the labels within the section, or use squidpy's `nhood_enrichment` with `spatial_neighbors` of the same radius.
# Versions: pySTIM 1.1.6, the newest in November 2026, with scikit-learn 1.7.2; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: sections with smaller or larger cells differ in all their contacts, in noise too, and attraction can vanish.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  scanpy==1.11.5 anndata==0.12.19 pandas==2.3.3 numpy==2.3.5 scipy==1.17.1 scikit-learn==1.7.2 statsmodels==0.14.6 \
  seaborn==0.13.2 matplotlib==3.10.7 shapely==2.1.2 tifffile==2025.10.16 requests==2.32.5 pyarrow==22.0.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps pySTIM==1.1.6 descartes==1.1.0
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder MPLBACKEND=Agg OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO

import numpy as np
import pandas as pd
from anndata import AnnData
from pySTIM import calculate_enrichment
from scipy.spatial import cKDTree

print(*(f"{name} {version(name)}" for name in ("pySTIM", "scikit-learn", "numpy")))
SIDE, RADIUS, SHUFFLES = 40, 15, 200
rows, columns = np.mgrid[:SIDE, :SIDE].astype(float)
columns += 0.5 * (rows % 2)
grid = np.column_stack([columns.ravel(), rows.ravel() * np.sqrt(3) / 2])


def scores(places, types):
    """z of each pair of types by the package and by shuffled labels."""
    obs = pd.DataFrame({"celltype": pd.Categorical(types)}, index=[f"cell {number}" for number in range(len(types))])
    cells = AnnData(np.zeros((len(types), 1), dtype=np.float32), obs=obs, obsm={"spatial": places})
    with redirect_stdout(StringIO()):
        seen = calculate_enrichment(cells, n_permutations=50, niche_radius=RADIUS).to_numpy()
    codes, pairs = cells.obs.celltype.cat.codes.to_numpy(), cKDTree(places).query_pairs(RADIUS, output_type="ndarray")
    count = codes.max() + 1

    def together(labels):
        table = np.zeros((count, count))
        np.add.at(table, (labels[pairs[:, 0]], labels[pairs[:, 1]]), 1)
        return table + table.T

    shuffled = np.array([together(shuffler.permutation(codes)) for _ in range(SHUFFLES)])
    upper = np.triu_indices(count)
    return seen[upper], ((together(codes) - shuffled.mean(0)) / shuffled.std(0))[upper]


shuffler = np.random.default_rng(1)
enriched, enriched_right = {}, {}
for spacing in (8, 9.5, 12, 13):
    enriched[spacing], enriched_right[spacing] = [], []
    for seed in range(3):
        generator = np.random.default_rng(seed)
        places = spacing * (grid + generator.normal(0, 0.1, grid.shape))
        seen, right = scores(places, generator.choice(["A", "B", "C"], len(grid), p=[0.5, 0.3, 0.2]))
        enriched[spacing] += list(seen > 1.645)
        enriched_right[spacing] += list(right > 1.645)
    print(
        f"random types, cells {spacing} um apart: pairs enriched: guess {np.mean(enriched_right[spacing]):.0%}; "
        f"seen {np.mean(enriched[spacing]):.0%}, largest z of the last section {seen.max():.1f}"
    )
    assert np.mean(enriched_right[spacing]) < 0.25
assert min(np.mean(enriched[spacing]) for spacing in (8, 12, 13)) > 0.8 and not any(enriched[9.5])
generator = np.random.default_rng(0)
types = generator.choice(["A", "B", "C"], (SIDE, SIDE), p=[0.5, 0.3, 0.2])
for row, column in zip(generator.integers(0, SIDE, 200), generator.integers(0, SIDE // 2, 200), strict=True):
    types[row, 2 * column : 2 * column + 2] = "A", "B"
seen, right = scores(9.5 * (grid + generator.normal(0, 0.1, grid.shape)), types.ravel())
print(f"200 pairs of A and B side by side, cells 9.5 um apart: z of A and B: guess {right[1]:.1f}, seen {seen[1]:.1f}")
assert right[1] > 3 and seen[1] == 0
print("as found")
PY
