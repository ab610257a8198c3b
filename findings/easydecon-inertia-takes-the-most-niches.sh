#!/usr/bin/env bash
# Choosing the number of niches by inertia, easydecon always takes the most that it may.
#
# One would expect: with auto_n_niches=True and selection_metric="inertia" the number is that of the largest relative drop in
# inertia, as its documentation says. In a section of three plain regions that is 3, as by the silhouette.
# What happens: the number with the least inertia is taken. Inertia falls with every further niche, so that is n_niches_max, 10
# as it is by default: 6, 10 and 15 niches are found when 6, 10 and 15 are the most allowed, with three regions, with two, and
# where all spots have one composition and nothing but noise. In the inertias that it returns, after that of a single niche, the
# largest relative drop is at 3 and at 2.
# Versions: easydecon 0.1.7 of August 2026 (detect_spatial_niches_from_posteriors); seen on 2026-11-29. The silhouette is right.
# Why it matters: the number of niches is a finding, and goes into figures and into what is compared between sections. This one
# is the limit that someone set, in any tissue.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  easydecon==0.1.7 scanpy==1.11.5 anndata==0.12.19 scikit-learn==1.8.0 numpy==2.4.6 pandas==2.3.3 scipy==1.17.1 zarr==3.1.6
cd "$folder"
export MPLBACKEND=Agg MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import anndata
import easydecon
import numpy as np
import pandas as pd

print("easydecon", version("easydecon"))
random = np.random.default_rng(0)
spots, types = 900, 4
places = random.uniform(0, 30, (spots, 2))
names = [f"spot{number}" for number in range(spots)]
section = anndata.AnnData(np.zeros((spots, 1), dtype="float32"), obs=pd.DataFrame(index=names))
section.obsm["spatial"] = places

for regions in (3, 2, 1):
    of_region = (places[:, 0] // (30.001 / regions)).astype(int)
    mixtures = np.where(np.arange(regions)[:, None] == np.arange(types), 0.7, 0.1)
    shares = np.array([random.dirichlet(60 * mixtures[region]) for region in of_region])
    shares = pd.DataFrame(shares, index=section.obs_names, columns=[f"type{number}" for number in range(types)])
    for most in (6, 10, 15):
        chosen = {}
        for metric in ("silhouette", "inertia"):
            niches, smooth, found = easydecon.detect_spatial_niches_from_posteriors(
                section, shares, auto_n_niches=True, n_niches_max=most, selection_metric=metric, return_diagnostics=True
            )
            assert niches["niche"].nunique() == found["chosen_k"]
            chosen[metric] = found["chosen_k"]
        one = ((smooth - smooth.mean()) ** 2).to_numpy().sum()  # the inertia of a single niche
        inertia = np.array([one, *found["inertia"]])
        drops = 1 - inertia[1:] / inertia[:-1]
        largest = found["candidate_k"][int(drops.argmax())]
        if regions > 1:
            assert chosen["silhouette"] == largest == regions, (chosen, largest)
        print(
            f"{regions} region{'s' * (regions > 1)}, at most {most} niches: guess {regions if regions > 1 else 'few'}, "
            f"seen {chosen['inertia']} by inertia, {chosen['silhouette']} by silhouette; "
            f"inertia of 1 to 5: {inertia[:5].round(1)}"
        )
        assert chosen["inertia"] == most, chosen
print("as found")
PY
