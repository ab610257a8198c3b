#!/usr/bin/env bash
# In spatial-cluster-compare everything has the strongest tendency to cluster there is, so markers are never brought to one scale.
#
# One would expect: hopkins_statistic is near .5 for points at random, as it says, below for a grid and near 1 for clusters.
# auto_scale and compare_clusters standardise the markers where that makes it larger. Three cell types with a marker each, from 0 to
# 3, and a nuclear stain near 5000 that tells nothing need it.
# What happens: the distance from a point to the nearest point of the table is that to itself, which is 0, so the statistic is 1 for
# noise, for a grid and for clusters. It is never larger after standardising, so that is never done: of the four markers the
# principal components are the nuclear stain, and the clusters found agree with the types by 0 in three tables, where they do by
# .93 to .95 if the table is standardised first. Sampled points are to be left out of their own neighbours: .5, .3 and .85 then.
# Way out: standardise the table and give it to compare_clusters, which leaves it as it is.
# Versions: spatial-cluster-compare 0.1.2 of June 2026, the newest in the package index; seen on 2026-11-30.
# Why it matters: intensities of multiplexed images differ by orders of magnitude from marker to marker. The clusters are those of the
# brightest one, the report says that the raw table was the better one, and a section without any structure passes the test too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 scikit-learn==1.9.1 matplotlib==3.11.2 seaborn==0.13.2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps spatial-cluster-compare==0.1.2
cd "$folder"
export MPLCONFIGDIR=$folder MPLBACKEND=Agg
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from sklearn.metrics import adjusted_rand_score
from spatial_cluster_compare import compare_clusters, hopkins_statistic

print(*(f"{name} {version(name)}" for name in ("spatial-cluster-compare", "scikit-learn", "pandas", "numpy")))
MANY = 600


def without_itself(table, random):
    """The same statistic with the second nearest of the sampled points, which is the nearest other one."""
    values, tree = table.to_numpy(), cKDTree(table.to_numpy())
    sampled = values[random.choice(len(values), len(values) // 10, replace=False)]
    thrown = random.uniform(values.min(axis=0), values.max(axis=0), sampled.shape)
    own, other = tree.query(sampled, k=2)[0][:, 1], tree.query(thrown)[0]
    return other.sum() / (own.sum() + other.sum())


for seed in (0, 1, 2):
    random = np.random.default_rng(seed)
    kinds = random.integers(0, 3, MANY)
    types = pd.DataFrame({f"CD{one}": 3 * (kinds == one) + random.normal(0, 0.5, MANY) for one in range(3)})
    noise = pd.DataFrame(random.uniform(0, 1, (MANY, 2)), columns=["a", "b"])
    grid = pd.DataFrame(np.stack(np.meshgrid(np.arange(25.0), np.arange(24.0)), axis=-1).reshape(-1, 2), columns=["a", "b"])
    tables = {"noise": noise, "grid": grid, "types": types}
    seen = {name: hopkins_statistic(table, random_state=seed) for name, table in tables.items()}
    right = {name: without_itself(table, random) for name, table in tables.items()}
    print(f"seed {seed}, Hopkins statistic:", *(f"{name} {seen[name]:.2f} (right {right[name]:.2f})" for name in tables), sep=" ")
    assert set(seen.values()) == {1.0} and 0.4 < right["noise"] < 0.6 and right["grid"] < 0.4 and right["types"] > 0.75

    types["DNA"] = random.normal(5000, 800, MANY)
    standard = (types - types.mean()) / types.std()
    agreed = {}
    for name, table in (("as it is", types), ("standardised first", standard)):
        result = compare_clusters(table, compute_stability_scores=False, random_state=0, verbose=False)
        report = result.preprocessing_report
        agreed[name] = adjusted_rand_score(kinds, result.best_labels)
        print(
            f"seed {seed}, {name}: before {report['hopkins_before']:.2f}, after {report['hopkins_after']:.2f}, scaled"
            f" {report['scaled']}, components {result.n_pca_components}, {result.optimal_k} clusters, best {result.best_method},"
            f" agreement with the types {agreed[name]:.2f}"
        )
        assert report["hopkins_before"] == report["hopkins_after"] == 1 and not report["scaled"]
    assert abs(agreed["as it is"]) < 0.05 and agreed["standardised first"] > 0.9, agreed
print("as found")
PY
