#!/usr/bin/env bash
# In SimSpace the average of the cells in a spot is their sum, so simulated spots with more cells have more of every gene.
#
# One would expect: convolve(simulation, kernel) averages the counts of the cells in each window, as it says and as it is by
# default, and conv_type="sum" adds them up. A mean of cells does not know how many they are.
# What happens: both add. The tables are the same number by number, in six simulations of a tissue: the mean of the cells is 3.5
# to 5.5, that of the spots 44 to 100 in windows of 5 x 5 with 6 to 25 cells, and 175 to 400 in windows of 10 x 10.
# Way out: scale is no help, as it is one number for all spots. Divide each row by the number of cells in its window, as below.
# Versions: simspace 0.4.2 of August 2026, the newest in the package index; seen on 2026-11-30.
# Why it matters: methods of deconvolution are tried on such spots. An average is asked for so that depth does not tell how many
# cells a spot has, and it tells just that.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 scikit-learn==1.9.1 matplotlib==3.11.2 seaborn==0.13.2 colorcet==3.2.1 \
  esda==2.9.0 libpysal==4.14.1 geopandas==1.1.1 shapely==2.1.2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps simspace==0.4.2
cd "$folder"
export MPLCONFIGDIR=$folder MPLBACKEND=Agg NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from simspace import util

print(*(f"{name} {version(name)}" for name in ("simspace", "pandas", "numpy")))
for seed in (0, 1, 2):
    choice = util.generate_random_parameters(n_group=2, n_state=3, density_max=0.9, density_min=0.3, seed=seed)
    tissue = util.sim_from_params(choice, shape=(40, 40), num_iteration=2, n_iter=2, seed=seed)
    tissue.create_omics(n_genes=100)
    for side in (5, 10):
        spots, average = util.convolve(tissue, (side, side))
        _, added = util.convolve(tissue, (side, side), conv_type="sum")
        cells, counts = tissue.meta, tissue.omics.to_numpy(dtype="float64")
        many, mean = [], []
        for spot in spots[["col", "row"]].to_numpy():
            low = spot - side // 2
            here = ((cells[["col", "row"]] >= low) & (cells[["col", "row"]] < low + side)).all(axis=1).to_numpy()
            many.append(here.sum())
            mean.append(counts[here].mean(axis=0))
        many, mean, average = np.array(many), np.array(mean), average.to_numpy()
        print(
            f"seed {seed}, windows of {side}: {len(spots)} spots of {many.min()} to {many.max()} cells; mean of the cells"
            f" {mean.mean():.2f}, average {average.mean():.2f}, sum {added.to_numpy().mean():.2f}, average divided by"
            f" the number of cells {(average / many[:, None]).mean():.2f}"
        )
        assert (average == added.to_numpy()).all() and average.mean() > 10 * mean.mean()
        assert (np.abs(average - mean * many[:, None]) < 0.51).all()
print("as found")
PY
