#!/usr/bin/env bash
# In Moran_Imaging, noise is significant where glass around the tissue is masked, and Geary's C of noise is a tenth of what it should be.
#
# One would expect: pixels of the background mask are left out, as the descriptions of the weights and of Moran's I say, so the less tissue
# a picture has, the fewer pixels there are, and noise in it is significant in one picture of twenty, with a Geary's C of 1.
# What happens: MoranGlobal sets masked pixels to the mean, and shuffles them in among those of the tissue. A shuffled picture has its
# tissue spread over the glass, where no pixel has weights, and so a statistic too near 0: z of noise has a spread of 2 where half the
# picture is tissue and of 4 where a quarter is, and 30 and 65 % of pictures of noise are significant. GearyGlobal, which takes the mask
# through the weights alone and counts the pixels without the glass, has the variance with it, and edges from the tissue to it: noise
# around 5 with glass of 0 has a C of .12 where half is tissue and of .09 where a quarter is, as a smooth pattern has, and the least p.
# Way out: make the weights of the tissue's pixels alone, numbered anew, and give a list of their values without a mask, as the script
# does; then noise is at 5 % and C is 1.
# Versions: Moran_Imaging 0.1.2 with numpy 2.4.6; seen on 2026-11-30.
# Why it matters: tissue is rarely a rectangle. Molecules are ranked by how spatial they are, and sections with more glass have more of them.
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
from moran_imaging.local_global_spatial_autocorrelation import GearyGlobal, MoranGlobal
from moran_imaging.spatial_weights_matrix import SpatialWeightsMatrix, define_spatial_weights_matrix

print(*(f"{name} {version(name)}" for name in ("Moran_Imaging", "numpy", "scipy")))
SIDE, PERMUTATIONS, PICTURES = 40, 199, 60
Y, X = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2


def of_tissue(weights, tissue):
    """The same neighbours among the pixels of the tissue alone, numbered from 0."""
    number = {pixel: place for place, pixel in enumerate(np.flatnonzero(tissue).tolist())}
    neighbours = {place: [number[one] for one in weights.neighbors[pixel] if one in number] for pixel, place in number.items()}
    return SpatialWeightsMatrix(neighbours, silence_warnings=True)


def geary(values, weights):
    """Geary's C by its definition."""
    ends = [(one, other) for one, others in weights.neighbors.items() for other in others]
    apart = sum((values[one] - values[other]) ** 2 for one, other in ends)
    return (len(values) - 1) * apart / (2 * len(ends) * ((values - values.mean()) ** 2).sum())


def summary(seen):
    return np.std([one.z_sim for one in seen]), np.mean([one.p_sim <= 0.025 for one in seen])


for share in (1.0, 0.5, 0.25):
    tissue = np.hypot(Y, X) < SIDE * np.sqrt(share / np.pi) if share < 1 else np.ones((SIDE, SIDE), dtype=bool)
    mask = ~tissue.ravel() if share < 1 else None
    weights = define_spatial_weights_matrix((SIDE, SIDE), "queen", background_mask=mask)
    alone = of_tissue(weights, tissue)
    seen, right, c, right_c = [], [], [], []
    for seed in range(PICTURES):
        np.random.seed(seed)
        noise = np.where(tissue, 5 + np.random.default_rng(seed).normal(size=tissue.shape), 0)
        seen.append(MoranGlobal(noise, weights, np.array([]) if mask is None else mask, num_permute=PERMUTATIONS))
        right.append(MoranGlobal(noise[tissue], alone, np.array([]), num_permute=PERMUTATIONS))
        if seed < 10:
            c.append(GearyGlobal(noise, weights, num_permute=99))
            right_c.append(GearyGlobal(noise[tissue], alone, num_permute=99))
            assert np.isclose(right_c[-1].Geary_c_global, geary(noise[tissue], alone))
    spread, significant = summary(seen)
    right_spread, right_significant = summary(right)
    seen_c, true_c = (np.mean([one.Geary_c_global for one in many]) for many in (c, right_c))
    print(
        f"tissue is {tissue.mean():.0%} of the picture, noise: guess z of spread 1 and 5 % significant; seen {spread:.1f} and {significant:.0%},"
        f" of the tissue alone {right_spread:.1f} and {right_significant:.0%}; Geary's C: guess 1, seen {seen_c:.2f}"
        f" with p at most {max(one.p_sim for one in c):.2f}, of the tissue alone {true_c:.2f}"
    )
    assert 0.75 < right_spread < 1.25 and right_significant < 0.13 and 0.97 < true_c < 1.03
    if share == 1:
        assert 0.75 < spread < 1.25 and significant < 0.13 and 0.97 < seen_c < 1.03
    else:
        assert 0.75 / share < spread < 1.25 / share and significant > (0.18 if share == 0.5 else 0.5)
        assert seen_c < 0.5 and max(one.p_sim for one in c) <= 0.02
print("as found")
PY
