#!/usr/bin/env bash
# NicheSphere tests the wrong patients against each other where they are not listed by the alphabet.
#
# One would expect: diffColoc_test takes a table with the columns sample and sampleType, and compares how often two types of cells
# are together in the samples of two groups. Which sample is in which group is in that table.
# What happens: the column sample is not read. The first row is taken to be of the first sample in the table of pairs, and so on.
# Version 1.0.2 kept samples there as they come in the spots; 1.1.0 has them by the alphabet, P1, P10, P11, P12, P2. Of twelve
# patients P1 to P12, tumour and T cells are together more in the six with the disease: z = 2.9, p = .004 by hand and in 1.0.2.
# In 1.1.0 the same lines give z = 0 and p = 1 where the sick are P7 to P12, and z = -1.3 where they are P2, P4 and so on.
# Where the sick are listed first, it is z = -2.9 and p = .004 in both versions: the opposite, and as significant.
# Versions: nichesphere 1.1.0 of September 2026, the newest, and 1.0.2, the only other one; seen on 2026-11-29.
# Why it matters: its network of niches is made of these scores. Nothing is said, p-values look like p-values, and a program that
# was right with the version before is not any more.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.4.6 pandas==2.3.3 scipy==1.16.3 scikit-learn==1.9.1 scanpy==1.11.5 anndata==0.12.7 networkx==3.6.1 \
  statsmodels==0.15.0 matplotlib==3.11.2 seaborn==0.13.2 plotly==5.24.1 joblib==1.6.0
for number in 1.0.2 1.1.0; do
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps --target "$folder/$number" \
    "nichesphere==$number"
done
cd "$folder"
cat > seen.py <<'PY'
import sys

sys.path.insert(0, sys.argv[1])
from importlib.metadata import version

import numpy as np
import pandas as pd
from nichesphere import coloc
from scipy.stats import ranksums

number = version("nichesphere")
print("nichesphere", number)
types = ["tumour", "T cell", "fibroblast", "endothelium"]
pair = "tumour-T cell"


def scores(names, sick, listed):
    """z and p of the pair by hand, by the names, and by nichesphere with patients listed in an order."""
    random = np.random.default_rng(0)
    of = np.repeat(names, 60)
    spots = random.dirichlet(np.full(4, 2.0), len(of))
    together = np.isin(of, sick) & (random.random(len(of)) < 0.5)
    spots[together] = 0.3 * spots[together] + [0.35, 0.35, 0, 0]
    index = [f"spot {spot}" for spot in range(len(of))]
    spots, of = pd.DataFrame(spots, columns=types, index=index), pd.Series(of, index=index)
    table = coloc.reshapeColoc(coloc.getColocProbs(spots, of))
    groups = pd.DataFrame({"sample": listed, "sampleType": ["sick" if name in sick else "well" for name in listed]})
    seen = coloc.diffColoc_test(table, groups, exp_condition="sick", ctrl_condition="well").loc[pair]
    means = (spots["tumour"] * spots["T cell"]).groupby(of).mean()
    assert np.allclose(table[pair], means[table.index])
    by_hand = ranksums(means[sick], means[[name for name in names if name not in sick]])
    rows = groups.set_index("sample").loc[table.index].reset_index()
    put_right = coloc.diffColoc_test(table, rows, exp_condition="sick", ctrl_condition="well").loc[pair]
    assert np.isclose(put_right["statistic"], by_hand.statistic) and np.isclose(put_right["p-value"], by_hand.pvalue)
    return by_hand, seen


plain = [f"P{patient}" for patient in range(1, 13)]
padded = [f"P{patient:02}" for patient in range(1, 13)]
ways = {
    "P1 to P12, the last six sick": (plain, plain[6:], plain),
    "P1 to P12, every second sick": (plain, plain[1::2], plain),
    "P01 to P12, the last six sick": (padded, padded[6:], padded),
    "P01 to P12, the last six sick and listed first": (padded, padded[6:], padded[6:] + padded[:6]),
}
found = []
for title, way in ways.items():
    by_hand, seen = scores(*way)
    found.append(seen)
    guess = f"guess z {by_hand.statistic:.1f}, p {by_hand.pvalue:.3f} as by hand"
    print(f"{title}: {guess}, seen z {seen['statistic']:.1f}, p {seen['p-value']:.3f}")
    assert by_hand.statistic > 2.8 and by_hand.pvalue < 0.005, by_hand
z, p = [seen["statistic"] for seen in found], [seen["p-value"] for seen in found]
assert z[2] > 2.8 and z[3] < -2.8 and p[2] < 0.005 and p[3] < 0.005, found
if number == "1.0.2":
    assert z[0] > 2.8 and z[1] > 2.8, found
else:
    assert abs(z[0]) < 1 and p[0] > 0.3 and z[1] < -1, found
print("as found")
PY
for number in 1.0.2 1.1.0; do
  "$folder/venv/bin/python" -I -W ignore seen.py "$folder/$number"
done
