#!/usr/bin/env bash
# PersiST's score of spatial structure is higher for a gene's own shuffle than for the gene.
#
# One would expect: a gene expressed in one round domain scores above the same counts dealt out to spots at random.
# What happens: the default score sums all components of the persistence diagram, and noise has many small ones where a
# domain has one. Of 40 genes with one domain, nearly all score below the shuffles; the genes called spatially variable
# are mostly shuffles. The score also grows with the square of the unit of length: by a million from 1 to 1000 a spot.
# Versions: persist-spatial 0.2.0 (July 2026), gudhi 3.13.0; seen on 2026-11-28.
# Why it matters: a panel chosen by it is a panel of noise, which no picture can predict, and sections in pixels and in
# microns cannot be compared.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  persist-spatial==0.2.0 gudhi==3.13.0 numpy==1.26.4 pandas==2.3.3 scipy==1.14.1
cd "$folder"
export MPLCONFIGDIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import pandas as pd
from persist_spatial import compute_persistence

random = np.random.default_rng(0)
row, column = np.mgrid[0:32, 0:24].reshape(2, -1)
places = np.stack([column + (row % 2) / 2, row * 0.866], axis=1)  # the hexagonal grid of Visium
places /= places.max()
genes = {}
for number in range(40):
    away = ((places - random.uniform(0.2, 0.8, 2)) ** 2).sum(axis=1)
    counts = random.poisson(1 + 30 * np.exp(-away / (2 * random.uniform(0.08, 0.2) ** 2))).astype(float)
    genes[f"domain{number}"], genes[f"shuffle{number}"] = counts, random.permutation(counts)
table = pd.DataFrame({"x": places[:, 0], "y": places[:, 1], **genes})
scored = compute_persistence.run_persistence(table, mesh_type="hexagonal").set_index("gene")
own = np.array([scored.loc[f"domain{number}", "CoSS"] for number in range(40)])
dealt = np.array([scored.loc[f"shuffle{number}", "CoSS"] for number in range(40)])
called = scored.index[scored["svg"] == "Yes"]
larger = table.iloc[:, :4].assign(x=table["x"] * 1000, y=table["y"] * 1000)
unit = compute_persistence.run_persistence(larger).set_index("gene")["CoSS"] / scored["CoSS"]
print("persist-spatial", version("persist-spatial"), "gudhi", version("gudhi"))
print(f"genes above their shuffle: guess 40 of 40, seen {(own > dealt).sum()}; median {np.median(own):.2f} and {np.median(dealt):.2f}")
print(f"called spatially variable: guess domains, seen {sum(called.str.startswith('shuffle'))} shuffles of {len(called)}")
print(f"score in a unit 1000 times smaller: guess the same, seen times {unit['domain0']:.3g}")
assert (own > dealt).sum() <= 3, (own > dealt).sum()
assert called.str.startswith("shuffle").mean() > 0.5, called
assert 9e5 < unit["domain0"] < 1.1e6, unit
print("as found")
PY
