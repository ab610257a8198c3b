#!/usr/bin/env bash
# EnrichMap's permutation test gives p = 1 in every spot, in the middle of the niche too.
#
# One would expect: the score of a signature is compared with scores of random sets of as many genes, as the documentation
# says, so that 5 percent of the spots have p < .05 without a niche, and most spots inside a niche have it.
# What happens: a random set has as many genes as there are spots, not as the signature has. Where spots are at least as many
# as genes every "random" set is all genes, all permutations are the same and p is 0 or 1. And the score was smoothed and freed
# of its spatial trend, so it lies around 0, while the random sets are plain means of expression, which lie above it: p is 1
# everywhere. With smoothing and correction switched off, and a panel of fewer genes than spots, p is 0 in half of the spots
# of pure noise, namely where the signature is above the mean of all genes, and 1 in the others.
# Versions: enrichmap 0.2.3 (2026, enrichmap.tl.permutation_test); seen on 2026-11-29.
# Why it matters: a map of p-values decides whether a signature, measured or predicted, is believed in a region. This one says
# no everywhere, or yes in half of the noise, and nothing in the output hints at it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  enrichmap==0.2.3 pygam==0.12.0 squidpy==1.8.2 spatialdata==0.7.3 ome-zarr==0.15.0 zarr==3.1.6 xarray==2026.9.0 dask==2026.1.1 \
  scanpy==1.11.5 anndata==0.12.19 numba==0.68.1 numpy==2.4.6 scipy==1.16.3 pandas==2.3.3 scikit-learn==1.9.1 esda==2.9.0 \
  libpysal==4.14.1
cd "$folder"
export MPLBACKEND=Agg MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder TQDM_DISABLE=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import anndata
import enrichmap
import numpy as np
import pandas as pd
import scanpy

print("enrichmap", version("enrichmap"))
side, genes, size, sets = 30, 2000, 20, 100
y, x = np.divmod(np.arange(side * side), side)
inside = (x - 15) ** 2 + (y - 15) ** 2 < 25


def section(genes, niche):
    """Spots on a grid with counts at random; the first genes are the signature, 2.5 times as high in a niche."""
    random = np.random.default_rng(0)
    rate = np.ones((side * side, genes))
    if niche:
        rate[np.ix_(inside, range(size))] *= 2.5
    data = anndata.AnnData(
        random.poisson(rate).astype("float32"),
        obs=pd.DataFrame(index=[f"spot{number}" for number in range(side * side)]),
        var=pd.DataFrame(index=[f"gene{number}" for number in range(genes)]),
    )
    data.obsm["spatial"] = np.column_stack([x, y]).astype(float)
    scanpy.pp.normalize_total(data, target_sum=genes)
    scanpy.pp.log1p(data)
    return data


def shares(p):
    return float((p < 0.05)[inside].mean()), float((p < 0.05)[~inside].mean())


seen = {}
for name, number, niche, plain in (
    ("noise", genes, False, False),
    ("a niche", genes, True, False),
    ("noise, a panel of 300 genes", 300, False, False),
    ("a niche, a panel of 300 genes", 300, True, False),
    ("noise, a panel of 300 genes, plain scores", 300, False, True),
):
    data = section(number, niche)
    how = {"smoothing": not plain, "correct_spatial_covariates": not plain}
    signature = [f"gene{gene}" for gene in range(size)]
    enrichmap.tl.score(data, signature, score_key="signature", **how)
    score = data.obs["signature_score"].to_numpy()
    np.random.seed(0)
    enrichmap.tl.permutation_test(data, "signature")
    p = data.obs["signature_pval"].to_numpy()
    # By hand: random sets of as many genes, scored by the same function in the same way.
    random = np.random.default_rng(1)
    drawn = {f"set{number_}": [f"gene{gene}" for gene in random.choice(number, size, replace=False)] for number_ in range(sets)}
    enrichmap.tl.score(data, drawn, **how)
    others = data.obs[[f"{set_}_score" for set_ in drawn]].to_numpy()
    right = shares(((others >= score[:, None]).sum(1) + 1) / (sets + 1))
    seen[name] = *shares(p), float(p.min()), float(p.max())
    print(
        f"{name}: below .05 inside and outside of the middle: guess {right[0]:.0%} and {right[1]:.0%} (random sets of {size} genes, same "
        f"score), seen {seen[name][0]:.0%} and {seen[name][1]:.0%}; {len(np.unique(p))} different p, from {p.min():.2f} to {p.max():.2f}"
    )
    seen[name, "right"] = right
for name in ("noise", "a niche", "noise, a panel of 300 genes", "a niche, a panel of 300 genes"):
    assert seen[name] == (0, 0, 1, 1), seen
    assert 0 < seen[name, "right"][1] < 0.1, seen
assert seen["a niche", "right"][0] > 0.5 and seen["a niche, a panel of 300 genes", "right"][0] > 0.5, seen
last = "noise, a panel of 300 genes, plain scores"
assert min(seen[last][:2]) > 0.35 and max(seen[last, "right"]) < 0.1, seen
print("as found")
PY
