#!/usr/bin/env bash
# The spatial genes that py-TranspaceR selects are always the first columns of the table, as many as there are spatial genes.
#
# One would expect: geary_c_score gives the genes whose expression lies in patches as Selected_genes, with Values and P_values.
# The two other ways of the package to select genes give numbers of columns under that name, and the package in R gives names.
# What happens: values are sorted, and what is selected are places in the sorted list, not genes. Five genes with a pattern in
# columns 30 to 34 of 40 give [0, 1, 2, 3, 4], five of pure noise; turned around, the table gives the same five numbers. The
# p-values stay in the order of the columns beside values that are sorted, so the five highest values stand beside p of noise.
# The values are right in themselves, as in esda but for a thousandth.
# Versions: py-transpacer 0.1.0 of June 2026, the newest; seen on 2026-11-29. TranspaceR in R, by its source and not run,
# selects by name, and is right.
# Why it matters: the genes of all ways are put together and the cells clustered by them. Nothing tells that the part of Geary's C
# is as if chosen by the alphabet, and their number is what it should be.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.4.6 pandas==2.3.3 scipy==1.16.3 scikit-learn==1.9.1 matplotlib==3.11.2 statsmodels==0.15.0 esda==2.9.0 libpysal==4.14.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps py-transpacer==0.1.0
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import transspacer as ts
from esda.geary import Geary
from libpysal.weights import W
from scipy.spatial import Delaunay

print("py-transpacer", version("py-transpacer"), "esda", version("esda"))
random = np.random.default_rng(0)
cells, genes, spatial = 900, 40, [30, 31, 32, 33, 34]
places = random.uniform(0, 100, (cells, 2))
counts = random.poisson(3, (cells, genes)).astype(float)
for gene in spatial:
    counts[:, gene] = random.poisson(1 + 4 * (places[:, 0] > 50))

links = {cell: set() for cell in range(cells)}
for corners in Delaunay(places).simplices:
    for cell in corners:
        links[cell].update(int(other) for other in corners if other != cell)
weights = W({cell: sorted(others) for cell, others in links.items()}, silence_warnings=True)
by_esda = [Geary(counts[:, gene], weights, transformation="B", permutations=0) for gene in range(genes)]
high = np.array([1 / result.C for result in by_esda])
order = np.argsort(-high)

found = ts.geary_c_score(counts, places, pvalue_threshold=0.01)
backwards = ts.geary_c_score(counts[:, ::-1], places, pvalue_threshold=0.01)
turned = [genes - 1 - gene for gene in spatial[::-1]]
print("genes with a pattern, as made and by esda:", spatial, sorted(int(gene) for gene in order[:5]))
print(f"selected: guess {spatial}, seen {found['Selected_genes']}")
print(f"selected, columns in reverse: guess {turned}, seen {backwards['Selected_genes']}")
selected = [round(float(by_esda[gene].C), 2) for gene in found["Selected_genes"]]
print("Geary's C of what was selected, by esda: guess .4 to .5, seen", selected)
print("five highest values:", found["Values"][:5].round(2), "; by esda:", high[order[:5]].round(2))
print("p beside them: guess 0, seen", found["P_values"][:5].round(2), "; p in columns 30 to 34:", found["P_values"][30:35].round(2))
other = ts.excess_variance_ratio_nb(np.hstack([counts, random.poisson(3, (cells, 1)) * random.integers(0, 3, (cells, 1))]))
varied = [gene for gene in other["Selected_genes"] if gene > 34]
print("control, a gene with too much variance in column 40: guess [40], seen", varied)

assert sorted(order[:5]) == spatial, order
assert found["Selected_genes"] == backwards["Selected_genes"] == [0, 1, 2, 3, 4], (found, backwards)
assert min(by_esda[gene].C for gene in found["Selected_genes"]) > 0.9
assert np.allclose(found["Values"], high[order], rtol=2e-3), (found["Values"], high[order])
assert (found["P_values"][30:35] < 1e-10).all() and (found["P_values"][:4] > 0.1).all(), found["P_values"]
assert varied == [40], other
print("as found")
PY
