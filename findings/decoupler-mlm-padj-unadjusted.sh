#!/usr/bin/env bash
# decoupler's padj_mlm holds p-values that are not adjusted; padj of all its other methods is.
#
# One would expect: what is stored as padj_NAME is adjusted by Benjamini and Hochberg, as the documentation of the result
# says, and in noise next to nothing is below .05.
# What happens: the correction is left out where the method's name is mlm, and there alone. The column is named padj all
# the same. In noise 5 percent of it is below .05, in 87 percent of the spots at least one of 40 pathways; by ulm 5 percent
# of the spots have one. The values are plain p-values, to the last digit.
# Versions: decoupler 2.2.0 (2026); seen on 2026-11-29.
# Why it matters: mlm is often taken for pathways, as those of PROGENy. Pathways of spots, measured or predicted, that
# are called active by padj < .05 are mostly chance where few are, and mlm seems to be more sensitive than ulm.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  decoupler==2.2.0 anndata==0.12.19 numba==0.68.1 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import anndata
import decoupler
import numpy as np
import pandas as pd
from scipy import stats

print("decoupler", version("decoupler"))
random = np.random.default_rng(0)
spots, genes, pathways, size = 1000, 500, 40, 20
noise = anndata.AnnData(
    random.normal(size=(spots, genes)),
    obs=pd.DataFrame(index=[f"spot{number}" for number in range(spots)]),
    var=pd.DataFrame(index=[f"gene{number}" for number in range(genes)]),
)
net = pd.DataFrame(
    [
        (f"pathway{pathway:02d}", f"gene{gene}", 1.0)
        for pathway in range(pathways)
        for gene in random.choice(genes, size, replace=False)
    ],
    columns=["source", "target", "weight"],
)
seen = {}
for name in ("ulm", "zscore", "mlm"):
    getattr(decoupler.mt, name)(noise, net, verbose=False)
    stored = noise.obsm[f"padj_{name}"].to_numpy()
    seen[name] = float((stored < 0.05).mean()), float((stored < 0.05).any(1).mean())
    print(
        f"padj_{name} of noise below .05: guess next to none, seen {seen[name][0]:.2%} of all, in {seen[name][1]:.0%} of the spots "
        f"at least one of {pathways}"
    )
# By hand: t values of a linear model with all pathways, their p-values, and these adjusted.
design = np.ones((genes, pathways + 1))
design[:, 1:] = 0
for source, target, _ in net.itertuples(index=False):
    design[int(target[4:]), int(source[7:]) + 1] = 1
inverse = np.linalg.inv(design.T @ design)
effects = inverse @ design.T @ noise.X.T
rest = ((noise.X.T - design @ effects) ** 2).sum(0) / (genes - pathways - 1)
t = (effects / np.sqrt(np.diag(inverse)[:, None] * rest))[1:].T
order = [f"pathway{pathway:02d}" for pathway in range(pathways)]
assert np.allclose(t, noise.obsm["score_mlm"][order].to_numpy())
plain = 2 * stats.t.sf(np.abs(t), genes - pathways - 1)
adjusted = stats.false_discovery_control(plain, axis=1)
off = float(abs(noise.obsm["padj_mlm"][order].to_numpy() - plain).max())
print(f"padj_mlm against plain p-values by hand: guess far apart, seen {off:.0e}; adjusted by hand: {(adjusted < 0.05).mean():.2%} below .05")
assert off < 1e-9, off
assert 0.04 < seen["mlm"][0] < 0.06 and seen["ulm"][0] < 0.005 and seen["zscore"][0] < 0.005, seen
assert (adjusted < 0.05).mean() < 0.005, adjusted
print("as found")
PY
