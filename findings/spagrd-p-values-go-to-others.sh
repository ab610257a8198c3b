#!/usr/bin/env bash
# In SpaGRD the p-values of spatially variable interactions stand beside other interactions.
#
# One would expect: `svi_detection` gives each interaction its score, p-value and q-value. Of 40 interactions with scores at random and 10 with
# a patch on 1600 spots, the ten patches have the smallest p-values, and the order of the columns in `obsm["interaction_score"]` changes nothing.
# What happens: the table is sorted by score, then the p-values are written into it in the order of the columns, by place and not by name. The
# first interaction of the table has the p-value of the first column, whichever that is. The ranks of its p-values agree wholly with
# those of the same test made by hand in the order of the columns, and not at all by name (-.4 and 0): the patches have 1 and 4 of the 21 significant q-values,
# noise the others, and the same interactions have other p-values when the columns are turned round.
# Way out: `table["pvalue"] = pd.Series(table.pvalue.to_numpy(), index=adata.obsm["interaction_score"].columns)`, and for q-values likewise.
# Versions: SpaGRD 0.0.2, the newest in November 2026, with pandas 2.2.3; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: which ligands and receptors vary in space by their q-values depends on where their columns stand.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==1.26.4 pandas==2.2.3 scipy==1.15.0 scikit-learn==1.6.1 matplotlib==3.10.0 plotnine==0.14.5 networkx==3.4.2 scanpy==1.9.7 \
  anndata==0.10.5 gseapy==1.1.4 kneed==0.8.5 plotly==6.2.0 statsmodels==0.14.6 numba==0.68.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps SpaGRD==0.0.2
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder MPLBACKEND=Agg OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.spatial import cKDTree
from scipy.stats import ranksums
from SpaGRD import svi_detection

print(*(f"{name} {version(name)}" for name in ("SpaGRD", "pandas", "scipy")))
generator = np.random.default_rng(1)
places = np.stack(np.mgrid[:40, :40], axis=-1).reshape(-1, 2) + generator.uniform(-0.3, 0.3, (1600, 2))
spots = len(places)
scores = {f"noise {number}": generator.gamma(2, 1, spots) for number in range(40)}
for number in range(10):
    middle = generator.uniform(5, 35, 2)
    scores[f"patch {number}"] = 5 * np.exp(-((places - middle) ** 2).sum(axis=1) / 60) + 0.3 * generator.gamma(2, 1, spots)
scores = pd.DataFrame(scores, index=[f"spot {number}" for number in range(spots)])


def by_hand():
    """The p-value of each interaction by its name: low against high frequencies of the graph of neighbours, by rank sums."""
    _, near = cKDTree(places).query(places, int(np.ceil(np.sqrt(spots) / 2)) + 1)
    linked = np.zeros((spots, spots))
    linked[np.arange(spots)[:, None], near[:, 1:]] = 1
    linked = np.maximum(linked, linked.T)
    _, waves = np.linalg.eigh(np.diag(linked.sum(axis=1)) - linked)
    some = int(np.ceil(np.sqrt(spots)))
    strengths = np.abs(waves.T @ ((scores - scores.min()) / (scores.max() - scores.min())).to_numpy())
    return pd.Series([ranksums(one[:some], one[-some:], alternative="greater").pvalue for one in strengths.T], index=scores.columns)


guess = by_hand()
patches = [name for name in scores if name.startswith("patch")]
print(f"by hand: all patches have p of {guess[patches].max():.2g} or less, all noise {guess.drop(patches).min():.2g} or more")
assert guess[patches].max() < 1e-4 < guess.drop(patches).min()
tables = {}
for kind, columns in (("as made", list(scores)), ("turned round", list(scores)[::-1])):
    sample = AnnData(np.zeros((spots, 1), dtype=np.float32), obs=pd.DataFrame(index=scores.index))
    sample.obsm["spatial"], sample.obsm["interaction_score"] = places, scores[columns]
    with redirect_stdout(StringIO()):
        table = tables[kind] = svi_detection(sample)
    assert set(table.index) == set(columns)
    name = table.pvalue.corr(guess[table.index], method="spearman")
    place = np.corrcoef(table.pvalue.rank(), guess[columns].rank())[0, 1]
    found = table.index[table.qvalue < 0.05]
    ten = set(table.sort_values("pvalue").index[:10])
    mended = pd.Series(table.pvalue.to_numpy(), index=columns)
    print(
        f"columns {kind}: ranks of p-values agree with those by hand: guess 1.00 by name, seen {name:.2f} by name and {place:.2f} by the place of the column; "
        f"patches among the ten smallest: guess 10, seen {len(ten & set(patches))}; "
        f"q below .05: {sum(one in patches for one in found)} patches and {sum(one not in patches for one in found)} noise"
    )
    assert name < 0.3 and place > 0.99 and len(ten & set(patches)) <= 5
    assert set(mended.sort_values().index[:10]) == set(patches)
first, second = (tables[kind] for kind in ("as made", "turned round"))
assert np.allclose(first.gft_score, second.gft_score[first.index], rtol=1e-4)
changed = (~np.isclose(np.log10(first.pvalue), np.log10(second.pvalue[first.index]), atol=0.01)).sum()
print(f"interactions with another p-value after turning the columns round: guess 0, seen {changed} of {len(first)}; their scores are the same")
assert changed > 40
print("as found")
PY
