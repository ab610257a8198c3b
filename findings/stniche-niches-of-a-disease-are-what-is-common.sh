#!/usr/bin/env bash
# In stniche the niches that are enriched in a disease are the commonest arrangements of three spots, as the healthy samples are never looked at.
#
# One would expect: `extract_and_group_3rd_structures_from_2nd_with_ratio` takes the column of groups and a `focus_group` and finds, by its text, the
# arrangements of three spots that are significantly enriched in it. Where all samples of both groups are drawn at random
# from one mixture, none is; where the healthy samples are taken away there is nothing to be enriched against.
# What happens: only the samples of the focus group are read. Each arrangement is compared with the mean of all other arrangements in those same
# samples, so fold change, p and its adjusted value say whether it is common. Of 29 arrangements in random tissue two or three, the
# most frequent ones, are significant at a fold change of 2, and the table is the same to the last digit without the healthy samples.
# Way out: count the arrangements in each sample of both groups and test one group against the other, as the script does.
# Versions: stniche 0.1.0, the newest in November 2026, with scipy 1.17.1; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: niches are grown from these, so a disease's niches are those of the commonest clusters, in its healthy samples too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  squidpy==1.8.2 scanpy==1.11.5 anndata==0.12.19 spatialdata==0.7.3 ome-zarr==0.15.0 zarr==3.1.6 xarray==2026.9.0 dask==2026.1.1 \
  pandas==2.3.3 numpy==2.3.5 scipy==1.17.1 statsmodels==0.14.6 gseapy==1.1.11 plotly==6.5.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps stniche==0.1.0
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder MPLBACKEND=Agg OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - 2>/dev/null <<'PY'
from collections import Counter
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO
from itertools import combinations

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.stats import mannwhitneyu
from statsmodels.stats.multitest import multipletests
from stniche import extract_and_group_3rd_structures_from_2nd_with_ratio

print(*(f"{name} {version(name)}" for name in ("stniche", "scipy", "pandas")))
ROWS, COLUMNS, SAMPLES = 12, 24, 6
STEPS = [(0, -2), (0, 2), (-1, -1), (-1, 1), (1, -1), (1, 1)]
places = [(row, column) for row in range(ROWS) for column in range(row % 2, COLUMNS, 2)]


def arrangements(labels):
    """How often each arrangement of three spots occurs that begins with neighbours of clusters 0 and 2."""
    near = {place: [(place[0] + down, place[1] + right) for down, right in STEPS] for place in labels}
    pairs = {tuple(sorted((one, other))) for one in labels for other in near[one] if {labels[one], labels.get(other)} == {"0", "2"}}
    counts = Counter()
    for one, other in pairs:
        for third in {place for spot in (one, other) for place in near[spot] if place in labels} - {one, other}:
            sides = combinations((one, other, third), 2)
            key = sorted(((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2, *sorted((labels[a], labels[b]))) for a, b in sides)
            counts[tuple(key)] += 1
    return counts


def table(frame):
    """What the package finds for the disease."""
    cells = AnnData(np.zeros((len(frame), 1), dtype=np.float32), obs=frame)
    contacts = pd.DataFrame({"Leiden1": ["0"], "Leiden2": ["2"]})
    with redirect_stdout(StringIO()):
        return extract_and_group_3rd_structures_from_2nd_with_ratio(cells, contacts, focus_group="disease", fc_threshold=2)[2]


for seed in range(2):
    generator = np.random.default_rng(seed)
    frames, counts = [], []
    for condition in ("disease", "healthy"):
        for sample in range(SAMPLES):
            labels = dict(zip(places, generator.choice(["0", "1", "2"], len(places), p=[0.6, 0.3, 0.1]).tolist(), strict=True))
            counts.append(arrangements(labels))
            frame = pd.DataFrame([(*place, label) for place, label in labels.items()], columns=["array_row", "array_col", "leiden_0.7"])
            frames.append(frame.assign(sample_id=f"{condition} {sample}", class1=condition))
    frame = pd.concat(frames, ignore_index=True)
    frame.index = [f"spot {number}" for number in range(len(frame))]
    seen, alone = table(frame), table(frame[frame.class1 == "disease"])
    own = pd.DataFrame(counts).fillna(0)
    assert np.allclose(np.sort(seen.Count_Mean), np.sort(own[:SAMPLES].mean()[own[:SAMPLES].sum() > 0]))
    p_values = [mannwhitneyu(own[key][:SAMPLES], own[key][SAMPLES:], alternative="greater").pvalue for key in own]
    right = int((multipletests(p_values, method="fdr_bh")[1] < 0.05).sum())
    same = seen.drop(columns="Ratios").equals(alone.drop(columns="Ratios"))
    ranks = seen.Count_Mean.rank(ascending=False)[seen.Significant].astype(int)
    print(
        f"random tissue {seed}: arrangements enriched in the disease: guess {right} of {len(own.columns)}, seen {seen.Significant.sum()}, "
        f"by frequency number {', '.join(map(str, sorted(ranks)))}; the same table without healthy samples: {same}"
    )
    assert right == 0 and seen.Significant.sum() >= 2 and ranks.max() <= 6 and same
print("as found")
PY
