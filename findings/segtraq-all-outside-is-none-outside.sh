#!/usr/bin/env bash
# In SegTraQ a cell all of whose transcripts lie outside it has none outside, so rare genes are never misplaced.
#
# One would expect: percentage_transcripts_in_compartments counts, for each cell, which of the transcripts given to it lie
# outside its outline. The more of them do, the larger the percentage, up to 100, and the three percentages add up to 100.
# What happens: what is outside is all less what is inside, and a cell that has nothing inside is missing from the latter; the
# difference is then empty, and is filled with 0. Of cells with four transcripts, of which none, one, two, three or four are
# outside, the percentages are 0, 25, 50, 75 and 0. For a gene that is asked for by name, of which a cell has one or two, this
# is the rule: with every second transcript outside the mean over cells is 0 where each cell has one, 26 where each has two,
# 44 with four and 50 with sixteen. shapely finds about 50 in all of them.
# Taken from the percentages of nucleus and cytoplasm, which are right, as 100 less both, it is that of shapely everywhere.
# Versions: segtraq 0.0.4 of April 2026, the newest for Python 3.11; 0.0.7 of October 2026, the newest in the package index,
# has the same lines by its source, and was not run; seen on 2026-11-30.
# Why it matters: the percentage is a measure of how bad a segmentation is. Its worst cells are among the best ones, and genes
# seem to be the better placed the fewer transcripts they have.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  squidpy==1.8.2 scanpy==1.11.5 anndata==0.12.19 spatialdata==0.7.3 ome-zarr==0.15.0 zarr==3.1.6 xarray==2026.9.0 \
  dask==2026.1.1 numpy==2.4.6 pandas==2.3.3 geopandas==1.2.0 shapely==2.2.0 rasterio==1.4.4 rtree==1.4.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps segtraq==0.0.4
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import geopandas as gpd
import numpy as np
import pandas as pd
import segtraq
import shapely
from anndata import AnnData
from shapely.geometry import box
from spatialdata import SpatialData
from spatialdata.models import PointsModel, ShapesModel, TableModel
from spatialdata.transformations import Identity

print(*(f"{name} {version(name)}" for name in ("segtraq", "spatialdata", "shapely", "pandas", "numpy")))


def section(many, genes, inside):
    """Square cells of 10 with a nucleus of 4 and a gap of 6, and transcripts of genes inside them or in the gap."""
    corner = np.column_stack([np.arange(many) * 16.0, np.zeros(many)])
    names = pd.Index([f"cell{one}" for one in range(many)], name="cell_id")
    cells = gpd.GeoDataFrame(geometry=[box(x, y, x + 10, y + 10) for x, y in corner], index=names)
    nuclei = gpd.GeoDataFrame(geometry=[box(x + 3, y + 3, x + 7, y + 7) for x, y in corner], index="n" + names)
    rows = []
    for cell, (x, y) in enumerate(corner):
        for gene, number in genes.items():
            for one in range(number[cell] if np.ndim(number) else number):
                x_in, y_in = x + 0.5 + one % 9, y + 0.5 + one // 9 * 4
                rows.append((names[cell], gene, x_in if inside(cell, one) else x + 13, y_in))
    points = pd.DataFrame(rows, columns=["cell_id", "feature_name", "x", "y"])
    counts = pd.crosstab(points["cell_id"], points["feature_name"]).reindex(names, fill_value=0)
    table = AnnData(counts.to_numpy("float32"), obs=pd.DataFrame({"cell_id": names, "region": "cell_boundaries"}))
    table.var_names, table.obs_names = list(counts.columns), list(names)
    table.obs["region"] = table.obs["region"].astype("category")
    data = SpatialData(
        points={"transcripts": PointsModel.parse(points, transformations={"global": Identity()})},
        shapes={
            "cell_boundaries": ShapesModel.parse(cells, transformations={"global": Identity()}),
            "nucleus_boundaries": ShapesModel.parse(nuclei, transformations={"global": Identity()}),
        },
        tables={"table": TableModel.parse(table, "cell_boundaries", "region", "cell_id")},
    )
    return data, points, cells


def both(data, points, cells, gene=None):
    """The percentages outside by SegTraQ, by 100 less its others, and by shapely, in the order of the cells."""
    seen = segtraq.ps.percentage_transcripts_in_compartments(data, gene, n_jobs=1, inplace=False).reindex(cells.index)
    column = gene or "all_genes"
    points = points if gene is None else points[points["feature_name"] == gene]
    own = cells.geometry.loc[points["cell_id"]].to_numpy()
    outside = pd.Series(~shapely.intersects_xy(own, *points[["x", "y"]].to_numpy().T), index=points["cell_id"])
    right = 100 * outside.groupby(level=0).mean().reindex(cells.index)
    rest = 100 - seen[f"perc_nucleus_{column}"] - seen[f"perc_cytoplasm_{column}"]
    return seen[f"perc_outside_cell_{column}"], rest, right


data = section(5, {"A": 4}, lambda cell, one: one >= cell)
seen, rest, right = both(*data)
print("cells of four transcripts, none to four of them outside, percentage outside:")
print("  by shapely", *right, "seen", *seen, "100 less nucleus and cytoplasm", *rest)
assert right.tolist() == rest.tolist() == [0, 25, 50, 75, 100] and seen.tolist() == [0, 25, 50, 75, 0]

print("genes of which each second transcript lies outside, by how many each cell has; mean percentage outside:")
for seed in range(3):
    random = np.random.default_rng(seed)
    out = random.permuted(np.tile([True, False], (400 * 16, 1)).ravel()).reshape(400, 32)
    genes = {"one": 1, "two": 2, "four": 4, "sixteen": 16, "some": random.poisson(1, 400)}
    data = section(400, genes, lambda cell, one: not out[cell, one])
    means = {gene: [part.mean() for part in both(*data, gene)] for gene in genes}
    print(f"  seed {seed}:", *(f"{gene} {value[0]:.0f} (shapely {value[2]:.0f})," for gene, value in means.items()))
    assert means["one"][0] == 0 and means["two"][0] < 30 and means["some"][0] < 15, means
    assert abs(means["sixteen"][0] - means["sixteen"][2]) < 1 and means["four"][0] > 38, means
    assert all(abs(rest - right) < 1e-9 and 44 < right < 56 for _, rest, right in means.values()), means
print("as found")
PY
