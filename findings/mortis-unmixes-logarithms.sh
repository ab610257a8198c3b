#!/usr/bin/env bash
# MORTIS mixes up how much of which tissue lies in a pixel: nine tenths come out as seven, or as six.
#
# One would expect: unmix_pixels recovers "the non-negative mixing fractions that best reconstruct its intensities" from spectra of
# pure tissues. A pixel of nine tenths A and one tenth B has .9 and .1, after mortis.preprocess too, which is the way of the package.
# What happens: mixtures are sums of intensities, but what is unmixed is their logarithm, which preprocess leaves in X. A logarithm of
# a tenth is not a tenth, so all fractions are drawn to one half: .9 is .7 with spectra of pure pixels of the same preprocessed data,
# and .6 with spectra as a library has them, where pure tissue itself is .82. On the raw counts, before preprocess, all are
# right. Nothing says which of them it takes.
# Versions: mortis-spatial 0.1.0 of September 2026, the only one (unmix_pixels after preprocess as it is by default); seen on 2026-11-29.
# Why it matters: fractions of tissues in a spot or pixel are averaged over sections and compared. A tumour with a trace of stroma
# looks like a mixture, a tenth of tumour in stroma is tripled, and differences between sections shrink by half.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  mortis-spatial==0.1.0 scanpy==1.11.5 anndata==0.12.19 numba==0.68.1 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 zarr==3.1.6
cd "$folder"
export MPLBACKEND=Agg MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import contextlib
import io
from importlib.metadata import version

import anndata
import numpy as np
import pandas as pd
from scipy.optimize import nnls

with contextlib.redirect_stdout(io.StringIO()):
    import mortis

print("mortis-spatial", version("mortis-spatial"))
random = np.random.default_rng(0)
names = [f"metabolite{number}" for number in range(40)]
marks = random.uniform(20, 400, (2, 20))
faint = random.uniform(1, 5, (2, 20))
pure = np.array([[*marks[0], *faint[0]], [*faint[1], *marks[1]]])
pure *= 4000 / pure.sum(1, keepdims=True)  # as much ions from the one as from the other
steps = (1.0, 0.9, 0.75, 0.5, 0.1, 0.0)
truth = np.repeat(steps, 400)
fractions = np.column_stack([truth, 1 - truth])
counts = random.poisson(fractions @ pure).astype("float32")
side = int(np.sqrt(len(truth))) + 1
raw = anndata.AnnData(counts, obs=pd.DataFrame(index=[f"pixel{number}" for number in range(len(truth))]), var=pd.DataFrame(index=names))
raw.obsm["spatial"] = np.column_stack([np.arange(len(truth)) % side, np.arange(len(truth)) // side]).astype(float)
with contextlib.redirect_stdout(io.StringIO()):
    done = mortis.preprocess(raw.copy())
assert list(done.uns["preprocessed_steps"]) == ["tic_normalize", "log1p"], done.uns["preprocessed_steps"]


def spectra(data):
    return {tissue: dict(zip(names, data.X[truth == value].mean(0).tolist())) for tissue, value in (("A", 1.0), ("B", 0.0))}


def unmixed(data, reference):
    copy = data.copy()
    with contextlib.redirect_stdout(io.StringIO()):
        mortis.unmix_pixels(copy, reference)
    return {step: float(copy.obs.loc[truth == step, "fraction_A"].mean()) for step in steps}


normal = np.expm1(np.asarray(done.X, dtype=float))  # what preprocess had before the logarithm
library = np.array([normal[truth == value].mean(0) for value in (1.0, 0.0)]).T
weights = np.array([nnls(library, pixel)[0] for pixel in normal])
hand = {step: float((weights[:, 0] / weights.sum(1))[truth == step].mean()) for step in steps}
before = unmixed(raw, spectra(raw))
own = unmixed(done, spectra(done))
other = unmixed(done, spectra(raw))
for name, seen in (
    ("preprocessed, logarithm undone, by hand", hand),
    ("raw counts, spectra of raw counts", before),
    ("preprocessed, spectra of pure preprocessed pixels", own),
    ("preprocessed, spectra of pure raw pixels", other),
):
    print(f"share of A, {name}: " + ", ".join(f"{value:.2f} for {step:g}" for step, value in seen.items()))
print(f"a pixel of .9: guess .90, seen {own[0.9]:.2f} and {other[0.9]:.2f}; of .1: guess .10, seen {own[0.1]:.2f} and {other[0.1]:.2f}")
assert all(abs(hand[step] - step) < 0.02 and abs(before[step] - step) < 0.02 for step in steps), (hand, before)
assert 0.65 < own[0.9] < 0.75 and 0.25 < own[0.1] < 0.35, own
assert 0.55 < other[0.9] < 0.7 and other[1.0] < 0.9, other
print("as found")
PY
