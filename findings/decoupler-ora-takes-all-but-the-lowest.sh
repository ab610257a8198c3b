#!/usr/bin/env bash
# In decoupler over-representation takes all genes but the lowest twentieth for the highest, so a set on top is like one at random.
#
# One would expect: mt.ora marks the highest twentieth of the genes of a cell and asks which sets they hold more often than by chance. A set
# that is the top of a cell is found, and one drawn at random is not.
# What happens: ranks are counted from the lowest, and those above the number asked for are kept: 19000 of 20000 genes. A set of 20 genes
# that are the highest in every cell has a p-value of .8 to .9 and a score of .77, and so has a set whose genes lie in the middle; right
# are 1e-26 and 6.7 for the first. In a panel of 1000 genes all sets at random have p of 1e-24, as 950 genes are held against the 20000
# of n_bg.
# Way out: as n_up the number of genes to leave out, all genes less a twentieth of them, and n_bg=None, which is right in both.
# Versions: decoupler 2.2.0, the newest for Python 3.11; seen on 2026-11-30. Its pull request 347 of August 2026 mends it, for versions
# that need a later Python, and says that versions before 2 were right; those were not run.
# Why it matters: scores of pathways and cell types are taken from it, and for the small panels of imaging every set is significant.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  decoupler==2.2.0 anndata==0.12.19 numba==0.68.1 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3
cd "$folder"
export NUMBA_CACHE_DIR=$folder MPLCONFIGDIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import decoupler as dc
import numpy as np
import pandas as pd
from scipy.stats import fisher_exact

print(*(f"{name} {version(name)}" for name in ("decoupler", "scipy", "numpy")))
CELLS, SIZE = 5, 20


def ora(table, net, **other):
    scores, p = dc.mt.ora(table, net, tmin=5, verbose=False, **other)
    return scores, p


def right(table, net):
    """Fisher's test of the highest twentieth of each cell, against all genes of the table."""
    many, result = len(table.columns), {}
    for name, genes in net.groupby("source").target:
        result[name] = []
        for _, values in table.iterrows():
            top = set(values.nlargest(int(np.ceil(0.05 * many))).index)
            both = len(top & set(genes))
            result[name].append(fisher_exact([[both, len(top) - both], [SIZE - both, many - len(top) - SIZE + both]])[1])
    return pd.DataFrame(result, index=table.index)


for seed in (0, 1, 2):
    for many in (20000, 1000):
        random = np.random.default_rng(seed)
        names = np.array([f"g{number}" for number in range(many)])
        values = random.normal(size=(CELLS, many))
        sets = {"top": names[:SIZE], "middle": names[SIZE : 2 * SIZE]}
        values[:, :SIZE] = random.uniform(10, 11, (CELLS, SIZE))
        values[:, SIZE : 2 * SIZE] = random.uniform(-0.1, 0.1, (CELLS, SIZE))
        for number in range(8):
            sets[f"random {number}"] = random.choice(names[2 * SIZE :], SIZE, replace=False)
        table = pd.DataFrame(values, index=[f"c{cell}" for cell in range(CELLS)], columns=names)
        net = pd.concat([pd.DataFrame({"source": name, "target": genes}) for name, genes in sets.items()])
        scores, p = ora(table, net)
        mended, found = ora(table, net, n_up=many - int(np.ceil(0.05 * many)), n_bg=None)
        fisher = right(table, net)
        drawn = [name for name in sets if name.startswith("random")]
        print(
            f"seed {seed}, {many} genes, p of the set on top {p['top'].median():.1g}, in the middle {p['middle'].median():.1g}, at random"
            f" {p[drawn].median().median():.1g}; scores of top and middle {scores['top'].median():.2f}, {scores['middle'].median():.2f};"
            f" right: {fisher['top'].median():.1g}, {fisher['middle'].median():.1g}, {fisher[drawn].median().median():.1g};"
            f" with n_up from the other end: {found['top'].median():.1g}, {found['middle'].median():.1g},"
            f" {found[drawn].median().median():.1g}, scores {mended['top'].median():.2f}, {mended['middle'].median():.2f}"
        )
        assert np.allclose(scores["top"], scores["middle"]) and np.allclose(p["top"], p["middle"])
        assert (fisher["top"] < 1e-20).all() and (fisher["middle"] > 0.3).all()
        assert (found["top"] < 1e-19).all() and (found["middle"] > 0.3).all() and (mended["top"] > mended["middle"] + 4).all()
        if many == 20000:
            assert (p["top"] > 0.3).all()
        else:
            assert (p[drawn] < 1e-15).all().all() and (fisher[drawn] < 0.05).mean().mean() < 0.15
            assert (found[drawn] < 0.05).mean().mean() < 0.15
print("as found")
PY
