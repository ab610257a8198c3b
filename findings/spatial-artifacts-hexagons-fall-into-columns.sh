#!/usr/bin/env bash
# With its setting for hexagonal arrays spatial-artifacts cuts every artefact into columns, so large and edge ones are missed.
#
# One would expect: shifted=True, which adjusts the coordinates of hexagonal arrays, joins spots as they lie on a Visium slide,
# where rows are shifted by half a spot. A patch of bad spots is one area with the size of the patch, and a bad strip along the
# border is an edge artefact, whole. Without the setting it cannot be better.
# What happens: odd columns are moved onto the even ones, but the grid keeps the empty odd columns, so no spot has a neighbour
# to its left or right. A patch of 176 spots is 11 areas of 16. Of a strip of 210 bad spots along the border the 30 of its first
# column are an edge artefact, and all others are interior ones; by the default limit of 20 spots the whole patch is "small".
# With shifted=False both are found as they are.
# Versions: spatial-artifacts 0.1.0 of May 2026, the only one (detect_edge_artifacts, classify_edge_artifacts); seen on
# 2026-11-29.
# Why it matters: Visium is the hexagonal platform that the setting is for. Who removes edge artefacts, or large ones, and keeps
# the rest keeps six sevenths of the strip and the whole patch.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  spatial-artifacts==0.1.0 anndata==0.12.19 numpy==2.4.6 pandas==2.3.3 scipy==1.17.1 zarr==3.1.6
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import anndata
import numpy as np
import pandas as pd
import spatial_artifacts
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

print("spatial-artifacts", version("spatial-artifacts"))
random = np.random.default_rng(0)
row, column = (index.ravel() for index in np.indices((60, 100)))
there = (row + column) % 2 == 0  # as the array_row and array_col of Visium: every second place of a row, in turn
row, column = row[there], column[there]
patch = (row >= 20) & (row < 36) & (column >= 40) & (column < 62)
strip = (row >= 10) & (row < 40) & (column < 14)
genes = np.where(patch | strip, 300.0, random.uniform(2600, 3400, row.size))
table = pd.DataFrame({"array_row": row, "array_col": column, "n_genes_by_counts": genes})
table = table.assign(sample_id="section", in_tissue=True)
table.index = [f"spot{number}" for number in range(row.size)]
section = anndata.AnnData(np.zeros((row.size, 1), dtype="float32"), obs=table)

# By hand: bad spots that touch on the slide, where a spot is 2 columns or 1 row and 1 column from the next, 100 um.
bad = patch | strip
places = np.stack([column * 50.0, row * 50.0 * np.sqrt(3)], axis=1)[bad]
areas = connected_components(cKDTree(places).sparse_distance_matrix(cKDTree(places), 101.0))[1]
sizes = sorted(np.bincount(areas).tolist())
assert sizes == sorted([int(patch.sum()), int(strip.sum())]), sizes

artefacts, seen = {"patch": patch, "strip": strip}, {}
for shifted in (False, True):
    found = spatial_artifacts.detect_edge_artifacts(section.copy(), "visium", shifted=shifted, verbose=False)
    found = spatial_artifacts.classify_edge_artifacts(found, verbose=False).obs
    areas = {name: found["edge_artifact_problem_id"][where].nunique() for name, where in artefacts.items()}
    largest = {name: int(found["edge_artifact_problem_size"][where].max()) for name, where in artefacts.items()}
    kind = found["edge_artifact_classification"]
    edge = int((kind[strip] == "large_edge_artifact").sum())
    large = int((kind[patch] == "large_interior_artifact").sum())
    assert found["edge_artifact_problem_id"][bad].notna().all()
    seen[shifted] = areas["patch"], largest["patch"], large, areas["strip"], largest["strip"], edge
    print(f"shifted={shifted}:")
    for name, where in artefacts.items():
        print(f"  {name} of {where.sum()} bad spots: guess 1 area, seen {areas[name]} of at most {largest[name]}")
    print(f"  spots of the patch in a large artefact: guess {patch.sum()}, seen {large}")
    print(f"  spots of the strip in an edge artefact: guess {strip.sum()}, seen {edge}")
assert seen[False] == (1, 176, 176, 1, 210, 210), seen
assert seen[True] == (11, 16, 0, 7, 30, 30), seen
print("as found")
PY
