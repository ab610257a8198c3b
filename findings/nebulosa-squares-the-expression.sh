#!/usr/bin/env bash
# Nebulosa's density of a gene counts every cell with the square of its expression, and is no density.
#
# One would expect: it is the density of cells weighted by their expression, so that 100 cells with 10 counts and 1000 cells with
# one, spread alike, are as high as each other, the whole integrates to 1, and the two methods on offer nearly agree.
# What happens: the weight is multiplied into the kernel of x and into that of y, so a cell counts with its square. The few cells
# with 10 counts are ten times as high as the many, the integral is 3, and the other method, method="ks", has them alike. The
# source of the original, in R, reads the same; it was not run.
# Versions: pynebulosa 0.1.1 (2026, calculate_density and plot_density, as they are by default); seen on 2026-11-29.
# Why it matters: it is drawn to be less noisy than the counts themselves, over sections as well as over embeddings. The few
# highest cells rule it instead, and a map of counts differs from one of their logarithms, or of a prediction, whose range is
# narrower, for this reason alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  pynebulosa==0.1.1 anndata==0.12.19 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 zarr==3.1.6
cd "$folder"
export MPLBACKEND=Agg MPLCONFIGDIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import pynebulosa
from scipy.stats import norm

print("pynebulosa", version("pynebulosa"))
random = np.random.default_rng(0)
one = random.normal(size=(100, 2))
places = np.concatenate([one, np.repeat(one, 10, axis=0) + (12, 0)])  # the same shape twice, the second with ten cells each
groups = np.repeat([0, 1], [100, 1000])
counts = np.where(groups == 0, 10.0, 1.0)
assert counts[groups == 0].sum() == counts[groups == 1].sum()


def grid(weights, where=places):
    made = pynebulosa.calculate_density(weights, where, map_to_cells=False)
    return made["x"], made["y"], np.asarray(made["z"])


def whole(x, y, z):
    return float(z.sum() * (x[1] - x[0]) * (y[1] - y[0]))


x, y, z = grid(counts)
few, many = z[x < 6].max(), z[x > 6].max()
scores = pynebulosa.calculate_density(counts, places, method="ks")
other = float(scores[groups == 0].max() / scores[groups == 1].max())
print(f"100 cells of 10 counts against 1000 cells of 1, highest point: guess 1 times, seen {few / many:.1f}; by method ks {other:.2f}")
print(f"integral: guess 1, seen {whole(x, y, z):.2f}; with equal weights {whole(*grid(np.ones(1100))):.2f}")


def bandwidth(values):
    spread = min(np.std(values, ddof=1), np.subtract(*np.percentile(values, [75, 25])) / 1.34)
    return 0.9 * spread * len(values) ** -0.2


def by_hand(power):
    widths = bandwidth(places[:, 0]), bandwidth(places[:, 1])
    kernels = [norm.pdf((axis[:, None] - places[:, side]) / widths[side]) for side, axis in enumerate((x, y))]
    weights = counts / counts.mean()
    return (kernels[0] * weights**power) @ kernels[1].T / (weights.sum() * widths[0] * widths[1])


off = [float(abs(z - by_hand(power)).max() / z.max()) for power in (1, 2)]
print(f"against densities by hand: expression as it is: {off[0]:.0%} off; squared: {off[1]:.0e} off")
assert 9 < few / many < 11 and 0.8 < other < 1.25, (few, many, other)
assert 2.5 < whole(x, y, z) < 3.5, whole(x, y, z)
assert off[1] < 1e-9 and off[0] > 0.5, off
print("as found")
PY
