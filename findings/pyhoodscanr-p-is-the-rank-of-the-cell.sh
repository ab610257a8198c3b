#!/usr/bin/env bash
# In the Python port of hoodscanR the p-value of a cell's perplexity is its rank in the section, so a random section has as many
# distinct neighbourhoods as one can have, and one made of pure domains has none.
#
# One would expect: perplexity_permute tells which cells have a neighbourhood more distinct than chance makes it. In a section cut
# into four stripes of one type each nearly all have, where the types are drawn at random about one in twenty by chance.
# What happens: whole rows are permuted, each of them the finished neighbourhood of a cell, and what is compared is one number a
# row. So the permuted numbers are those of the other cells, and p is the share of cells with the same perplexity or less. Of 2000
# cells 4.6 to 5.1 % have p < .05 in random sections and .3 to .6 % in the stripes, and .05 to .2 % where one half has narrow stripes
# and the other random types: cells wholly among their own type share one rank. Types permuted among the cells say 4 to 6 %, 99 %
# and 50 to 53 %.
# Way out: permute the types among the cells before merge_by_group, as the script does, and count how often a cell's own perplexity
# is then as small. The distances need to be found once.
# Versions: pyhoodscanr 0.1.0 of July 2026, the newest in the package index; the package in R was not run, its source permutes the
# rows too; seen on 2026-11-30.
# Why it matters: the column is one of three that the package has over others. It flags a twentieth of the cells at most, whatever
# the tissue is like, and is read as a test of it; corrected for the number of cells it flags nobody.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  anndata==0.12.19 zarr==3.1.6 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 scikit-learn==1.9.1 matplotlib==3.11.2 numba==0.68.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps pyhoodscanr==0.1.0
cd "$folder"
export MPLCONFIGDIR=$folder MPLBACKEND=Agg NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import pyhoodscanr
from anndata import AnnData
from scipy.stats import rankdata

print(*(f"{name} {version(name)}" for name in ("pyhoodscanr", "anndata", "scikit-learn", "numpy")))
MANY, KINDS = 2000, np.array(list("ABCD"))


def perplexity(weights, near, kinds):
    """Of each cell, from the weights of its neighbours and the types of all cells."""
    return pyhoodscanr.calculate_metrics(pyhoodscanr.merge_by_group(weights, kinds[near]))["perplexity"].to_numpy()


seen = {}
for seed in (0, 1, 2):
    random = np.random.default_rng(seed)
    place = random.uniform(0, 1000, (MANY, 2))
    drawn = KINDS[random.integers(0, 4, MANY)]
    stripes = KINDS[(place[:, 0] // 250).astype(int)]
    fine = KINDS[(place[:, 0] // 125).astype(int) % 4]
    for name, kinds in (("random", drawn), ("stripes", stripes), ("half and half", np.where(place[:, 0] < 500, fine, drawn))):
        table = AnnData(np.zeros((MANY, 1), dtype="float32"))
        table.obs_names = [f"cell{one}" for one in range(MANY)]
        table.obs["cell_annotation"], table.obsm["spatial"] = kinds, place
        found = pyhoodscanr.find_near_cells(table, k=30)
        weights = pyhoodscanr.scan_hoods(found["distance"].to_numpy(), verbose=False)
        hoods = pyhoodscanr.merge_by_group(weights, found["cells"])
        pyhoodscanr.perplexity_permute(table, pm=hoods.to_numpy(), n_perm=1000)
        p = table.obs["perplexity_p"].to_numpy()

        names = pyhoodscanr.find_near_cells(table, k=30, report_cell_id=True)["cells"]
        near = table.obs_names.get_indexer(names.to_numpy().ravel()).reshape(names.shape)
        own = perplexity(weights, near, kinds)
        assert np.allclose(own, pyhoodscanr.calculate_metrics(hoods)["perplexity"])
        permuted = np.array([perplexity(weights, near, random.permutation(kinds)) for _ in range(39)])
        better = ((permuted <= own).sum(axis=0) + 1) / 40
        rank = rankdata(own, method="max") / MANY
        print(
            f"seed {seed}, {name}: mean perplexity {own.mean():.2f}; p < .05 in {(p < 0.05).mean():.2%} of the cells, p and rank"
            f" differ by {np.abs(p - rank).max():.3f} at most; with types permuted p <= .05 in {(better <= 0.05).mean():.2%}"
        )
        assert np.abs(p - rank).max() < 0.08 and (p < 0.05).mean() < 0.06
        seen.setdefault(name, []).append(((p < 0.05).mean(), (better <= 0.05).mean()))
flagged, right = (np.mean([seen[name] for name in ("random", "stripes", "half and half")], axis=1)[:, one] for one in (0, 1))
assert flagged[0] > 0.045 and flagged[1] < 0.01 and flagged[2] < 0.01, flagged
assert right[0] < 0.08 and right[1] > 0.9 and 0.4 < right[2] < 0.65, right
print("as found")
PY
