#!/usr/bin/env bash
# In scimappro the section that is done first is written first, so rescaled markers and neighbourhoods go to cells of other sections.
#
# One would expect: rescale brings the markers of each section to 0 to 1, with .5 at the gate, and gives them back in the order of the
# cells, as it says. spatialAggregate writes the type that dominates around each cell into the row of that cell.
# What happens: rescale stacks the sections as their threads finish. With 20000 cells of one section and then 300 of another, in this
# order, the first 300 rows hold the small section: 20 % of the large one and 90 % of the small one are positive, and after it 21 %
# and 17 to 18 %, which is right for two thirds of the cells of the large one and a quarter of those of the small one.
# spatialAggregate keeps the order of sections but not of cells: with the cells of two sections mixed 49 to 50 % have the domain that
# they lie in, 98 % with one section after the other.
# Way out: call rescale once for each section and put the parts back by row, and sort cells by section before spatialAggregate.
# Versions: scimappro 0.1.0, the newest in the package index for Python 3.11 to 3.13; seen on 2026-11-30.
# Why it matters: sections differ in size, and tables of cohorts are joined and filtered in any order. Gates are right, numbers lie
# between 0 and 1, and which cell is positive is drawn by the clock.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  anndata==0.11.4 zarr==2.18.7 numcodecs==0.15.1 numpy==2.2.6 scipy==1.17.1 pandas==2.3.3 polars==1.35.2 pyarrow==19.0.1 \
  scikit-learn==1.7.2 joblib==1.6.0 tqdm==4.70.1 matplotlib==3.11.2 seaborn==0.13.2 plotly==7.1.0 tifffile==2026.3.3 \
  numba==0.68.1 umap-learn==0.5.12 leidenalg==0.12.0 combat==0.3.3 gensim==4.4.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps cap-anndata==0.4.0 scimappro==0.1.0
cd "$folder"
export MPLCONFIGDIR=$folder MPLBACKEND=Agg NUMBA_CACHE_DIR=$folder
cat >see.py <<'PY'
from importlib.metadata import version

import numpy as np
import pandas as pd
from anndata import AnnData

MARKERS, SIZES = ["CD3", "CD8", "CD20"], {"large": 20000, "small": 300}


def rescaled(table):
    from scimappro.pp import rescale

    table = AnnData(table.X.copy(), obs=table.obs.copy(), var=table.var.copy())
    table.raw = table.copy()
    return rescale(table, log=False, gmmComponents=2, verbose=False).X


def markers(random):
    share = np.repeat([0.2, 0.9], list(SIZES.values()))
    positive = random.uniform(size=share.size) < share
    values = np.where(positive[:, None], 6.0, 2.0) + random.normal(0, 0.5, (share.size, len(MARKERS)))
    names = [f"cell{one}" for one in range(share.size)]
    section = np.repeat(list(SIZES), list(SIZES.values()))
    return positive, AnnData(values, pd.DataFrame({"imageid": section}, index=names), pd.DataFrame(index=MARKERS))


def domains(random):
    place = random.uniform(0, 500, (3000, 2))
    section = np.repeat(["A", "B"], 1500)
    kinds = np.where(np.where(section == "A", place[:, 0], place[:, 1]) < 250, "T", "tumour")
    frame = {"X_centroid": place[:, 0], "Y_centroid": place[:, 1], "phenotype": kinds, "imageid": section}
    return pd.DataFrame(frame, index=[f"cell{one}" for one in range(3000)])


def main():
    from scimappro.tl import spatialAggregate

    print(*(f"{name} {version(name)}" for name in ("scimappro", "anndata", "polars", "numpy")))
    for seed in (0, 1, 2):
        random = np.random.default_rng(seed)
        positive, table = markers(random)
        section = table.obs["imageid"].to_numpy()
        together, apart = rescaled(table), np.empty_like(table.X)
        for name in SIZES:
            apart[section == name] = rescaled(table[section == name])
        for name in SIZES:
            here = section == name
            seen, right = together[here, 0] > 0.5, apart[here, 0] > 0.5
            truth = positive[here]
            print(
                f"seed {seed}, {name} section: {truth.mean():.0%} of {here.sum()} cells positive; together {seen.mean():.0%},"
                f" {(seen == truth).mean():.0%} of them right; one by one {right.mean():.0%}, {(right == truth).mean():.0%}"
            )
            assert (right == positive[here]).mean() > 0.97
            assert name == "large" or (seen == positive[here]).mean() < 0.4
        assert (together[: SIZES["small"]] == apart[section == "small"]).all()
        assert (together[SIZES["small"] :] == apart[section == "large"]).all()

        ordered = domains(random)
        mixed = ordered.sample(frac=1, random_state=seed)
        for name, cells in (("one after the other", ordered), ("mixed", mixed), ("mixed and sorted", mixed.sort_values("imageid"))):
            table = spatialAggregate(AnnData(np.zeros((len(cells), 1)), cells.copy()), maxWorkers=1, verbose=False)
            own = (table.obs["spatialAggregate"].to_numpy() == cells["phenotype"].to_numpy()).mean()
            print(f"seed {seed}, sections {name}: {own:.1%} of the cells have the domain that they lie in")
            assert 0.45 < own < 0.55 if name == "mixed" else own > 0.95
    print("as found")


if __name__ == "__main__":
    main()
PY
"$folder/venv/bin/python" -W ignore see.py
