#!/usr/bin/env bash
# In LazySlide, linking slide features to RNA with all features gives each feature the weight of another, and genes of the other group may be on top.
#
# One would expect: the score of a group is higher in it than in the rest, as the description says, whether it is of the 100 highest and
# lowest features or of "all"; and all features are what the highest and lowest half are together.
# What happens: with n_features="all" the features stand in the order of the table and their weights in the order of their own rank, so
# the first column has the weight of the best feature, whichever it is. Of 60 features 10 are higher and 10 lower in the group. With 30
# from either end the group's scores are above all others in each of 20 tables, and its five genes lead the list of associated genes; with
# all, a sample of the group is above another one with a chance of .23 to .82, and in 11 of 20 tables none of the five genes is among the
# five highest, as they are associated with the opposite sign. Features are not scaled then either.
# Way out: give half the number of features as n_features, which takes all of them in one order.
# Versions: lazyslide 0.13.0 of October 2026 with scanpy 1.11.5; seen on 2026-11-30.
# Why it matters: it is the tool by which morphology is linked to expression, and the list of genes may be upside down.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  scanpy==1.11.5 anndata==0.12.19 numpy==2.4.6 pandas==2.3.3 scipy==1.17.1 scikit-learn==1.9.1 numba==0.68.1 rich==15.0.0
# without torch and what reads slides, which the import of the whole package needs
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps lazyslide==0.13.0
cd "$folder"
export MPLCONFIGDIR=$folder MPLBACKEND=Agg NUMBA_CACHE_DIR=$folder OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import importlib
import sys
import types
from importlib.metadata import distribution, version

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.stats import ttest_ind
from sklearn.metrics import roc_auc_score

for name in ("lazyslide", "lazyslide.tools"):  # their folders, without running what they import
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [str(distribution("lazyslide").locate_file(name.replace(".", "/")))]
RNALinker = importlib.import_module("lazyslide.tools._signatures").RNALinker

print(*(f"{name} {version(name)}" for name in ("lazyslide", "scanpy", "anndata", "numpy")))
SAMPLES, FEATURES, GENES, OWN = 80, 60, 30, 5
group = np.repeat(["ill", "well"], SAMPLES // 2)
names = [f"sample {number}" for number in range(SAMPLES)]


def linked(values, rna, number):
    """How often a sample of the group is above another one, and how many of its five genes are among the five highest."""
    features = AnnData(values.astype(np.float32), obs=pd.DataFrame({"group": pd.Categorical(group)}, index=names))
    linker = RNALinker(features, AnnData(rna.astype(np.float32)))
    linker.score("group", "ill", n_features=number)
    linker.associate("pearson")
    score, association = features.obs["ill_score"].to_numpy(), linker.others.var["association_score"].to_numpy()
    return roc_auc_score(group == "ill", score), (np.argsort(association)[-OWN:] < OWN).sum(), association[:OWN].mean(), score


above, genes, signs = [], [], []
for seed in range(20):
    random = np.random.default_rng(seed)
    values = random.normal(size=(SAMPLES, FEATURES))
    values[group == "ill", :10] += 1
    values[group == "ill", 10:20] -= 1
    values = values[:, random.permutation(FEATURES)].astype(np.float32)
    rna = random.normal(size=(SAMPLES, GENES))
    rna[group == "ill", :OWN] += 2

    half = linked(values, rna, FEATURES // 2)
    assert half[0] > 0.99 and half[1] == OWN and half[2] > 0.5
    t = ttest_ind(values[group == "ill"], values[group == "well"], equal_var=False).statistic
    weighted = values @ t
    assert roc_auc_score(group == "ill", weighted) > 0.99

    seen = linked(values, rna, "all")
    # what it is: the columns of the table with the weights from the highest to the lowest
    assert np.allclose(seen[3], values @ np.sort(t)[::-1], rtol=1e-3, atol=1e-2)
    above.append(seen[0])
    genes.append(seen[1])
    signs.append(seen[2])
print(
    f"20 tables, all features: guess a sample of the group is above another one with a chance of 1, seen {min(above):.2f} to {max(above):.2f};"
    f" five genes of the group among the five highest: guess 5, seen {sorted(map(int, genes))}; their mean correlation {min(signs):.2f} to {max(signs):.2f}"
)
assert min(above) < 0.35 and np.median(above) < 0.65 and sum(one == 0 for one in genes) >= 5 and min(signs) < -0.2
print("as found")
PY
