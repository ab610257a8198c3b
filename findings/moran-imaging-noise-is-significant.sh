#!/usr/bin/env bash
# In Moran_Imaging, most pixels of pure noise are significant by the local Moran's I, the more so the more neighbours a pixel has.
#
# One would expect: the pseudo p-values of MoranLocal compare each pixel's statistic with the same statistic of shuffled pictures, so of
# noise one in twenty is beyond .025 on either side, whichever weights of the package are taken.
# What happens: the shuffled statistics are divided by the mean sum of a pixel's weights and the observed one is not. As the weights that
# define_spatial_weights_matrix makes are ones, that is the number of neighbours: z of noise has a standard deviation of 4 with four
# neighbours, of 8 with eight and of 22 with 24, not 1, and 61, 80 and 93 % of the pixels are significant, not 5. The least p that 199
# permutations can give belongs to 50 to 90 % of them.
# Way out: set W.transform = "R" before, so that the weights of a pixel add up to 1; then 3 to 7 % are significant, as the script checks.
# Versions: Moran_Imaging 0.1.2 with numpy 2.4.6 and numba 0.68.1; the tool for clustering of the same package sets "r" by itself.
# Seen on 2026-11-30.
# Why it matters: maps of local Moran's I are masked by that p-value to show where a molecule has a pattern. With it all molecules have one
# everywhere.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  joblib==1.6.0 numba==0.68.1 numpy==2.4.6 pandas==2.3.3 scipy==1.17.1
# without torch and the rest, which its clustering alone needs
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps Moran_Imaging==0.1.2
cd "$folder"
export NUMBA_CACHE_DIR=$folder OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from moran_imaging.local_global_spatial_autocorrelation import MoranLocal
from moran_imaging.spatial_weights_matrix import define_spatial_weights_matrix

print(*(f"{name} {version(name)}" for name in ("Moran_Imaging", "numpy", "numba", "scipy")))
SIDE, PERMUTATIONS, NO_BACKGROUND = 40, 199, np.array([])


def significant(picture, weights):
    seen = MoranLocal(picture, weights, NO_BACKGROUND, num_permute=PERMUTATIONS, significance_test=True, num_jobs=1)
    return (seen.p_sim <= 0.025).mean(), (seen.p_sim <= 1 / (PERMUTATIONS + 1)).mean(), seen.z_sim.std()


def by_hand(picture, random):
    """The share of pixels whose product with the sum of their eight neighbours is beyond 2.5 or 97.5 % of it in shuffled pictures."""

    def product(values):
        framed = np.pad(values, 1)
        around = sum(
            framed[1 + y : 1 + y + SIDE, 1 + x : 1 + x + SIDE] for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)
        )
        return around

    centred = picture - picture.mean()
    shuffled = np.array([product(random.permutation(centred.ravel()).reshape(SIDE, SIDE)) for _ in range(PERMUTATIONS)]) * centred
    above = (shuffled >= centred * product(centred)).sum(axis=0)
    return ((np.minimum(above, PERMUTATIONS - above) + 1) / (PERMUTATIONS + 1) <= 0.025).mean()


for seed in (0, 1, 2):
    random = np.random.default_rng(seed)
    np.random.seed(seed)
    noise = random.normal(size=(SIDE, SIDE))
    assert 0.02 < by_hand(noise, random) < 0.09
    for contiguity, order, neighbours, least in (("rook", 1, 4, 0.5), ("queen", 1, 8, 0.7), ("queen", 2, 24, 0.88)):
        weights = define_spatial_weights_matrix((SIDE, SIDE), contiguity, order, with_lower_order=True)
        share, smallest, spread = significant(noise, weights)
        weights.transform = "R"
        right, right_smallest, right_spread = significant(noise, weights)
        print(
            f"seed {seed}, noise, {neighbours} neighbours: guess 5 % significant and z of spread 1; seen {share:.0%} and {spread:.1f},"
            f" with the least p possible {smallest:.0%}; weights that add up to 1: {right:.0%} and {right_spread:.1f}, {right_smallest:.1%}"
        )
        assert share > least and smallest > least - 0.15 and 0.75 < spread / neighbours < 1.25
        assert 0.01 < right < 0.12 and right_smallest < 0.05 and 0.8 < right_spread < 1.2
print("as found")
PY
