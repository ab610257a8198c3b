#!/usr/bin/env bash
# In pertpy the distances between groups in a second layer, or in a new embedding of the same name, are those of the first.
#
# One would expect: Distance("edistance", layer_key=...) measures in the layer that it is given, so that two layers, or one layer before
# and after a correction, have two tables of distances.
# What happens: distances between cells are kept in adata.obsp under the name of the embedding, which is None for all layers, and are taken
# from there without a look at the data. In the first layer a group lies 2.06 from the control; in the second, where it is as the control,
# it should be .18 and is 2.06 to the last digit, by pairwise and by onesided_distances. So it is for an embedding that is computed anew.
# Which layer comes first decides for both, and the table is written with the distances in it. Metrics of the mean, as mse, are right.
# Way out: remove the distances from adata.obsp before each call, or measure in a copy of the AnnData that has none.
# Versions: pertpy 1.0.3, the newest for Python 3.11, with statsmodels 0.14.6 and filelock as its import needs them; seen on 2026-11-30.
# 1.4.0 of October 2026, by its source and not run, measures the energy distance anew, but takes what was kept for it with bootstrap and
# for mean_pairwise.
# Why it matters: effects before and after a correction are compared in two layers, and a correction then seems to change nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  pertpy==1.0.3 statsmodels==0.14.6 filelock==4.3.1 anndata==0.12.19 scanpy==1.11.5 mudata==0.3.10 numpy==2.4.6 pandas==2.3.3 \
  scipy==1.17.1 scikit-learn==1.9.1 jax==0.10.2 jaxlib==0.10.2 ott-jax==0.6.0 flax==0.12.8 numpyro==0.22.0 numba==0.68.1 \
  matplotlib==3.11.2 arviz==0.23.4
cd "$folder"
export MPLCONFIGDIR=$folder MPLBACKEND=Agg NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import anndata
import numpy as np
import pandas as pd
import pertpy

print(*(f"{name} {version(name)}" for name in ("pertpy", "anndata", "pandas", "numpy")))
names = np.repeat(["control", "treated"], 60)
random = np.random.default_rng(0)
before, after = random.normal(size=(2, len(names), 10))
before[names == "treated"] += 1


def made():
    table = anndata.AnnData(before.astype("float32"), obs=pd.DataFrame({"group": names}, index=[f"cell{i}" for i in range(len(names))]))
    table.layers["before"], table.layers["after"] = before, after
    table.obsm["X_pca"] = before
    return table


def pairwise(table, metric="edistance", **where):
    found = pertpy.tl.Distance(metric, **where).pairwise(table, groupby="group", show_progressbar=False, n_jobs=1)
    return float(found.loc["control", "treated"])


def from_control(table, layer):
    distance = pertpy.tl.Distance("edistance", layer_key=layer)
    return float(distance.onesided_distances(table, "group", selected_group="control", show_progressbar=False, n_jobs=1)["treated"])


def by_hand(values):
    return float(pertpy.tl.Distance("edistance")(values[names == "control"], values[names == "treated"]))


table = made()
seen = [pairwise(table, layer_key=layer) for layer in ("before", "after")]
one_sided = from_control(table, "after")
turned = made()
reverse = [pairwise(turned, layer_key=layer) for layer in ("after", "before")]
fresh = [pairwise(made(), layer_key=layer) for layer in ("before", "after")]
right = [by_hand(values) for values in (before, after)]
mean = [pairwise(table, "mse", layer_key=layer) for layer in ("before", "after")]
embedded = made()
first = pairwise(embedded, obsm_key="X_pca")
embedded.obsm["X_pca"] = after
second = pairwise(embedded, obsm_key="X_pca")
print(f"before and after, in one table: {seen[0]:.3f} and {seen[1]:.3f}, from one side {one_sided:.3f}; after asked for first:", end=" ")
print(f"{reverse[1]:.3f} and {reverse[0]:.3f}; an embedding and a new one of its name: {first:.3f} and {second:.3f}")
print(f"in a new table each {fresh[0]:.3f} and {fresh[1]:.3f}, by hand {right[0]:.3f} and {right[1]:.3f}; mse {mean[0]:.3f}, {mean[1]:.3f}")
assert seen[0] == seen[1] == one_sided and reverse[0] == reverse[1] and first == second
assert np.allclose(fresh, right) and np.isclose(seen[0], right[0]) and np.isclose(reverse[0], right[1]) and np.isclose(first, right[0])
assert right[0] > 1.5 and right[1] < 0.3 and mean[0] > 5 * mean[1]
print("as found")
PY
