#!/usr/bin/env bash
# SpaXCR's smoothing of clones does not hear how steep it is to be, and its exponential kernel is none in microns and a needle in mm.
#
# One would expect: smooth takes a weighted mean of the neighbours, whose weights decay with distance; the higher alpha, the more it
# stays with the nearest, as its documentation says. A section in microns and in millimetres, radius and all, has the same map.
# What happens: alpha is taken and left aside: the decay is always computed with 1. The scale of the decay is the mean distance r of the
# neighbours, and "Exponential" divides by r squared, "Cauchy" by r: lengths that are not of one unit. So of noise on a grid with
# neighbours 100 microns apart all alphas from .25 to 100 give one map, for all four kernels; the exponential one differs by .001 at most
# from the plain mean of all within the radius in microns, and in mm has a spread 1.6 times as large; both correlate by .71.
# Gaussian and Laplacian do not know the unit.
# Versions: spaxcr 0.1.1 (October 2026, tl.smooth), the newest; seen on 2026-11-29.
# Why it matters: who looks whether clones are clumped at a small scale compares alphas, finds them alike, and takes that for a result.
# Xenium comes in microns, Visium in pixels, others in mm: one analysis, three smoothings.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  spaxcr==0.1.1 biopython==1.85 scanpy==1.11.5 anndata==0.12.19 numba==0.68.1 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 zarr==3.1.6
cd "$folder"
export MPLBACKEND=Agg MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import anndata
import numpy as np
import pandas as pd
import spaxcr
from scipy.spatial.distance import cdist

print("spaxcr", version("spaxcr"))
random = np.random.default_rng(0)
rows, columns = np.divmod(np.arange(900), 30)
microns = 100 * np.column_stack([columns + rows % 2 / 2, rows * np.sqrt(3) / 2])
clones = random.poisson(5, len(microns)).astype(float)
kernels, alphas = ("Gaussian", "Exponential", "Laplacian", "Cauchy"), (0.25, 1, 4, 100)


def smoothed(kernel, alpha=1, unit=1.0):
    data = anndata.AnnData(np.zeros((len(microns), 1)), obs=pd.DataFrame({"clones": clones}, index=[f"spot{n}" for n in range(len(microns))]))
    data.obsm["spatial"] = microns * unit
    spaxcr.tl.smooth(data, "clones", alpha=alpha, kernel=kernel, smooth_distance=310 * unit)
    return data.obs["smooth"].to_numpy()


between = cdist(microns, microns)
near = between <= 310
plain = near @ clones / near.sum(1)


def by_hand(alpha):
    """The Gaussian kernel as documented: its scale is the mean distance over alpha."""
    scale = (between * near).sum(1) / near.sum(1) / alpha
    weights = near * np.exp(-(between**2) / (2 * scale[:, None] ** 2))
    return weights @ clones / weights.sum(1)


hand = {alpha: float(by_hand(alpha).std()) for alpha in alphas}
maps = {kernel: [smoothed(kernel, alpha) for alpha in alphas] for kernel in kernels}
assert np.allclose(maps["Gaussian"][0], by_hand(1))
print("spread of the map, Gaussian: " + "; ".join(f"alpha {alpha:g}: guess {hand[alpha]:.2f}, seen {seen.std():.2f}" for alpha, seen in zip(alphas, maps["Gaussian"])))
apart = {kernel: max(float(abs(one - found[0]).max()) for one in found) for kernel, found in maps.items()}
print(f"largest difference between maps of alpha .25 to 100: guess above 1, seen {max(apart.values()):g} in all four kernels")
other = {kernel: smoothed(kernel, unit=0.001) for kernel in kernels}
alike = {kernel: float(np.corrcoef(maps[kernel][1], other[kernel])[0, 1]) for kernel in kernels}
print("microns against mm, correlation of the maps: guess 1, seen " + ", ".join(f"{value:.2f} {kernel}" for kernel, value in alike.items()))
flat = float(abs(maps["Exponential"][1] - plain).max())
wider = float(other["Exponential"].std() / maps["Exponential"][1].std())
print(f"exponential kernel against the plain mean of all within the radius: guess apart, seen {flat:.3f} at most in microns; in mm its spread is {wider:.1f} times as large")
assert max(apart.values()) == 0 and hand[100] > 4 * hand[0.25], (apart, hand)
assert alike["Gaussian"] > 0.999999 and alike["Laplacian"] > 0.999999, alike
assert 0.6 < alike["Exponential"] < 0.75 and alike["Cauchy"] < 0.99, alike
assert flat < 0.02 and wider > 1.4, (flat, wider)
print("as found")
PY
