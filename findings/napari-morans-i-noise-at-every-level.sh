#!/usr/bin/env bash
# In the napari plugin for local Moran's I as many pixels of noise are significant at .0001 as at .001, a hundred times too many.
#
# One would expect: a pixel's p-value is (count + 1) / (n_repeats + 1), as the description says, so that it is never 0. With the 200
# permutations that are the default none can be below .005: nothing is significant at .001 nor at .0001. At .05, one in twenty is.
# What happens: the 1 is not added to the count, as the module's own text has it. Pixels that no permutation reaches have p = 0 and
# pass every level: of a picture of noise 1 % at .001 and the same 1 % at .0001, 640 to 650 pixels of 256 x 256. At .05 it is 11 %,
# as only the side that a pixel lies on is counted, which the description does say, though not that it doubles the errors.
# Way out: p = 2 * (p_values + 1 / (n_repeats + 1)) has 4.8 to 5.0 % of noise at .05 and none at .001; for a level take at least
# 2 / level permutations.
# Versions: napari-morans-i 1.0 of May 2026, the newest in the package index; seen on 2026-11-30. Only the module that computes is
# loaded, from where pip has put it, as the package as a whole imports napari.
# Why it matters: the levels are chosen from a list, and the strictest one looks as safe as the others. Hot and cold spots of
# noise are in the map at any of them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps napari-morans-i==1.0
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

print(*(f"{name} {version(name)}" for name in ("napari-morans-i", "scipy", "numpy")))
place_of = importlib.util.find_spec("napari_morans_i").submodule_search_locations[0]
spec = importlib.util.spec_from_file_location("morans_alone", Path(place_of, "_core.py"))
module = importlib.util.module_from_spec(spec)
sys.modules["morans_alone"] = module
spec.loader.exec_module(module)

for seed in (0, 1):
    picture = np.random.default_rng(seed).normal(size=(256, 256))
    for many in (200, 999):
        for level in module.VALID_SIG_LEVELS:
            random = np.random.default_rng(seed)
            result = module.compute_morans_i(picture, order=1, sig_level=level, n_repeats=many, rng=random)
            share, clusters = result.sig_map.mean(), (result.clusters > 0).mean()
            p = 2 * (result.p_values + 1 / (many + 1))
            print(
                f"noise {seed}, {many} permutations, level {level}: {share:.2%} significant, {share / level:.0f} times the level, in"
                f" clusters {clusters:.2%}, with p = 0 {(result.p_values == 0).sum()}; by the other p {(p <= level).mean():.3%}"
            )
            assert share == clusters and (p <= level).mean() < 1.1 * level
            assert share > 1.8 * level and (result.p_values == 0).sum() > 50
            if many == 200 and level <= 0.001:
                assert 0.008 < share < 0.013 and not (p <= level).any(), share
            if level == 0.05:
                assert 0.09 < share < 0.13 and 0.04 < (p <= level).mean() < 0.055, (share, (p <= level).mean())
print("as found")
PY
