#!/usr/bin/env bash
# In scpviz the pairwise fold change of logarithms is a ratio of logarithms, so nothing is up, and abundant proteins least.
#
# One would expect: fold_change_mode="pairwise_median" gives the median of the log2 ratios of all pairs of samples, and the same
# for a layer of logarithms, as de_adata says that it undoes the logarithm for fold changes with data_is_log=True, and as de
# says itself that the layer is log-transformed, after it has advised to take one.
# What happens: with the mean of groups both do so. Pair by pair the logarithms are divided by each other and the logarithm is
# taken once more. Proteins that are 4 times as much in one group, 1.9 to 2.0 from raw intensities, are at 0.26 where there
# are about 1000 of them, at 0.13 with a million and at 0.11 with 32 millions, whatever the base, and none is upregulated, as
# the threshold is 1. A protein with 64 and twice that, 1.0, is at 0.22, above one of 32 millions and 8 times that, 3.0, at
# 0.16. The pairwise mode of the raw layer is right to the last digit, and the mean mode of both layers to within 0.06.
# Versions: scpviz 1.1.2 of August 2026, the newest in the package index; seen on 2026-11-30.
# Why it matters: volcano plots and lists are made of these columns. Where intensities are compared in logarithms, as the
# package asks for, the mode that goes pair by pair finds no protein at all, and puts faint ones first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  scpviz==1.1.2 ipython==9.18.1 numpy==2.4.6 pandas==2.3.3 scipy==1.17.1 anndata==0.12.19 scanpy==1.11.5 matplotlib==3.11.2 \
  gseapy==1.3.1 umap-learn==0.5.12 UpSetPlot==0.9.0 scikit-learn==1.9.1
cd "$folder"
# scpviz imports a name of tkinter that it does not use, and some builds of Python lack tkinter
venv/bin/python -c "import tkinter" 2> /dev/null || echo "N = None" > venv/lib/python3*/site-packages/tkinter.py
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import contextlib
import io
from importlib.metadata import version

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix
from scpviz import pAnnData
from scpviz.utils import de_adata

print(*(f"{name} {version(name)}" for name in ("scpviz", "anndata", "pandas", "numpy")))
each = 6
level = np.array([2.0**6, 2.0**10, 2.0**20, 2.0**25, 2.0**25])
fold = np.array([2, 4, 4, 4, 8])
groups = {"class_type": "group", "values": ["one", "other"]}


def by_hand(raw):
    """The median of all differences of logarithms between the groups."""
    log = np.log2(raw)
    return np.median(log[:each, None] - log[None, each:], axis=(0, 1))


def of_adata(raw, layer, mode):
    """Fold changes of a table by itself."""
    table = AnnData(raw, obs=pd.DataFrame({"group": ["one"] * each + ["other"] * each}, index=samples))
    table.layers["log"] = np.log2(raw + 1)
    return de_adata(table, fold_change_mode=mode, layer=layer, data_is_log=layer == "log", **groups)


def of_pdata(raw, base, mode):
    """The same by the class of the package, with a layer that it makes of the raw intensities."""
    table = AnnData(csr_matrix(raw), obs=pd.DataFrame({"group": ["one"] * each + ["other"] * each}, index=samples))
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        data = pAnnData(prot=table)
        data.update_summary(recompute=True, verbose=False)
        data.log_transform(base=base, set_X=False)
        found = data.de(layer=f"X_log{base}", fold_change_mode=mode, **groups)
    assert f"X_log{base} (log-transformed)" in said.getvalue(), said.getvalue()
    return found.loc[data.prot.var_names]


samples = [f"sample{one}" for one in range(2 * each)]
for seed in range(3):
    noise = np.random.default_rng(seed).lognormal(0, 0.05, (2 * each, len(level)))
    raw = noise * level * np.where(np.arange(2 * each)[:, None] < each, fold, 1)
    print(f"seed {seed}, proteins with 2 to the power of", *np.log2(level).astype(int), "in one group and", *fold, end=" ")
    print("times that in the other; log2 fold changes by hand", *np.round(by_hand(raw), 2))
    for layer, mode in (("X", "mean"), ("log", "mean"), ("X", "pairwise_median"), ("log", "pairwise_median")):
        found = of_adata(raw, layer, mode)
        up = (found["significance"] == "upregulated").sum()
        print(f"  de_adata, {layer}, {mode}:", *np.round(found["log2fc"], 2), f"upregulated {up}")
        if (layer, mode) == ("log", "pairwise_median"):
            now = found["log2fc"].to_numpy()
            assert up == 0 and now[0] > now[4] and (np.diff(now[1:4]) < 0).all(), now
            assert np.allclose(now, np.log2(np.log2(level * fold) / np.log2(level)), atol=0.03), now
        else:
            assert np.abs(found["log2fc"] - by_hand(raw)).max() < 0.06 and up >= 4, found
    assert np.allclose(of_adata(raw, "X", "pairwise_median")["log2fc"], by_hand(raw))
    for base in (2, 10, "e"):
        mean, pairwise = (of_pdata(raw, base, mode)["log2fc"].to_numpy() for mode in ("mean", "pairwise_median"))
        print(f"  de, X_log{base}: mean", *np.round(mean, 2), "pairwise_median", *np.round(pairwise, 2))
        assert np.abs(mean - by_hand(raw)).max() < 0.06 and np.allclose(pairwise, now, atol=0.02), (mean, pairwise)
print("as found")
PY
