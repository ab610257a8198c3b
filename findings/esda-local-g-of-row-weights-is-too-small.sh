#!/usr/bin/env bash
# In esda the z of the local G of Getis and Ord is too small by the root of the number of neighbours, with the weights by default.
#
# One would expect: Zs of G_Local are standardised, as they are called, so in noise they have a deviation of 1 and 5 % of the spots are
# beyond 1.96. Dividing the weights of a spot by their number changes the statistic and what is expected of it alike, but not z.
# What happens: the variance is that of a sum of values, with the sum of the weights for the number of neighbours. With transform="R",
# the default, that sum is 1. In noise on 30 x 30 spots with 8 neighbours the deviation is .37, and .21 to .24 with 20 neighbours, and
# no spot is beyond 1.96. Of a niche of 49 spots with 1.6 times the gene 0 to 18 % are, and 76 to 100 % with transform="B", which is
# right: 1.0 to 1.1 in noise, and 4 to 6 % beyond. p_norm is made of these z. With star=True it is the same. Permutations are not
# touched: the deviation of z_sim is 1.0 to 1.1.
# Way out: transform="B", which has the z of row-standardised weights too, or permutations and z_sim.
# Versions: esda 2.9.0, the newest for Python 3.11, with libpysal 4.14.1; by its source 2.10.0 as well; seen on 2026-11-30.
# Why it matters: z above 1.96 is what maps of hotspots are drawn from. Packages of the field call G_Local as it is by default, such as
# scCellFie 0.6.3, which counts the spots beyond 1.96. The more neighbours, the fewer hotspots.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  esda==2.9.0 libpysal==4.14.1 numba==0.68.1 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 scikit-learn==1.9.1 \
  geopandas==1.2.0 shapely==2.2.0
cd "$folder"
export NUMBA_CACHE_DIR=$folder
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from esda.getisord import G_Local
from libpysal.weights import KNN, lat2W

print(*(f"{name} {version(name)}" for name in ("esda", "libpysal", "scipy", "numpy")))
SIDE = 30
PLACE = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).reshape(-1, 2)
niche = np.zeros((SIDE, SIDE), dtype=bool)
niche[10:17, 10:17] = True
niche = niche.ravel()


def by_hand(values, weights):
    """The same z from first principles: mean of the neighbours against means of as many other spots drawn at random."""
    near = weights.full()[0] > 0
    seen = np.empty(len(values))
    for one, mask in enumerate(near):
        rest, many = np.delete(values, one), mask.sum()
        error = rest.std() * np.sqrt((len(rest) - many) / (len(rest) - 1) / many)
        seen[one] = (values[mask].mean() - rest.mean()) / error
    return seen


def twenty():
    return KNN(PLACE + np.random.default_rng(0).uniform(-0.01, 0.01, PLACE.shape), k=20)


for seed in (0, 1, 2):
    random = np.random.default_rng(seed)
    noise = random.poisson(10, SIDE * SIDE).astype("float64")
    pattern = random.poisson(np.where(niche, 16, 10)).astype("float64")
    for name, weights in (("8 neighbours", lambda: lat2W(SIDE, SIDE, rook=False)), ("20 neighbours", twenty)):
        for star in (False, True):
            flat, high = {}, {}
            for transform in "RB":
                flat[transform] = np.asarray(G_Local(noise, weights(), transform=transform, star=star, permutations=0).Zs)
                high[transform] = np.asarray(G_Local(pattern, weights(), transform=transform, star=star, permutations=0).Zs)
            print(
                f"seed {seed}, {name}, star {star}:",
                *(
                    f"{one}: deviation of z in noise {flat[one].std():.2f}, beyond 1.96 {(np.abs(flat[one]) > 1.96).mean():.1%},"
                    f" of the niche {(high[one][niche] > 1.96).mean():.0%};"
                    for one in "RB"
                ),
            )
            assert 0.8 < flat["B"].std() < 1.2 and flat["R"].std() < 0.42 and not (np.abs(flat["R"]) > 1.96).any()
            assert (high["B"][niche] > 1.96).mean() > 0.6 > 0.3 > (high["R"][niche] > 1.96).mean()
            if not star:
                count = weights().cardinalities
                many = np.array([count[one] for one in range(SIDE * SIDE)])
                assert np.allclose(flat["B"], by_hand(noise, weights()))
                assert np.allclose(flat["R"] * np.sqrt(many), flat["B"], rtol=0.02)
    drawn = G_Local(noise, lat2W(SIDE, SIDE, rook=False), permutations=499, seed=seed, n_jobs=1)
    print(
        f"seed {seed}, 499 permutations: deviation of z_sim {drawn.z_sim.std():.2f}, of Zs {np.std(drawn.Zs):.2f}, p_norm below .025 in"
        f" {(drawn.p_norm < 0.025).mean():.1%} and p_z_sim in {(drawn.p_z_sim < 0.025).mean():.1%}"
    )
    assert 0.8 < drawn.z_sim.std() < 1.2 and not (drawn.p_norm < 0.025).any()
print("as found")
PY
