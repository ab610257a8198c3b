#!/usr/bin/env bash
# In cellproportion samples that lack a cell type take no part in its comparison, so a type that most tumours have lost has not changed.
#
# One would expect: the fraction of a type in a sample without a single cell of it is 0. A type that is a fifth of each of ten normal samples and of
# three tumours, and absent from seven tumours, is rarer in tumours: means .20 and .06, Mann-Whitney's p .02.
# What happens: the fractions come from counts of the pairs of sample and type that there are, so a 0 is never there. The type is compared between
# ten normal samples and the three tumours that have it: the difference is .01 with a p of .5. A type that eight tumours of ten have lost,
# two of them have with a fraction of .2 and all normal samples with .1 is commoner in tumours, p .04. Types that one group lacks have no row.
# Way out: make the table of fractions with `pandas.crosstab(sample, type, normalize="index")` and test its columns.
# Versions: cellproportion 1.1.1, the newest in November 2026, with pandas 2.3.3; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: loss of a type, as of immune cells in excluded tumours, is what such comparisons look for, and it is what cannot be seen.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  cellproportion==1.1.1 anndata==0.12.19 pandas==2.3.3 numpy==2.4.6 scipy==1.17.1 statsmodels==0.14.6
cd "$folder"
OMP_NUM_THREADS=1 "$folder/venv/bin/python" -I -W ignore - <<'PY'
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO

import numpy as np
import pandas as pd
from cellproportion import cell_type_abundance
from scipy.stats import mannwhitneyu

print(*(f"{name} {version(name)}" for name in ("cellproportion", "pandas", "scipy")))
SAMPLES, CELLS = 10, 200
generator = np.random.default_rng(0)
rows = []
for condition in ("normal", "tumor"):
    for sample in range(SAMPLES):
        fractions = {
            "T cell": 0.2 if condition == "normal" or sample < 3 else 0,
            "B cell": 0.1 if condition == "normal" else 0.2 * (sample < 2),
            "mast cell": 0.05 * (condition == "normal"),
        }
        fractions["stroma"] = 1 - sum(fractions.values())
        for kind in generator.choice(list(fractions), CELLS, p=list(fractions.values())):
            rows.append((f"{condition} {sample}", condition, kind))
cells = pd.DataFrame(rows, columns=["sample", "condition", "type"])
columns = {"annotation": "type", "sample_types": "condition", "sample_ID": "sample", "sample_types_1": "tumor", "sample_types_2": "normal"}
with redirect_stdout(StringIO()):
    seen = cell_type_abundance(cells, method="mean_diff", **columns).set_index("anno")
fractions = pd.crosstab(cells["sample"], cells["type"], normalize="index")
is_tumour = fractions.index.str.startswith("tumor")
guess = {}
for kind in fractions:
    tumour, normal = fractions.loc[is_tumour, kind], fractions.loc[~is_tumour, kind]
    guess[kind] = tumour.mean() - normal.mean(), mannwhitneyu(tumour, normal).pvalue
    found = f"{seen.stat_values[kind]:+.2f}, p {seen.p_values[kind]:.2g}" if kind in seen.index else "no row"
    print(f"{kind}: tumours less normal samples: guess {guess[kind][0]:+.2f}, p {guess[kind][1]:.2g}; seen {found}")
assert guess["T cell"][0] < -0.1 and guess["T cell"][1] < 0.05
assert abs(seen.stat_values["T cell"]) < 0.03 and seen.p_values["T cell"] > 0.3
assert guess["B cell"][0] < -0.04 and guess["B cell"][1] < 0.05
assert seen.stat_values["B cell"] > 0.05 and seen.p_values["B cell"] < 0.05
assert guess["mast cell"][1] < 0.001 and "mast cell" not in seen.index
print("as found")
PY
