#!/usr/bin/env bash
# In pySTIM the adjusted p-values of ligands and receptors remove nothing, so a twentieth of noise and more is a significant interaction.
#
# One would expect: `compute_cci` gives the pairs of a ligand and a receptor whose adjusted p-value is below .05. Of 400 pairs of genes with counts
# drawn at random Benjamini and Hochberg's correction over all 400 leaves none, or one now and then.
# What happens: pairs with a p-value of .05 or more are dropped first and the correction is made over those that are left, each of which is below
# .05 already, so none can be adjusted above it: the largest adjusted p-value is the largest p-value. 21 to 34 of 400 pairs of noise are
# in the table, all with an adjusted p below .05, and a threshold of .01 keeps all that has a p below .01.
# Way out: call it with `p_value_threshold=1.01`, `fold_change_threshold=0` and `exp_fraction_threshold=0`; all pairs are adjusted then.
# Versions: pySTIM 1.1.6, the newest in November 2026, with statsmodels 0.14.6; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: any two types in any tissue talk by a dozen ligands, and the column that should say so says that they do.
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
mkdir data
"$folder/venv/bin/python" -I -W ignore - 2>/dev/null <<'PY'
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO

import numpy as np
import pandas as pd
from anndata import AnnData
from pySTIM import compute_cci
from statsmodels.stats.multitest import multipletests

print(*(f"{name} {version(name)}" for name in ("pySTIM", "statsmodels", "pandas")))
PAIRS, CELLS = 400, 1500
ligands, receptors = [f"L{number}" for number in range(PAIRS)], [f"R{number}" for number in range(PAIRS)]
# The place where the package keeps its own list once it has fetched it.
pd.DataFrame({"from": ligands, "to": receptors}).to_csv("data/CellChatDB_lr_network_mouse.csv", index=False)


def table(cells, seed, **thresholds):
    """Pairs of a ligand and a receptor that the package gives for types A and B."""
    np.random.seed(seed)
    with redirect_stdout(StringIO()):
        return compute_cci(cells, "type", "A", "B", **thresholds)["lr_pair"]


shares = []
for seed in range(4):
    generator = np.random.default_rng(seed)
    spots = generator.uniform(0, 1000, (CELLS, 2))
    obs = pd.DataFrame({"type": generator.choice(["A", "B", "C"], CELLS, p=[0.1, 0.1, 0.8]), "x_centroid": spots[:, 0], "y_centroid": spots[:, 1]})
    obs.index = [f"cell {number}" for number in range(CELLS)]
    counts = generator.poisson(0.6, (CELLS, 2 * PAIRS)).astype(np.float32)
    cells = AnnData(counts, obs=obs, var=pd.DataFrame(index=ligands + receptors))
    seen = table(cells, seed)
    whole = table(cells, seed, p_value_threshold=1.01, fold_change_threshold=0, exp_fraction_threshold=0)
    assert len(whole) == PAIRS
    right = int((multipletests(whole.pval, method="fdr_bh")[1] < 0.05).sum())
    shares.append(len(seen) / PAIRS)
    print(
        f"noise {seed}: significant pairs: guess {right} of {PAIRS}, seen {len(seen)}; "
        f"largest p {seen.pval.max():.4f}, largest adjusted p {seen.pval_adjusted.max():.4f}"
    )
    assert right <= 2 and np.isclose(seen.pval.max(), seen.pval_adjusted.max())
    assert set(seen.LR_pair) == set(whole.LR_pair[(whole.pval < 0.05) & (whole.fold_change > 1) & (whole.exp_fraction > 0.1)])
    strict = table(cells, seed, p_value_threshold=0.01)
    assert set(strict.LR_pair) == set(whole.LR_pair[(whole.pval < 0.01) & (whole.fold_change > 1) & (whole.exp_fraction > 0.1)])
assert min(shares) > 0.04
print("as found")
PY
