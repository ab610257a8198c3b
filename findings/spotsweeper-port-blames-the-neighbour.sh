#!/usr/bin/env bash
# The Python port of SpotSweeper flags the spot beside the bad one, and never looks at the bad one itself.
#
# One would expect: local_outliers gives each spot the robust z-score of its own value among its neighbours, so the one
# spot that lost its RNA is flagged.
# What happens: the score of a spot is that of its nearest neighbour among the other neighbours. The bad spot gets the z
# of a good one and stays; each good spot whose nearest neighbour is the bad one is flagged.
# Versions: py-spotsweeper 0.1.0 (May 2026) with anndata 0.12.19; seen on 2026-11-28.
# Why it matters: quality control before training removes good spots and keeps the broken ones, in about the expected
# number, so a count of flagged spots looks right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  py-spotsweeper==0.1.0 anndata==0.12.19 numpy==2.4.6 pandas==2.3.3 scipy==1.17.1
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import anndata
import numpy as np
import pandas as pd
from spotsweeper.local_outliers import local_outliers

random = np.random.default_rng(0)
row, column = np.mgrid[0:20, 0:20].reshape(2, -1)
places = np.stack([column, row], axis=1) * 100.0
bad, beside = 210, 209
places[bad, 0] -= 20  # spots lie a little off the grid, as printed ones do; the bad one is the nearest to the one beside it
places[beside, 0] += 20
detected = random.uniform(2800, 3200, 400)
detected[bad] = 40
names = [f"spot{number}" for number in range(400)]
spots = anndata.AnnData(
    np.zeros((400, 1), np.float32), obs=pd.DataFrame({"detected": detected, "sample_id": "section"}, index=names)
)
spots.obsm["spatial"] = places
judged = local_outliers(spots, metric="detected", direction="lower", samples="sample_id").obs
flagged = [int(name.removeprefix("spot")) for name in judged.index[judged["detected_outliers"]]]
scores = judged["detected_z"].to_numpy()
print("py-spotsweeper", version("py-spotsweeper"), "anndata", version("anndata"))
print(f"guess: spot {bad} flagged, with a z far below -3; seen: flagged {flagged}, z of {bad} {scores[bad]:.2f}")
assert flagged == [beside], flagged
assert scores[bad] > -1 and scores[beside] < -10, scores[[bad, beside]]
print("as found")
PY
