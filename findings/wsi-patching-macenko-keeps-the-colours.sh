#!/usr/bin/env bash
# In wsi-patching slides that went through Macenko's normalisation still have the colours of their own stains.
#
# One would expect: `MacenkoNormalizer` brings tiles of differently stained slides to one appearance, as Macenko's method does: each pixel's amounts of
# two stains, found on the slide, are put together again with the stains of a reference. Two slides that show the same amounts in
# two pairs of dyes look the same afterwards.
# What happens: amounts are divided by their 99th percentile and put together with the slide's own stains; there is no reference. How strongly a slide is
# stained is evened out, its colours stay: of 26 grey levels between the two slides 15 remain, in blue 21 of 41. All tiles
# become pale as well (mean green 140 for 50), as the 99th percentile becomes an optical density of .43 for 1.23, and what lies beyond it is cut off.
# Way out: put the amounts together with the stains and 99th percentiles of one reference slide; then .7 grey levels remain.
# Versions: wsi-patching 0.5.5, the newest in December 2026; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: a model trained on tiles so normalised meets each hospital's own dyes as before.
# The stage is loaded without the package's __init__, which asks for torch, and with a stand-in for webdataset, which writes tiles.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  wsi-patching==0.5.5 numpy==2.4.6 fastslide==0.8.1 opencv-python-headless==4.13.0.92 orjson==3.13.0 pillow==12.0.0 rtree==1.4.1 webdataset==1.0.2
cd "$folder"
export OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import importlib.util
import sys
import types
from importlib.metadata import version

import numpy as np

package = types.ModuleType("wsi_patching")
package.__path__ = list(importlib.util.find_spec("wsi_patching").submodule_search_locations)
sys.modules["wsi_patching"], sys.modules["webdataset"] = package, types.ModuleType("webdataset")
from wsi_patching.core.types.types import CollatedPatchBatch
from wsi_patching.transforms.macenko_normalizer import MacenkoNormalizer
from wsi_patching.utils.meta_typing import PipelineContext

print(*(f"{name} {version(name)}" for name in ("wsi-patching", "numpy")))
generator = np.random.default_rng(0)
amounts = generator.dirichlet([0.4, 0.4], 4 * 64 * 64) * generator.uniform(0.5, 1.3, (4 * 64 * 64, 1))


def slide(stains, strength=1.0):
    """Four tiles of the same tissue in two dyes; `stains` are their optical densities in red, green and blue."""
    stains = np.array(stains) / np.linalg.norm(stains, axis=1, keepdims=True)
    light = 255 * 10 ** -(strength * amounts @ stains)
    return np.round(light).astype(np.uint8).reshape(4, 64, 64, 3)


def normalised(tiles):
    stage = MacenkoNormalizer()
    stage.attach_context(PipelineContext(use_gpu=False))
    batch = CollatedPatchBatch("slide", np.zeros((4, 2), int), tiles.copy(), False, (64, 64))
    return next(iter(stage([batch]))).patches, stage


def apart(one, other):
    return np.abs(one.astype(float) - other).mean()


def to_reference(tiles, stage, reference):
    """By hand: the slide's own amounts with the stains and the strengths of a reference."""
    density = -np.log(np.clip(tiles.reshape(-1, 3).astype(float), 1, 255) / 255)
    found = np.linalg.lstsq(stage._H_mat.astype(float), density.T, rcond=None)[0] / stage._max_sat * reference._max_sat
    return np.clip(255 * np.exp(-(reference._H_mat @ found).T), 0, 255).reshape(tiles.shape)


here, there = slide([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]]), slide([[0.45, 0.80, 0.40], [0.25, 0.93, 0.27]])
weak = slide([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]], 0.5)
(new_here, fit_here), (new_there, fit_there), (new_weak, _) = map(normalised, (here, there, weak))
by_hand = apart(to_reference(there, fit_there, fit_here), here)
blue = [abs(float(one[..., 2].mean()) - float(other[..., 2].mean())) for one, other in ((here, there), (new_here, new_there))]
print(f"stains found: {fit_here._H_mat.T.round(2).tolist()} and {fit_there._H_mat.T.round(2).tolist()}")
print(f"the same stains at half the strength: {apart(here, weak):.0f} grey levels apart before, {apart(new_here, new_weak):.1f} after")
print(f"other stains: {apart(here, there):.0f} grey levels apart before; guess: about 0 after; seen {apart(new_here, new_there):.0f}; by hand {by_hand:.1f}")
print(f"means in blue: {blue[0]:.0f} apart before, {blue[1]:.0f} after")
print(f"mean green of the first: {here[..., 1].mean():.0f} before, {new_here[..., 1].mean():.0f} after")
assert apart(new_here, new_weak) < 1 and by_hand < 1
assert 22 < apart(here, there) < 30 and 13 < apart(new_here, new_there) < 17
assert 38 < blue[0] < 44 and 18 < blue[1] < 23
assert here[..., 1].mean() < 55 and new_here[..., 1].mean() > 130
print("as found")
PY
