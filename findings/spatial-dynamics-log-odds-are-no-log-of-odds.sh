#!/usr/bin/env bash
# In spatial-dynamics the log odds of three types being together are a difference of two shares, and above 0 for types at random.
#
# One would expect: `n_wise_logOdds` gives the logarithm of the odds that neighbours of the named types are of another named type, against those of random
# tissue: 0 where types are drawn at random, however common they are, and the file `-logOdds_matrix.csv` has the log odds of pairs.
# What happens: the shares are exponentiated before the logarithm, so it is the one less the other, and the one for random tissue is half of what
# it is, .25 instead of .5 for three types of a quarter each. Types at random have .10, .25 and .30 where each is a tenth, a quarter or three
# tenths of the cells, and .57, .41 and .36 where the three share a place and the log odds are 2.1, .67 and .25. The file holds counts of pairs.
# Way out: shuffle the types among the cells and take the log odds of the shares, as the script does, from the returned table of counts.
# Versions: spatial-dynamics 0.1.0, the newest in November 2026, with pandas 2.2.3; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: any three types are said to meet more often than by chance, the more so the more cells they have.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile numpy==1.26.4 pandas==2.2.3 scipy==1.15.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps spatial-dynamics==0.1.0
cd "$folder"
export OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from spatial_dynamics.n_simplex_neighborhoods import n_wise_logOdds

print(*(f"{name} {version(name)}" for name in ("spatial-dynamics", "pandas")))
CELLS, NAMED, NEAR, FAR, SHUFFLES = 3000, ["A", "B", "C"], 3, 33, 50
generator = np.random.default_rng(0)
places = generator.uniform(0, 1500, (CELLS, 2))
tree = cKDTree(places)
pairs = tree.query_pairs(FAR, output_type="ndarray")
pairs = pairs[np.hypot(*(places[pairs[:, 0]] - places[pairs[:, 1]]).T) > NEAR]
pairs = np.concatenate([pairs, pairs[:, ::-1]])


def share(types):
    """Of the neighbours of cells of a named type those that are of another named type."""
    first, second = types[pairs[:, 0]], types[pairs[:, 1]]
    return (np.isin(second, NAMED) & (first != second))[np.isin(first, NAMED)].mean()


def right(types):
    """The log of the odds of that share against its odds where the types are shuffled among the cells."""
    seen, random = share(types), np.mean([share(generator.permutation(types)) for _ in range(SHUFFLES)])
    return seen, random, np.log(seen / (1 - seen)) - np.log(random / (1 - random))


results = {}
for kind, shares in (("a tenth", [0.1] * 3), ("a quarter", [0.25] * 3), ("three tenths", [0.3] * 3)):
    types = generator.choice(list("ABCD"), CELLS, p=[*shares, 1 - sum(shares)])
    together = np.full(CELLS, "D")
    named = types[np.isin(types, NAMED)]
    together[np.argsort(places[:, 0])[: len(named)]] = generator.permutation(named)
    for tissue, labels in (("at random", types), ("in one place", together)):
        with redirect_stdout(StringIO()):
            counts, seen = n_wise_logOdds(
                pd.DataFrame({"x": places[:, 0], "y": places[:, 1], "cluster": labels}), ".", "sample", resolution=1.0, target_celltypes=NAMED
            )
        table = pd.read_csv("sample-logOdds_matrix.csv", index_col=0)
        observed, random, guess = right(labels)
        results[kind, tissue] = seen
        print(
            f"three types, each {kind} of the cells, {tissue}: log odds: guess {guess:.2f}, seen {seen:.2f}; shares by hand: {observed:.2f} against {random:.2f} in shuffles; "
            f"A beside B in the file of log odds: {table.loc['B', 'A']:.0f}"
        )
        assert (table.to_numpy() == counts.to_numpy()).all() and (table.loc[NAMED].to_numpy() > 5).all()
        assert abs(guess) < 0.1 if tissue == "at random" else guess > 0.15
        theory = 3 * shares[0] ** 2 / (3 * shares[0])
        assert abs(seen - (observed - theory)) < 0.03
assert results["a tenth", "at random"] > 0.06 and results["a quarter", "at random"] > 0.2 and results["three tenths", "at random"] > 0.25
print("as found")
PY
