#!/usr/bin/env bash
# In SpacePath a metabolite that has two ions has the same weight in every spot, the total of the section, so it has no map at all.
#
# One would expect: a metabolite's weight in a spot is the intensity of its ions there times the probability of the assignment, one over the
# number of metabolites that the ion may be and the best of those of its ions. With a second ion (another adduct) of half the intensity its
# weights are 1.5 times those with the first one alone, spot by spot.
# What happens: the table of ions by spots is flattened before it is summed, so the sum is one number, of all ions in all spots. On 20 by 20
# spots with a gradient the weight of a metabolite of two ions is 6300 everywhere, where 1.5 to 30 is right, and is four times that in a
# section of four times the spots; with either ion alone it follows the gradient at 1.00.
# Where a spot lacks the ion that comes last in the table the weight is 0, however much there is of the other one; and the best probability
# is looked up in the first spot alone: where that lacks the ion that is sure, all weights are a quarter.
# Way out: compute the weights by hand, as the script does, or keep one ion for each metabolite.
# Versions: spacepath 0.1.0 with anndata 0.12.19; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: scores of pathways are taken from these weights. Metabolites that were seen best, with several ions, give them nothing
# but a large constant, which differs between sections by their size.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  anndata==0.12.19 numpy==2.4.6 pandas==2.3.3 scipy==1.17.1
# without what chemistry, graphs and figures need, which takes no part in the weights
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps spacepath==0.1.0
cd "$folder"
export OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import sys
from importlib.metadata import version
from unittest.mock import MagicMock

for name in ("scanpy", "squidpy", "rdkit", "rdkit.Chem", "rdkit.Chem.AllChem", "rdkit.DataStructs", "SpacePath.core.data"):
    sys.modules[name] = MagicMock()  # imported beside the weights, not used for them

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix
from SpacePath.core.processing.measures_methods import build_identifiers_weights_df, compute_metabolites_probs_df

print(*(f"{name} {version(name)}" for name in ("spacepath", "anndata", "numpy", "pandas")))


def weights(ions, assignments):
    """What ComputeAssignmentsWeights.run computes, for the metabolite "M", and the same by hand."""
    names = [str(one) for one in ions]
    spots = [str(one) for one in range(len(next(iter(ions.values()))))]
    table = np.stack(list(ions.values()), axis=1).astype(np.float32)
    section = AnnData(csr_matrix(table), obs=pd.DataFrame(index=spots), var=pd.DataFrame({"mz": list(ions)}, index=names))
    notes = pd.DataFrame(assignments, columns=["mz", "metabolite"])
    probabilities = compute_metabolites_probs_df(section, notes, "metabolite")
    seen = build_identifiers_weights_df(section, probabilities, notes, "metabolite")["M"].to_numpy()
    mine = notes.loc[notes.metabolite == "M", "mz"]
    shares = {ion: 1 / (notes.mz == ion).sum() for ion in mine}
    best = np.max([shares[ion] * (ions[ion] > 0) for ion in mine], axis=0)
    return seen, best * np.sum([ions[ion] for ion in mine], axis=0)


for side in (20, 40):
    gradient = np.tile(np.linspace(1, 20, side), side)
    ions = {200.5: gradient, 300.5: gradient / 2}
    for case, chosen in (("first ion alone", [200.5]), ("second ion alone", [300.5]), ("both ions", [200.5, 300.5])):
        seen, right = weights({ion: ions[ion] for ion in chosen}, [(ion, "M") for ion in chosen])
        print(f"{side} by {side} spots, {case}: guess {right.min():.1f} to {right.max():.1f}, seen {seen.min():.1f} to {seen.max():.1f}")
        if len(chosen) == 1:
            assert np.allclose(seen, right)
        else:
            assert np.allclose(seen, 1.5 * gradient.sum()) and np.isclose(right.max() / right.min(), 20)

# four spots, by what was seen there: both ions, the first, the second, both; and the same in another order
sure = [(200.5, "M"), (300.5, "M"), (300.5, "N"), (300.5, "O"), (300.5, "P")]
first, second = np.array([10, 10, 0, 10]), np.array([10, 0, 10, 10])
for order in ([0, 1, 2, 3], [2, 0, 1, 3]):
    seen, right = weights({200.5: first[order], 300.5: second[order]}, sure)
    back = np.argsort(order)
    print(f"spots with both ions, the first, the second, both, in the order {order}: guess {right[back]}, seen {seen[back]}")
    assert np.allclose(right[back], [20, 10, 2.5, 20])
    assert np.allclose(seen[back], [60, 0, 60, 60] if order[0] == 0 else [15, 0, 15, 15])
print("as found")
PY
