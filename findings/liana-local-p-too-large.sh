#!/usr/bin/env bash
# liana's analytic p-values of local Moran's R miss most of a true niche of two genes: noise is next to never below .05.
#
# One would expect: with n_perms=0, p-values of two genes of pure noise are spread evenly from 0 to 1, 5 percent of the spots
# below .05, as they are with permutations; and a niche that permutations find is found.
# What happens: the variance of the local score is taken as 2 (1 + sum of squared weights), where that of
# x (Wy) + y (Wx) is 2 (sum of squared weights): twelve times too large with a Gaussian of one spot distance, fifty times
# with one of two and a half. And the upper tail of |z| alone is taken, so none is above .5. Of noise .04 percent is below
# .05 with the narrow one, and none of 62500 with the wide one. Of a niche where both genes are raised by two thirds 23 and
# 13 percent are found, where permutations find 61 and 79.
# The global p-value of the same table is right, with permutations the local one is too.
# Versions: liana 1.10.0 (2026); seen on 2026-11-29.
# Why it matters: n_perms=0 is the fast way, taken for many pairs and many spots. Where a measured and a predicted section are
# compared by such maps, both are empty, and agree.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  liana==1.10.0 anndata==0.12.19 mudata==0.3.10 scanpy==1.11.5 numba==0.68.1 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 \
  scikit-learn==1.9.1
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import anndata
import liana
import numpy as np
import pandas as pd
from scipy import sparse, stats

print("liana", version("liana"))
random = np.random.default_rng(0)
places = np.array([[column * 100 + row % 2 * 50, row * 86.6025] for row in range(25) for column in range(25)])
niche = np.hypot(*(places - places[312]).T) < 450
pairs = 100
names = [f"{kind}{number}" for kind in ("ligand", "receptor") for number in range(pairs)]


def section(mean):
    counts = random.poisson(np.broadcast_to(mean, (2 * pairs, 625)).T).astype(np.float32)
    return anndata.AnnData(sparse.csr_matrix(counts), var=pd.DataFrame(index=names), obsm={"spatial": places})


def local(table, permutations):
    maps = liana.mt.bivariate(
        table,
        interactions=[(f"ligand{number}", f"receptor{number}") for number in range(pairs)],
        resource_name=None,
        local_name="morans",
        global_name="morans",
        n_perms=permutations,
        use_raw=False,
        verbose=False,
    )
    maps = maps[:, [f"ligand{number}^receptor{number}" for number in range(pairs)]]
    return maps.X.toarray(), maps.layers["pvals"].toarray(), maps.var["morans_pvals"].to_numpy()


seen = {}
for bandwidth in (100, 250):
    for name, table in (("noise", section(3)), ("niche", section(np.where(niche, 5, 3)))):
        liana.ut.spatial_neighbors(table, bandwidth=bandwidth, cutoff=0.1, set_diag=False)
        spots = niche if name == "niche" else np.ones(625, dtype=bool)
        scores, fast, overall = local(table, 0)
        _, slow, _ = local(table, 200)
        # The same score and its variance by hand: both genes scaled to variance 1, weights to a mean sum of 1.
        weights = table.obsp["spatial_connectivities"]
        weights = weights * (625 / weights.sum())
        values = table.X.toarray().astype(float)
        values = (values - values.mean(0)) / values.std(0)
        x, y = values[:, :pairs], values[:, pairs:]
        mine = x * (weights @ y) + y * (weights @ x)
        assert np.allclose(scores, mine, atol=1e-3), np.abs(scores - mine).max()
        squares = np.asarray(weights.multiply(weights).sum(1))
        by_hand = 2 * stats.norm.sf(np.abs(mine) / np.sqrt(2 * squares))
        seen[bandwidth, name] = [float((p[spots] < 0.05).mean()) for p in (fast, slow, by_hand)]
        print(
            f"bandwidth {bandwidth}, {name}: guess {'5%' if name == 'noise' else 'most'} of the spots at p < .05; seen "
            f"{seen[bandwidth, name][0]:.2%} analytic, {seen[bandwidth, name][1]:.1%} by permutation, "
            f"{seen[bandwidth, name][2]:.1%} with the variance by hand"
        )
        if name == "noise":
            largest = float(fast.max())
            ratio = float(mine.var() / (2 * squares.mean()))
            print(
                f"  largest analytic p: guess 1, seen {largest:.3f}; variance of the scores over 2 sum(w^2): {ratio:.2f}, over "
                f"2 (1 + sum(w^2)), as liana has it: {mine.var() / (2 + 2 * squares.mean()):.2f}; global p < .05: "
                f"{(overall < 0.05).mean():.0%}"
            )
            assert 0.9 < ratio < 1.1 and largest <= 0.5, (ratio, largest)
            assert (overall < 0.05).mean() < 0.12, overall
for bandwidth in (100, 250):
    fast, slow, by_hand = seen[bandwidth, "noise"]
    assert fast < 0.002 and 0.04 < slow < 0.06 and 0.03 < by_hand < 0.08, seen
    fast, slow, by_hand = seen[bandwidth, "niche"]
    assert fast < slow / 2, seen
print("as found")
PY
