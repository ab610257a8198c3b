#!/usr/bin/env bash
# In scimappro sections lie on top of each other when the proximity of types is taken from a file on disk.
#
# One would expect: streamData=True reads only the columns that are needed and writes the scores back into the file, which are those
# of the table in memory: cells of two sections are no neighbours. Of two sections, each with T cells on one side and tumour on the
# other, few cells have both within 20, those along the border.
# What happens: in memory each section is measured for itself; from a file all cells are one section, as each has its own
# coordinates from 0. Where the second section is the mirror image of the first, 2 to 6 % of the cells are close to both types in
# memory and over 99 % from the file, and the score depends on what else is in it: one section alone gives 2 to 6 % from a file too.
# Way out: streamData=False, or one file for each section.
# Versions: scimappro 0.1.0, the newest in the package index for Python 3.11 to 3.13; seen on 2026-11-30.
# Why it matters: files are streamed when a cohort does not fit into memory, so the sections are many. The score is then near 1
# whatever the tissue is like, and the column by section looks as if each had been measured.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  anndata==0.11.4 zarr==2.18.7 numcodecs==0.15.1 numpy==2.2.6 scipy==1.17.1 pandas==2.3.3 polars==1.35.2 pyarrow==19.0.1 \
  scikit-learn==1.7.2 joblib==1.6.0 tqdm==4.70.1 matplotlib==3.11.2 seaborn==0.13.2 plotly==7.1.0 tifffile==2026.3.3 \
  numba==0.68.1 umap-learn==0.5.12 leidenalg==0.12.0 combat==0.3.3 gensim==4.4.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps cap-anndata==0.4.0 scimappro==0.1.0
cd "$folder"
export MPLCONFIGDIR=$folder MPLBACKEND=Agg NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import pandas as pd
from anndata import AnnData, read_h5ad
from scimappro.tl import spatialProximityScore

print(*(f"{name} {version(name)}" for name in ("scimappro", "cap-anndata", "anndata", "numpy")))
MANY, BOTH = 1500, ["T", "tumour"]


def from_file(table):
    table.write_h5ad("cells.h5ad")
    spatialProximityScore("cells.h5ad", BOTH, radius=20, streamData=True, verbose=False)
    return read_h5ad("cells.h5ad").uns["spatial_pscore"]["Proximity Volume"]


for seed in (0, 1, 2):
    random = np.random.default_rng(seed)
    place, section = random.uniform(0, 500, (2 * MANY, 2)), np.repeat(["A", "B"], MANY)
    kinds = np.where((place[:, 0] < 250) == (section == "A"), *BOTH)
    frame = {"X_centroid": place[:, 0], "Y_centroid": place[:, 1], "phenotype": kinds, "imageid": section}
    table = AnnData(np.zeros((2 * MANY, 1)), pd.DataFrame(frame, index=[f"cell{one}" for one in range(2 * MANY)]))
    memory = spatialProximityScore(table.copy(), BOTH, radius=20, verbose=False).uns["spatial_pscore"]["Proximity Volume"]
    streamed = from_file(table.copy())
    for name in "AB":
        alone = from_file(table[section == name].copy())[name]
        print(
            f"seed {seed}, section {name}: share of cells close to both types {memory[name]:.1%} in memory, {streamed[name]:.1%}"
            f" from a file of both sections, {alone:.1%} from a file of its own"
        )
        assert memory[name] == alone < 0.1 and streamed[name] > 0.95
print("as found")
PY
