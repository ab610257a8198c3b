#!/usr/bin/env bash
# In patpy the benchmark of sample representations takes three neighbours, however many are asked for, and always turns technical scores round.
#
# One would expect: `knn_prediction_score` predicts each covariate from the `n_neighbors` nearest samples, and turns the scores of technical
# covariates round (1 minus the score) where `reverse_technical_score` is true, as its documentation says.
# What happens: neither is looked at. Scores for 1, 3, 5, 15 and 25 neighbours are the same to the last digit, those of 3. By
# `evaluate_representation` of the same package they run from .33 to .56 for a covariate that follows the representation loosely, so which of two
# representations is better can change with the number. With `reverse_technical_score=False` a batch that is told perfectly still has 0, not 1.
# Way out: `evaluate_representation(distances, target, method="knn", task=..., n_neighbors=...)`, and turn technical scores round by hand.
# Versions: patpy 0.15.2, the newest in November 2026, with scikit-learn 1.7.2; seen on 2026-12-01. It was put right in the repository in May 2026
# (pull request 140), which no release has.
# Why it matters: the score is what representations of patients are ranked by, and a check of other numbers of neighbours says that nothing changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.3.5 pandas==2.3.3 scipy==1.15.0 scikit-learn==1.7.2 anndata==0.12.19 scanpy==1.11.5 statsmodels==0.14.6 matplotlib==3.10.7 \
  seaborn==0.13.2 plottable==0.1.5 numba==0.68.1 tqdm==4.70.1
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps patpy==0.15.2
cd "$folder"
export MPLCONFIGDIR=$folder NUMBA_CACHE_DIR=$folder MPLBACKEND=Agg OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import pandas as pd
from anndata import AnnData
from patpy.tl.evaluation import evaluate_representation, knn_prediction_score
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr

print(*(f"{name} {version(name)}" for name in ("patpy", "scikit-learn")))
SAMPLES = 80
generator = np.random.default_rng(0)
places = generator.normal(size=(SAMPLES, 2))
table = pd.DataFrame(
    {
        "severity": places[:, 0] + generator.normal(size=SAMPLES),
        "batch": np.where(np.arange(SAMPLES) % 2, "first", "second"),
    },
    index=[f"patient {number}" for number in range(SAMPLES)],
)
shifted = places + 100 * (table["batch"] == "first").to_numpy()[:, None] * [0, 1]
patients = AnnData(np.zeros((SAMPLES, 1), dtype=np.float32), obs=table)
patients.obsm["plain_distances"], patients.obsm["batches_distances"] = cdist(places, places), cdist(shifted, shifted)
patients.uns["sample_representations"] = ["plain", "batches"]
schema = {"relevant": {"severity": "regression"}, "technical": {"batch": "classification"}}


def scores(**asked):
    found = knn_prediction_score(patients, schema, **asked)
    return found.set_index(["representation", "covariate"])["score"]


def by_hand(neighbours):
    """The correlation of severity with its mean over the nearest samples, weighted by one over the distance."""
    distances = cdist(places, places)
    np.fill_diagonal(distances, np.inf)
    near = np.argsort(distances, axis=1)[:, :neighbours]
    weights = 1 / np.take_along_axis(distances, near, axis=1)
    return spearmanr(table["severity"], (table["severity"].to_numpy()[near] * weights).sum(axis=1) / weights.sum(axis=1)).statistic


seen, guess = [], []
for neighbours in (1, 3, 5, 15, 25):
    seen.append(scores(n_neighbors=neighbours)["plain", "severity"])
    distances = patients.obsm["plain_distances"].copy()
    one = evaluate_representation(distances, table["severity"], method="knn", task="regression", n_neighbors=neighbours)["score"]
    guess.append(by_hand(neighbours))
    print(f"severity from {neighbours} neighbours: guess {guess[-1]:.3f} by hand, {one:.3f} by evaluate_representation; seen {seen[-1]:.3f}")
    assert abs(one - guess[-1]) < 1e-9
assert len(set(seen)) == 1 and abs(seen[0] - guess[1]) < 1e-9 and max(guess) - min(guess) > 0.05

for asked, right in ((True, 0), (False, 1)):
    found = scores(reverse_technical_score=asked)["batches", "batch"]
    print(f"a batch that lies apart, reverse_technical_score={asked}: guess {right}, seen {found:.0f}")
    assert found == 0
print("as found")
PY
