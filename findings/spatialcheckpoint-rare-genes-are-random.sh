#!/usr/bin/env bash
# In SpatialCheckpoint a gene that fewer than a quarter of the spots have lies at random among immune cells, wherever it lies.
#
# One would expect: compute_checkpoint_immune_colocalization takes the quarter of spots that are highest in a gene, and divides
# how many of them have an immune marker by how many would by chance: 1 is random, above 1 they are together, as its
# documentation says.
# What happens: high is what is not below the upper quartile. Where fewer than a quarter of the spots have the gene, that
# quartile is 0, no spot is below it, and all spots are high. The ratio is then exactly 1. A gene in 12 % of the spots, all of
# them in the fifth of the section with T cells, is at 1.0 and should be at 5; one in as many spots, none of them there, is at
# 1.0 and should be at 0. With noise in place of both it is 1.0 too. Genes in 26 % and more are right, to the last digit of a
# table of counts by scipy. The same package's checkpoint_immune_proximity takes what is above the quartile, and finds both.
# Versions: spatialcheckpoint 0.1.3 of April 2026, the newest in the package index; seen on 2026-11-30.
# Why it matters: PDCD1, CTLA4, LAG3 and TIGIT, for which the package is made, are in few spots of most Visium sections. What
# it passes on to its clustering and classifiers says that they have nothing to do with T cells; and where a section is
# sequenced more deeply and the gene comes to a quarter, the number jumps from 1 to 4 although the tissue is the same.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.4.6 pandas==2.3.3 scipy==1.17.1 anndata==0.12.19 scanpy==1.11.5 matplotlib==3.11.2 seaborn==0.13.2 pyyaml==6.0.4 \
  typer==0.29.2 requests==2.34.2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps spatialcheckpoint==0.1.3
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import spatialcheckpoint as scp
from anndata import AnnData
from scipy.stats.contingency import crosstab, expected_freq

print(*(f"{name} {version(name)}" for name in ("spatialcheckpoint", "scipy", "numpy")))
random = np.random.default_rng(0)
side = 50
spots = side * side
place = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2) * 100.0
middle = np.argsort(np.hypot(*(place - place.mean(axis=0)).T))
immune = np.isin(np.arange(spots), middle[: spots // 5])


def gene(inside, outside):
    """Counts in so many spots with and without T cells."""
    counts = np.zeros(spots)
    for where, many in ((immune, inside), (~immune, outside)):
        chosen = random.choice(np.flatnonzero(where), many, replace=False)
        counts[chosen] = 1 + random.poisson(1, many)
    return counts


def ratio(high):
    """Spots that are both over those expected, from scipy's table."""
    counts = crosstab(high, immune).count
    return counts[-1, -1] / expected_freq(counts)[-1, -1]


genes = {
    "PDCD1": gene(300, 0),  # 12 % of the spots, with T cells alone
    "CD276": gene(0, 300),  # 12 %, without T cells alone
    "CTLA4": gene(60, 240),  # 12 %, at random
    "LAG3": gene(480, 120),  # 24 %, four fifths of them with T cells
    "TIGIT": gene(500, 150),  # 26 %, a bit more than LAG3
    "HAVCR2": gene(500, 500),  # 40 %
}
data = AnnData(np.log1p(np.column_stack([*genes.values(), immune * (1.0 + random.poisson(1, spots))])))
data.var_names = [*genes, "CD8A"]
data.obsm["spatial"] = place
seen = scp.SpatialFeatureEngineer(data, list(genes), {"T": ["CD8A"]}).compute_checkpoint_immune_colocalization()["T"]
nearby = scp.CheckpointColocalizationAnalyzer(data, list(genes), {"T": ["CD8A"]}).checkpoint_immune_proximity()
nearby = nearby.set_index("gene")["z_score"]
print("times as many spots with T cells as by chance")
for name, counts in genes.items():
    has = counts > 0
    high = has if has.mean() < 0.25 else np.log1p(counts) >= np.percentile(np.log1p(counts), 75)
    guess = ratio(high)
    print(f"  {name} in {has.mean():.0%} of spots: guess {guess:.2f}, seen {seen[name]:.2f}", end="")
    print(f"; z of distances {nearby[name]:+.1f}")
    if has.mean() < 0.25:
        assert seen[name] == 1.0, (name, seen[name])
    else:
        assert abs(seen[name] - guess) < 1e-9, (name, seen[name], guess)
assert ratio(genes["PDCD1"] > 0) > 4.9 and ratio(genes["CD276"] > 0) == 0 and ratio(genes["LAG3"] > 0) > 3.9
assert abs(ratio(genes["CTLA4"] > 0) - 1) < 0.01 and seen["TIGIT"] > 3.5, seen
assert nearby["PDCD1"] < -5 and nearby["LAG3"] < -5 and nearby["CD276"] > 3, nearby
print("as found")
PY
