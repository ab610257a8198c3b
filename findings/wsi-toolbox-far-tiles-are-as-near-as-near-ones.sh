#!/usr/bin/env bash
# In wsi-toolbox all edges of the graph that tiles are clustered by weigh the same, so a rare kind of tile joins the clusters of others.
#
# One would expect: Leiden clustering of embeddings weighs the edges between neighbours by their distance, as its code is written to do, so
# that 15 tiles that lie 40 standard deviations away from all others are a cluster of their own.
# What happens: each distance is divided by its own mean, which is itself, so every weight is 1/e. As each tile has the root of the number
# of tiles as neighbours, fewer alike tiles than that are tied to others, and as strongly as to each other. Of 400 tiles in two large kinds
# 5, 10 or 15 of a third kind, far from both, never have a cluster without others, nor do 20 of 1600.
# Way out: scanpy's neighbours and Leiden, or the same graph with distances over the mean of all, as the script does; both leave the rare
# kind alone each time.
# Versions: wsi-toolbox 0.7.0 of October 2026, which asks for Python 3.12, with leidenalg 0.12.0 and igraph 1.0.0; seen on 2026-11-30.
# Why it matters: clusters are looked at for what is rare, as ink, folds or a focus of tumour. Those are what vanishes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 joblib==1.6.0 networkx==3.6.1 igraph==1.0.0 leidenalg==0.12.0 \
  scanpy==1.11.5 anndata==0.12.19 pandas==2.3.3 numba==0.68.1
# its module of clustering alone, as the import of the package needs torch, and for Python 3.11 too
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps --ignore-requires-python wsi-toolbox==0.7.0
cd "$folder"
export OMP_NUM_THREADS=1 NUMBA_CACHE_DIR=$folder MPLCONFIGDIR=$folder MPLBACKEND=Agg
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import distribution, version
from importlib.util import module_from_spec, spec_from_file_location

import igraph
import leidenalg
import numpy as np
import scanpy
from anndata import AnnData
from sklearn.neighbors import NearestNeighbors

spec = spec_from_file_location("analysis", distribution("wsi-toolbox").locate_file("wsi_toolbox/utils/analysis.py"))
analysis = module_from_spec(spec)
spec.loader.exec_module(analysis)
print(*(f"{name} {version(name)}" for name in ("wsi-toolbox", "leidenalg", "igraph", "scikit-learn")))
FEATURES = 30


def graph(features):
    """Components of the features, their share of the variance, and the neighbours of each tile."""
    number, components = analysis.find_optimal_components(features)
    values = components.transform(features)[:, :number]
    neighbours = NearestNeighbors(n_neighbors=int(np.sqrt(len(values)))).fit(values).kneighbors(values)[1]
    return values, components, neighbours


def by_distance(features):
    """The same graph, weighed by distances over their mean, and the same clustering."""
    values, components, neighbours = graph(features)
    scaled = values * np.sqrt(components.explained_variance_ratio_[: values.shape[1]])
    pairs = np.array([(one, other) for one, others in enumerate(neighbours) for other in others if one != other])
    far = np.linalg.norm(scaled[pairs[:, 0]] - scaled[pairs[:, 1]], axis=1)
    weights = dict(zip(map(tuple, np.sort(pairs, axis=1).tolist()), np.exp(-far / far.mean()), strict=True))
    made = igraph.Graph(n=len(features), edges=list(weights), edge_attrs={"weight": list(weights.values())})
    kind = leidenalg.RBConfigurationVertexPartition
    return np.array(leidenalg.find_partition(made, kind, weights="weight", resolution_parameter=1.0, seed=0).membership)


def by_scanpy(features):
    table = AnnData(features.astype(np.float32))
    scanpy.pp.neighbors(table, n_neighbors=15, use_rep="X")
    scanpy.tl.leiden(table, flavor="igraph", n_iterations=2, directed=False, resolution=0.3)
    return table.obs["leiden"].to_numpy()


def alone(clusters, rare):
    """The share of the rare tiles whose cluster has no other ones."""
    return np.mean([(clusters[rare:] != one).all() for one in clusters[:rare]])


for seed in (0, 1, 2):
    for tiles, rare in ((400, 5), (400, 10), (400, 15), (1600, 20)):
        random = np.random.default_rng(seed)
        features = random.normal(size=(tiles, FEATURES))
        features[tiles // 2 :, 0] += 12
        features[:rare, 1] += 40
        values, components, neighbours = graph(features)
        edges, weights = analysis.process_edges_batch(range(tiles), neighbours, values, False, components)
        assert len(edges) > 5000 and np.allclose(weights, np.exp(-1))
        seen, right = analysis.leiden_cluster(features, n_jobs=1), by_distance(features)
        usual = alone(by_scanpy(features), rare) if rare >= 15 else None
        print(
            f"seed {seed}, {rare} of {tiles} tiles far from all others: guess 100 % in clusters of their own, seen {alone(seen, rare):.0%};"
            f" weighed by distance {alone(right, rare):.0%}" + (f", by scanpy {usual:.0%}" if usual is not None else "")
        )
        assert alone(seen, rare) == 0 and alone(right, rare) == 1 and usual in (None, 1)
print("as found")
PY
