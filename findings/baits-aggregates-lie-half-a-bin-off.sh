#!/usr/bin/env bash
# In BAITS the cells of a B cell aggregate are chosen half a bin beside it, so a mirrored section keeps other ones.
#
# One would expect: kde_filter lays bins over the section, gives each the density of the scores there, and keeps the cells of the
# densest bins. A round aggregate is kept as round, around its own centre, and whichever way the section lies.
# What happens: a bin is given the density at its lower left corner, with a kernel of a third of a bin, and its cells lie to the
# upper right of that. The centre of what is kept is 45 to 53 units in x and in y from that of the aggregate, with bins of 100
# that are the default, and 52 to 98 with bins of 200. With the section mirrored in both axes, cells of the other side are kept:
# of those kept in one of both ways a third is not kept in the other, and a half with bins of 200, in an aggregate 1000 wide.
# Way out: the same kernel at the cells themselves, as below, has its centre within 6 of the right one, either way round.
# Versions: BAITS 0.1.1 of March 2026, the newest in the package index; seen on 2026-11-30. Only the module of the filter is
# loaded, from where pip has put it, as the package as a whole imports torch.
# Why it matters: clones and types of cells are counted inside and around aggregates. On one side their rim is missing, and on
# the other side a rim of other tissue counts as aggregate.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  anndata==0.12.19 zarr==3.1.6 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 scikit-learn==1.9.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps baits==0.1.1
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import contextlib
import importlib.util
import io
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from anndata import AnnData
from scipy.spatial.distance import cdist

print(*(f"{name} {version(name)}" for name in ("baits", "scikit-learn", "numpy")))
place_of = importlib.util.find_spec("BAITS").submodule_search_locations[0]
spec = importlib.util.spec_from_file_location("kde_filter_alone", Path(place_of, "st", "tl", "_kde_filter.py"))
module = importlib.util.module_from_spec(spec)
sys.modules["kde_filter_alone"] = module
spec.loader.exec_module(module)

SIDE, RADIUS = 3000, 500


def kept(place, score, size, share):
    """The cells that BAITS keeps, the share of bins that is kept being that of the aggregate."""
    table = AnnData(np.zeros((len(place), 1), "float32"))
    table.obsm["spatial"] = place
    table.obs["score"] = score
    options = {"high_binSize": size, "custom_threshold": 100 - share, "default_thread_num": 1, "plot": False}
    with contextlib.redirect_stdout(io.StringIO()):
        return module.kde_filter(table, "score", **options).obs["filtered_coords"].to_numpy()


def by_cells(place, score, size, share):
    """The same with the density at the cells themselves."""
    density = np.exp(-cdist(place, place, "sqeuclidean") / (2 * int(size / 3) ** 2)) @ score
    return density > np.percentile(density, 100 - share)


for size in (100, 200):
    for seed in (0, 1):
        random = np.random.default_rng(seed)
        middle = random.uniform(1200, 1800, 2)
        grid = np.stack(np.meshgrid(np.arange(0, SIDE, 40.0), np.arange(0, SIDE, 40.0)), axis=-1).reshape(-1, 2)
        place = grid + random.uniform(-10, 10, grid.shape)
        inside = np.hypot(*(place - middle).T) < RADIUS
        score = np.where(inside, 1.0, 0.02) * random.uniform(0.8, 1.2, len(place))
        for name, method in (("BAITS", kept), ("density at cells", by_cells)):
            one = method(place, score, size, 100 * inside.mean())
            other = method(SIDE - place, score, size, 100 * inside.mean())
            shift = place[one].mean(axis=0) - place[inside].mean(axis=0)
            back = place[other].mean(axis=0) - place[inside].mean(axis=0)
            differ = (one ^ other).sum() / (one | other).sum()
            print(
                f"bins of {size}, seed {seed}, {name}: {one.sum()} cells of {inside.sum()}, centre off by", *shift.round(0),
                "mirrored", *back.round(0), f"; kept in one of both alone {differ:.2f}; outside {(one & ~inside).sum()},"
                f" missing {(inside & ~one).sum()}",
            )
            if name == "BAITS":
                assert (shift > 0.2 * size).all() and (back < -0.2 * size).all() and differ > 0.1, (shift, back, differ)
            else:
                assert (np.abs([shift, back]) < 6).all() and differ < 0.01, (shift, back, differ)
print("as found")
PY
