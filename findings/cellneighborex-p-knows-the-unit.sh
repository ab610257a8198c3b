#!/usr/bin/env bash
# CellNeighborEX's p-values depend on the unit of expression, and genes that no cell expresses are among the significant ones.
#
# One would expect: genes observed as expected, but for the noise of counting, have p < .05 in 5 percent of the cases, whether the
# matrix has counts, counts per 10000 or their logarithms; a gene that is 0 everywhere says nothing, and has p = 1 or none.
# What happens: chi_square_goodness_of_fit puts expression into Pearson's statistic as if it were numbers of events. Ten times the
# unit is ten times the statistic: of the same noise 3 percent are below .05 as counts, all as counts per 10000, with p = 1e-44 in the
# middle, and none as their logarithms, where a gene that is off by half in every spot has p = 1. permutation_test_all_clusters does not see
# the unit, but where nothing varies it sets p = .0001: silent genes stay significant after correction, in all clusters.
# Versions: cellneighborex 2.0.0 of March 2026, the newest (its module ccigenes, without the package's other half, which imports
# cell2location); seen on 2026-11-29. Its documentation asks for "single-cell expression data".
# Why it matters: AnnData mostly hold normalised values. The two p-values are combined into the list of genes that a neighbour changes:
# it is all genes or none by the unit, and panels have genes that are silent in a section.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  anndata==0.12.19 statsmodels==0.15.0 tqdm==4.70.1 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 zarr==3.1.6
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps cellneighborex==2.0.0
cd "$folder"
export TQDM_DISABLE=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import contextlib
import importlib.util
import io
from importlib.metadata import distribution, version

import anndata
import numpy as np
import pandas as pd

print("cellneighborex", version("cellneighborex"))
where = distribution("cellneighborex").locate_file("CellNeighborEX/ccigenes.py")
spec = importlib.util.spec_from_file_location("ccigenes", where)
ccigenes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ccigenes)

random = np.random.default_rng(0)
spots, genes, silent = 300, 80, 5
names = [f"gene{number}" for number in range(genes)] + ["doubled"] + [f"silent{number}" for number in range(silent)]
rates = random.gamma(2, 15, genes + 1)
rates[-1] = 20
expected = random.gamma(5, rates / 5, (spots, genes + 1))
mean = expected.copy()
mean[:, -1] *= random.choice([0.5, 1.5], spots)  # in one half of the spots three times the other
observed = random.poisson(mean).astype(float)
observed, expected = (np.hstack([matrix, np.zeros((spots, silent))]) for matrix in (observed, expected))
depth = observed.sum(1, keepdims=True)
clusters = np.repeat(["one", "two", "three"], spots // 3)


def test(change):
    matrices = [change(matrix) for matrix in (observed, expected)]
    index = [f"spot{number}-1_{half}" for half in ("before", "after") for number in range(spots)]
    obs = pd.DataFrame({"cluster": pd.Categorical(np.tile(clusters, 2)), "condition": np.repeat(["observed", "expected"], spots)}, index=index)
    data = anndata.AnnData(np.vstack(matrices), obs=obs, var=pd.DataFrame(index=names))
    tables = [pd.DataFrame(matrix, columns=names).assign(cluster=clusters) for matrix in matrices]
    with contextlib.redirect_stdout(io.StringIO()):
        chi = ccigenes.chi_square_goodness_of_fit(data, "cluster")
        shuffled = ccigenes.permutation_test_all_clusters(data, "cluster", *tables, n_permutations=200)
    return chi, shuffled


units = {"counts": lambda m: m, "per 10000": lambda m: 1e4 * m / depth, "log1p of that": lambda m: np.log1p(1e4 * m / depth)}
noise, middle, doubled, without, adjusted = {}, {}, {}, {}, {}
for name, change in units.items():
    chi, shuffled = test(change)
    noise[name] = float((chi.loc[chi["gene"].str.startswith("gene"), "chi_p_value"] < 0.05).mean())
    middle[name] = float(chi.loc[chi["gene"].str.startswith("gene"), "chi_p_value"].median())
    doubled[name] = float(chi.loc[chi["gene"] == "doubled", "chi_p_value"].max())
    quiet = shuffled[shuffled["gene"].str.startswith("silent")]
    without[name] = quiet["perm_p_value"].to_numpy()
    adjusted[name] = float((quiet["perm_p_value_adj"] < 0.05).mean())
    print(
        f"{name}, total of a spot {change(observed).sum(1).mean():.0f}: noise below .05: guess 5%, seen {noise[name]:.0%}, median p {middle[name]:.0e}; "
        f"a gene off its expectation by half everywhere: guess p = 0, seen up to {doubled[name]:.0e}"
    )
    print(f"  genes that are 0 everywhere, permutation test: guess p = 1 or none, seen {set(without[name].tolist())}, adjusted below .05 in {adjusted[name]:.0%}")
assert 0.03 < noise["counts"] < 0.15 and noise["per 10000"] > 0.95 and noise["log1p of that"] == 0, noise
assert doubled["counts"] < 1e-6 and doubled["log1p of that"] > 0.9, doubled
assert all((values == 1e-4).all() for values in without.values()) and all(share == 1 for share in adjusted.values()), (without, adjusted)
print("as found")
PY
