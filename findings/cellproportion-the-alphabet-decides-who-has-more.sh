#!/usr/bin/env bash
# In cellproportion the alphabet decides which group has more of a type, and a third group takes the place of one that was asked for.
#
# One would expect: `cell_type_abundance` compares the groups given as `sample_types_1` and `sample_types_2`. Its methods have one sign, that of the
# mean of the first less that of the second as `mean_diff` has it, whatever the groups are called. Samples of a third group do not matter.
# What happens: the default, `signed_r2`, and `corr` take no groups. The first is positive where the group first in the alphabet has more, so in the
# README's own call, tumor against normal, a type that tumours have more of is negative and blue, while `mean_diff` has it positive and red;
# named case and control it is the other way round. With samples of a third condition the value is fitted to all of them and its sign
# is that of the two conditions first in the alphabet: tumours that differ from normal samples get the sign of inflamed against normal ones.
# Way out: use `mean_diff` or `log2_fc`, and give a table with the two groups alone.
# Versions: cellproportion 1.1.1, the newest in November 2026, with statsmodels 0.14.6; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: a figure says that a type is depleted where it is enriched, and differs between two studies by the names of their groups.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  cellproportion==1.1.1 anndata==0.12.19 pandas==2.3.3 numpy==2.4.6 scipy==1.17.1 statsmodels==0.14.6
cd "$folder"
OMP_NUM_THREADS=1 "$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import pandas as pd
from cellproportion import cell_type_abundance
from scipy.stats import linregress

print(*(f"{name} {version(name)}" for name in ("cellproportion", "pandas", "statsmodels")))
SAMPLES, CELLS = 8, 300


def table(fraction_by_condition):
    """Cells of two types; each condition has its fraction of T cells."""
    generator = np.random.default_rng(0)
    rows = []
    for condition, fraction in fraction_by_condition.items():
        for sample in range(SAMPLES):
            number = int(CELLS * (fraction + generator.uniform(-0.04, 0.04)))
            rows += [(f"{condition} {sample}", condition, "T cell")] * number + [(f"{condition} {sample}", condition, "other")] * (CELLS - number)
    return pd.DataFrame(rows, columns=["sample", "condition", "type"])


def compare(cells, first, second):
    """Value of T cells by each method, with its colour, and the signed share of variance from a line through the two groups."""
    out = {}
    for method in ("signed_r2", "mean_diff", "corr"):
        frame = cell_type_abundance(cells, "type", "condition", "sample", first, second, method=method).set_index("anno")
        out[method] = frame.stat_values["T cell"], {"#E41A1C": "red", "#377EB8": "blue"}.get(frame.colour["T cell"], "grey")
    shares = (cells.type == "T cell").groupby([cells.condition, cells["sample"]]).mean()
    values = np.r_[shares[first], shares[second]]
    fit = linregress(np.repeat([1, 0], SAMPLES), values)
    return out, np.sign(fit.slope) * fit.rvalue**2


signs = {}
for name, fractions in (
    ("tumor more than normal", {"tumor": 0.3, "normal": 0.2}),
    ("case more than control", {"case": 0.3, "control": 0.2}),
    ("tumor more than normal, inflamed most", {"tumor": 0.3, "normal": 0.2, "inflamed": 0.6}),
    ("tumor more than normal, inflamed least", {"tumor": 0.3, "normal": 0.2, "inflamed": 0.05}),
):
    first, second = list(fractions)[:2]
    seen, right = compare(table(fractions), first, second)
    signs[name] = tuple(int(np.sign(seen[method][0])) for method in seen)
    print(f"{name}: signed_r2: guess {right:+.2f}; seen", *(f"{method} {value:+.2f} ({colour})" for method, (value, colour) in seen.items()))
    assert right > 0.4
assert signs["tumor more than normal"] == (-1, 1, 1)
assert signs["case more than control"] == (1, 1, -1)
assert signs["tumor more than normal, inflamed most"][0] == 1 and signs["tumor more than normal, inflamed least"][0] == -1
print("as found")
PY
