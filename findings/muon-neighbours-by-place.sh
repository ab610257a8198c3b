#!/usr/bin/env bash
# In muon neighbours over two modalities pair cells by their row, so that sorting the cells of one of them mixes up all cells.
#
# One would expect: MuData keeps cells by name, and modalities may hold them in any order. Of four types of cells RNA tells two halves and
# protein two others; neighbours over both modalities are mostly of a cell's own half by either, in any order of the rows.
# What happens: neighbors() takes the rows of one modality at the places of another. Where protein is in the order of RNA 83 % of the
# neighbours are of the own half by RNA and 82 % by protein, and 66 % of the own type. Where the rows of protein are shuffled, with their
# names, it is 85 and 50 %, which is chance, and 43 %. Nothing warns, and the mean weight of RNA is .51 instead of .52.
# Way out: give all modalities one order by name, and compute the neighbours of each after that, as the script does.
# Versions: muon 0.1.9, the newest for Python 3.11, with mudata 0.3.10; 0.2.0 of October 2026 by its source as well; seen on 2026-11-30.
# Why it matters: RNA, protein and pictures of the same cells come from different files, each in its own order, and clusters of the
# weighted neighbours are then of a type in one modality and of chance in the other.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  muon==0.1.9 mudata==0.3.10 anndata==0.12.19 scanpy==1.11.5 numpy==2.4.6 pandas==2.3.3 scikit-learn==1.9.1 \
  umap-learn==0.5.12 numba==0.68.1
cd "$folder"
export NUMBA_CACHE_DIR=$folder MPLCONFIGDIR=$folder MPLBACKEND=Agg
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import anndata
import muon
import numpy as np
import scanpy as sc

print(*(f"{name} {version(name)}" for name in ("muon", "mudata", "anndata", "scanpy", "numpy")))
CELLS = 240
NAMES = np.array([f"cell{number:03d}" for number in range(CELLS)])


def table(values, order):
    made = anndata.AnnData(values[order].astype("float32"))
    made.obs_names = NAMES[order]
    sc.pp.neighbors(made, n_neighbors=15, use_rep="X")
    return made


def own(kind, rna, protein):
    """The share of neighbours over both modalities that are of a cell's own type, and of its own half by each of them."""
    both = muon.MuData({"rna": rna, "protein": protein})
    muon.pp.neighbors(both, n_multineighbors=60)
    near = both.obsp["distances"].tocoo()
    seen = kind[np.array([int(name[4:]) for name in both.obs_names])]
    one, two = seen[near.row], seen[near.col]
    shares = [float(np.mean(part)) for part in (one == two, one // 2 == two // 2, one % 2 == two % 2)]
    weight = both.obs["rna:mod_weight"]
    return shares, float(weight.mean())


random = np.random.default_rng(0)
kind = random.integers(0, 4, CELLS)
rna, protein = random.normal(size=(2, CELLS, 10))
rna[:, 0] += 8 * (kind // 2)
protein[:, 0] += 8 * (kind % 2)
first = table(rna, np.arange(CELLS))
shuffled = table(protein, random.permutation(CELLS))
back = shuffled[NAMES].copy()
sc.pp.neighbors(back, n_neighbors=15, use_rep="X")
seen, right = own(kind, first, shuffled), own(kind, first, back)
for name, (shares, weight) in (("protein shuffled", seen), ("put back into the order of RNA", right)):
    print(
        f"{name}: neighbours of the own half by RNA {shares[1]:.0%}, by protein {shares[2]:.0%}, of the own type {shares[0]:.0%};"
        f" mean weight of RNA {weight:.2f}"
    )
assert right[0][1] > 0.75 and right[0][2] > 0.75 and right[0][0] > 0.58
assert seen[0][1] > 0.75 and 0.42 < seen[0][2] < 0.58 and seen[0][0] < 0.5
assert abs(seen[1] - right[1]) < 0.05
print("as found")
PY
