#!/usr/bin/env bash
# SpatialQuery calls a neighbourhood that every cell has enriched around a rare type, with p = 0, at random places.
#
# One would expect: the hypergeometric test of a motif gives the chance of as many cells of the type beside it as were seen, or
# more. Where types are thrown at random few pairs are significant; where all cells have the motif, all ten of a type do, and p
# is 1.
# What happens: p is the chance of more than were seen. What was seen itself is left out, and where all cells of the type have
# the motif there is nothing above: p is 0, whatever is expected. With the 30 neighbours it takes by default nearly every cell
# has all common types around it. So in random sections every type with 10 or with 4 cells has a significant motif, and the
# commonest type, with 1000 cells, in half of them; by hand 0 to 5 percent. The table says it itself: expectation 9.99, seen
# 10, p 0. Within a distance that holds 7 cells, so that a motif is not everywhere, it is 13 percent in place of 0.
# Versions: SpatialQuery 0.0.7 (October 2026, spatial_query.motif_enrichment_knn as it is by default, and
# motif_enrichment_dist); seen on 2026-11-29. The documentation says "p-value from hypergeometric test".
# Why it matters: which types live around a rare one is asked of measured and of predicted cell types alike, and rare
# types are where it is asked most. The answer is "the common ones, with p = 0", in noise too, so the two agree.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  SpatialQuery==0.0.7 scanpy==1.11.5 anndata==0.12.19 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 mlxtend==0.25.0 \
  scikit-learn==1.9.1 statsmodels==0.15.0 zarr==3.1.6
cd "$folder"
export MPLBACKEND=Agg MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import contextlib
import io
from importlib.metadata import version

import anndata
import numpy as np
import pandas as pd
from scipy.stats import hypergeom
from SpatialQuery import spatial_query

print("SpatialQuery", version("SpatialQuery"))
random = np.random.default_rng(0)
cells, rare = 2000, {"ten cells": 10, "four cells": 4}


def section():
    """Types thrown at random: three common ones, and two rare ones in their places."""
    types = np.array(["A", "B", "C"], dtype=object)[random.choice(3, cells, p=(0.5, 0.3, 0.2))]
    places = iter(random.permutation(cells))
    for name, count in rare.items():
        types[[next(places) for _ in range(count)]] = name
    data = anndata.AnnData(
        np.zeros((cells, 1), dtype="float32"),
        obs=pd.DataFrame({"cell_type": types}, index=[f"cell{number}" for number in range(cells)]),
        obsm={"X_spatial": random.uniform(0, 1000, (cells, 2))},
    )
    data.var["gene"] = ["gene"]
    with contextlib.redirect_stdout(io.StringIO()):
        return spatial_query(data, if_lognorm=False)


def by_draws(row, draws=2000):
    """As many cells as the type has are drawn from all; how often do at least as many of them have the motif?"""
    has = np.arange(cells) < row.n_motif
    seen = np.array([random.choice(has, row.n_center, replace=False).sum() for _ in range(draws)])
    return float((seen >= row.n_center_motif).mean())


tables = []
for _ in range(40):
    query = section()
    for kind in ("A", *rare):
        for way, table in (("nearest", query.motif_enrichment_knn(kind)), ("distance", query.motif_enrichment_dist(kind, max_dist=3))):
            tables.append(table.assign(kind=kind, way=way))
tests = pd.concat(tables, ignore_index=True)
tests["p"] = tests["p-values"].astype(float)
tests["right"] = hypergeom.sf(tests.n_center_motif - 1, cells, tests.n_center, tests.n_motif)
more = hypergeom.sf(tests.n_center_motif, cells, tests.n_center, tests.n_motif)
drawn = np.array([by_draws(row) for row in tests.head(40).itertuples()])
print(f"p by hand against random draws: at most {abs(drawn - tests['right'].head(40)).max():.3f} off")
print(f"p of the table against the chance of more than were seen: {abs(tests.p - more).max():.0e} off")
example = tests[(tests.kind == "ten cells") & (tests.way == "nearest")].iloc[0]
print(
    f"one section, the type with {example.n_center} cells, around them {list(example.motifs)}: expected {example.expectation:.2f}, "
    f"seen {example.n_center_motif}; p: guess {example['right']:.2f}, seen {example.p:.2f}"
)
share = {}
for (kind, way), some in tests.groupby(["kind", "way"], sort=False):
    share[kind, way] = float(some.if_significant.astype(bool).mean()), float((some["right"] < 0.05).mean()), float((some.p == 0).mean())
    found, guess, zero = share[kind, way]
    print(
        f"{kind}, by {way}, {len(some)} tests in random sections: significant: guess {guess:.0%} (by hand), seen {found:.0%}; p = 0 in "
        f"{zero:.0%}"
    )
assert abs(drawn - tests["right"].head(40)).max() < 0.06, drawn
assert abs(tests.p - more).max() < 1e-9, abs(tests.p - more).max()
assert example.n_center_motif == 10 and example.p == 0 and example["right"] > 0.9, example
assert share["ten cells", "nearest"][0] > 0.9 and share["four cells", "nearest"][0] > 0.9, share
assert share["ten cells", "nearest"][1] < 0.1 and share["four cells", "nearest"][1] < 0.1, share
assert share["A", "nearest"][0] > 0.3 and share["A", "nearest"][1] < 0.1, share
rarely = [share[kind, "distance"] for kind in rare]
assert min(found for found, _, _ in rarely) > 0.05 and max(guess for _, guess, _ in rarely) < 0.05, share
print("as found")
PY
