#!/usr/bin/env bash
# In NicheMap a place with many cells is a niche of any signature, and one with few cells is none, whatever they express.
#
# One would expect: the grid map is the mean score of the cells in each bin, so a niche is where cells score high. Where they
# lie more densely, but score like all others, there is none.
# What happens: bins without a cell have a mean of 0, and the map is smoothed with them. Of the 300 by 300 bins that are the
# default, 80 % are empty with 20000 cells and 57 % with 50000, so the smoothed map is the score times the share of bins that
# have a cell. Of a disc with twice the cells and the score of all others .85 to .91 is niche; of a disc with half of the cells
# and twice the score .15 to .27; of the rest .05. With the empty bins filled from those around, it is 0, .9 and 0.
# Versions: nichemap 0.1.1 of July 2026, the newest in the package index; seen on 2026-11-30.
# Why it matters: scores of signatures then show lymphoid follicles and dense tumour as niches of anything, and miss a fibrotic
# region, which is poor in cells, as the package's own example of matrix genes looks for.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  scanpy==1.11.5 anndata==0.12.19 zarr==3.1.6 numba==0.68.1 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 scikit-image==0.26.0 \
  matplotlib==3.11.2 tqdm==4.70.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps nichemap==0.1.1
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder MPLBACKEND=Agg
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from anndata import AnnData
from nichemap import NicheMap, utils
from scipy.ndimage import gaussian_filter

print(*(f"{name} {version(name)}" for name in ("nichemap", "anndata", "scikit-image", "numpy")))
DENSE, HIGH, RADIUS = np.array([800, 800]), np.array([2200, 2200]), 300


def section(many, seed):
    """Cells at random in 3 by 3 mm; one disc with twice the cells, one with half of them and twice the score."""
    random = np.random.default_rng(seed)
    place = random.uniform(0, 3000, (many, 2))
    more = int((np.hypot(*(place - DENSE).T) < RADIUS).sum())
    turn, out = random.uniform(0, 2 * np.pi, more), RADIUS * np.sqrt(random.uniform(0, 1, more))
    place = np.concatenate([place, DENSE + np.column_stack([out * np.cos(turn), out * np.sin(turn)])])
    place = place[(np.hypot(*(place - HIGH).T) >= RADIUS) | (random.uniform(size=len(place)) < 0.5)]
    dense, high = (np.hypot(*(place - middle).T) < RADIUS for middle in (DENSE, HIGH))
    table = AnnData(np.zeros((len(place), 1), "float32"))
    table.obs["x_centroid"], table.obs["y_centroid"] = place.T
    table.obs["score"] = random.gamma(4, 0.25, len(place)) * (1 + high)
    return table, dense, high


def niches(table, filled):
    """Whether each cell lies in a niche, by the package's steps; filled: empty bins have the mean of those around."""
    model = NicheMap(table, score_id="score", out_dir=None, show_progress=False, verbose=False)
    model.build_grid(plot=False)
    if filled:
        sums = gaussian_filter(model.mean_map * model.counts, 2)
        model.mean_map = model.smooth_map_peak = sums / np.maximum(gaussian_filter(model.counts, 2), 1e-9)
    model.find_seeds(plot=False)
    model.segment_niches(plot=False)
    utils.map_niche_to_cells(table, model.niche_labels, model.xedges, model.yedges, output_col="niche", verbose=False)
    return table.obs["niche"].to_numpy() > 0, (model.counts == 0).mean()


print("share of cells in a niche; expected: dense disc 0, disc of high scores near 1, rest 0")
for many in (20000, 50000):
    for seed in (0, 1, 2):
        table, dense, high = section(many, seed)
        score = table.obs["score"].to_numpy()
        print(
            f"{many} cells, seed {seed}: mean score in the dense disc {score[dense].mean():.2f}, in the high one"
            f" {score[high].mean():.2f}, elsewhere {score[~dense & ~high].mean():.2f}"
        )
        for filled in (False, True):
            inside, empty = niches(table, filled)
            shares = [inside[part].mean() for part in (dense, high, ~dense & ~high)]
            name = "with empty bins filled" if filled else f"as it is, {empty:.2f} of the bins empty"
            print(f"  {name}: dense {shares[0]:.2f}, high {shares[1]:.2f}, elsewhere {shares[2]:.3f}")
            if filled:
                assert shares[0] < 0.02 and shares[1] > 0.8 and shares[2] < 0.02, shares
            elif many == 20000:
                assert empty > 0.75 and shares[0] > 0.7 and shares[1] < 0.4, shares
            else:
                assert empty > 0.5 and shares[0] > 0.5, shares
print("as found")
PY
