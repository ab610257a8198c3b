#!/usr/bin/env bash
# scimap's pval_method="abs" gives the larger p, the stronger two cell types seek or shun each other.
#
# One would expect: of the two ways to a p-value, "zscore" takes a normal distribution and "abs" counts permutations, which is
# what permutations are for. In a section with a niche of two types their pairs have a small p, without it 5 percent of all.
# What happens: p is the difference between the pairs counted and their mean over the permutations, divided by the number of
# permutations plus one. Nothing is compared with any permutation. In a section with a niche no pair is below .05 where all are
# by hand; with four times the cells p is seven times as large, up to 2.9; and with ten times the permutations it is a tenth,
# so that all pairs of a random section are below .05.
# Versions: scimap 2.3.6, the last for Python 3.11 (scimap.tl.spatial_interaction); seen on 2026-11-29. 2.4.1 of 2026
# has the same line in its source, and was not run.
# Why it matters: its plot blanks out what is above p_val=0.05, so just the strongest pairs are missing from it. Measured and
# predicted types are compared by which pairs are left.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  scimap==2.3.6 anndata==0.10.9 scanpy==1.11.5 zarr==2.10.3 numcodecs==0.15.1 numba==0.58.1 numpy==1.26.4 scipy==1.12.0 \
  pandas==2.3.3 scikit-learn==1.9.1
cd "$folder"
export MPLBACKEND=Agg MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder LOKY_MAX_CPU_COUNT=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import anndata
import numpy as np
import pandas as pd
import scimap
from scipy.spatial import cKDTree

print("scimap", version("scimap"))
random = np.random.default_rng(0)
types = np.array(list("ABCDE"))


def section(cells, niche):
    places = random.uniform(0, 30 * np.sqrt(cells), (cells, 2))
    kinds = random.choice(types, cells)
    if niche:
        inside = np.linalg.norm(places - 15 * np.sqrt(cells), axis=1) < 10 * np.sqrt(cells)
        kinds[inside] = random.choice(types[:2], inside.sum())
    table = pd.DataFrame({"X_centroid": places[:, 0], "Y_centroid": places[:, 1], "phenotype": pd.Categorical(kinds)})
    table.index = [f"cell{number}" for number in range(cells)]
    table["imageid"] = pd.Categorical(["section"] * cells)
    return anndata.AnnData(np.zeros((cells, 1), dtype="float32"), obs=table)


def by_scimap(data, method, permutations):
    np.random.seed(0)
    scimap.tl.spatial_interaction(data, method="knn", knn=7, permutation=permutations, pval_method=method, verbose=False)
    return data.uns["spatial_interaction"].pivot(index="phenotype", columns="neighbour_phenotype", values="pvalue_section")


def by_hand(data, permutations):
    """Types shuffled among the cells; how often is a pair as far from its mean as it was seen, on either side."""
    places = data.obs[["X_centroid", "Y_centroid"]].to_numpy()
    neighbours = cKDTree(places).query(places, 7)[1][:, 1:]
    codes = data.obs["phenotype"].cat.codes.to_numpy().astype(int)

    def count(given):
        return np.bincount((given[:, None] * 5 + given[neighbours]).ravel(), minlength=25)

    real = count(codes)
    chance = np.stack([count(random.permutation(codes)) for _ in range(permutations)])
    either = np.minimum((chance >= real).sum(0), (chance <= real).sum(0))
    return np.minimum(2 * (either + 1) / (permutations + 1), 1).reshape(5, 5)


seen = {}
for name, cells, niche, permutations in (
    ("random", 1000, False, 200),
    ("random", 1000, False, 2000),
    ("niche", 1000, True, 200),
    ("niche", 4000, True, 200),
):
    data = section(cells, niche)
    p = {method: by_scimap(data, method, permutations).to_numpy() for method in ("abs", "zscore")}
    p["hand"] = by_hand(data, permutations)
    found = {method: float((values < 0.05).mean()) for method, values in p.items()}
    seen[name, cells, permutations] = found, float(p["abs"][0, 0]), float(p["abs"].max())
    print(
        f"{name} section, {cells} cells, {permutations} permutations: pairs below .05: guess {found['hand']:.0%} (by hand), zscore "
        f"{found['zscore']:.0%}, abs {found['abs']:.0%}; A beside A: guess {p['hand'][0, 0]:.3f}, zscore {p['zscore'][0, 0]:.3f}, abs "
        f"{p['abs'][0, 0]:.3f}; largest p of abs {p['abs'].max():.2f}"
    )
assert seen["niche", 1000, 200][0]["hand"] > 0.5 and seen["niche", 1000, 200][0]["zscore"] > 0.5, seen
assert seen["niche", 1000, 200][0]["abs"] < 0.1 and seen["niche", 4000, 200][0]["abs"] == 0, seen
assert seen["niche", 4000, 200][2] > 1 and seen["niche", 4000, 200][1] > 2 * seen["niche", 1000, 200][1], seen
assert seen["random", 1000, 2000][0]["abs"] > 0.9 and seen["random", 1000, 2000][0]["hand"] < 0.3, seen
print("as found")
PY
