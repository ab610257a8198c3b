#!/usr/bin/env bash
# In TIAToolbox the F1 of a detector of nuclei counts most right ones as wrong, where it misses nuclei in one place and has false ones in another.
#
# One would expect: a nucleus counts as found if there is a detection within the radius that no other nucleus needs, so of 900 nuclei of
# which 810 are found within 12 px, with 90 false detections, F1 is .9 wherever the false ones lie.
# What happens: nuclei and detections are paired so that the sum of all distances is least, and pairs beyond the radius are taken out after.
# Every missed nucleus is paired with a false detection too, however far, and it costs less to hand it on from nucleus to nucleus: each
# gets the next one's detection, and all of the chain are beyond the radius. With misses and false ones in different halves F1 is .33
# instead of .9, with both all over .71 to .75. A detector that finds 60 % and nothing false has .75, and so seems twice as good.
# Way out: give all distances above the radius one large value before the assignment, as the script does: then as many are paired as can be.
# Versions: tiatoolbox 2.1.3 of July 2026 with scipy 1.17.1; HoVer-Net's own statistics pair in the same way by their source, not run. That
# least sums mispair is known (bliss 518, BlendingToolKit 345; HoVer-Net 141 asks, open), what it does to F1 here is not. Seen on 2026-11-30.
# Why it matters: models of detection are compared by that F1. It punishes who errs in clusters, as at a fold or at a border between stains,
# and sections where misses and false ones lie apart; the larger the tile the more.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile numpy==2.4.6 scipy==1.17.1
# its module of metrics alone, as the import of the package needs torch
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps tiatoolbox==2.1.3
cd "$folder"
export OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import distribution, version
from importlib.util import module_from_spec, spec_from_file_location

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial.distance import cdist

spec = spec_from_file_location("metrics", distribution("tiatoolbox").locate_file("tiatoolbox/utils/metrics.py"))
metrics = module_from_spec(spec)
spec.loader.exec_module(metrics)
print(*(f"{name} {version(name)}" for name in ("tiatoolbox", "numpy", "scipy")))
SIDE, APART, RADIUS = 30, 40.0, 12.0
WIDTH = SIDE * APART


def right(nuclei, found):
    """F1 of the most pairs that can be within the radius, and whether the way out has as many."""
    far = cdist(nuclei, found)
    most = (maximum_bipartite_matching(csr_matrix(far <= RADIUS), perm_type="column") >= 0).sum()
    one, other = linear_sum_assignment(np.where(far <= RADIUS, far, 1e6))
    assert (far[one, other] <= RADIUS).sum() == most
    return 2 * most / (len(nuclei) + len(found))


def false(random, number, left):
    return np.stack([random.uniform(left, WIDTH, number), random.uniform(0, WIDTH, number)], axis=1)


for seed in (0, 1, 2):
    random = np.random.default_rng(seed)
    nuclei = (np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).reshape(-1, 2) + 0.5) * APART
    nuclei += random.normal(0, 0.15 * APART, nuclei.shape)
    seen = nuclei + random.normal(0, 4, nuclei.shape)
    on_left = random.permutation(np.flatnonzero(nuclei[:, 0] < WIDTH / 2))[:90]
    missed = {
        "90 missed, 90 false, all over": (random.permutation(len(nuclei)) < 90, 90, 0.0),
        "90 missed on the left, 90 false on the right": (np.isin(np.arange(len(nuclei)), on_left), 90, WIDTH / 2),
        "40 % missed, none false": (random.random(len(nuclei)) < 0.4, 0, 0.0),
    }
    score = {}
    for name, (lost, number, left) in missed.items():
        found = np.concatenate([seen[~lost], false(random, number, left)])
        score[name] = metrics.f1_detection(nuclei, found, RADIUS)
        truth = right(nuclei, found)
        print(f"seed {seed}, {name}: guess an F1 of {truth:.2f}, seen {score[name]:.2f}")
        assert truth > 0.86 if number else abs(truth - 0.75) < 0.04
        paired, lone, spurious = metrics.pair_coordinates(nuclei, found, RADIUS)
        assert len(paired) + len(lone) == len(nuclei) and len(paired) + len(spurious) == len(found)
    over, apart, few = score.values()
    assert over < 0.84 and apart < 0.5 and few > 0.7 > apart
print("as found")
PY
