#!/usr/bin/env bash
# In geoai2analytics p-values of Geary's C, of strata and of co-location are no probabilities: noise is significant, and certainty is not.
#
# One would expect: of noise one in twenty is below .05 by Geary's C and by the quotient of co-location, in small and large sections, and a
# difference between strata that the F-test of the same table finds at a millionth is significant by the q-statistic too.
# What happens: the variance of Geary's C is 2 over the sum of weights and over n once more, which falls with the square of n instead of n:
# of noise 62 % are below .05 with 100 spots, 78 % with 400 and 86 % with 1600. The p of the q-statistic, which is said to be of the
# F-test, is 1 / (1 + F): strata with a median p of 3e-6 have .09, and 2 % of them are below .05. The local p of the co-location quotient
# is .01 above 1.5, .05 above 1.2 and .5 below, whatever the numbers are: around a type that a tenth of all spots have at random, 43 % of
# the spots have .01.
# Way out: squidpy or esda for Geary's C, with permutations, and scipy.stats.f_oneway for strata; Moran's I of the package is right.
# Versions: geoai2analytics-sdk 0.12.3 of October 2026 with numpy 2.4.6; seen on 2026-11-30.
# Why it matters: domains are compared by the q-statistic and genes by Geary's C. By them genes of noise are spatial, the more the larger
# the section is, and real domains are not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile geoai2analytics-sdk==0.12.3 numpy==2.4.6 scipy==1.17.1
cd "$folder"
export OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from geoai2analytics.autocorr import colocation_quotient, geary_c, geodetector_q, global_moran
from geoai2analytics.weights import grid_weights
from scipy.stats import f_oneway, norm

print(*(f"{name} {version(name)}" for name in ("geoai2analytics-sdk", "numpy", "scipy")))


def right_p(c, weights, n):
    """Two-sided p of Geary's C by its variance under normality."""
    variance = ((2 * weights.s1 + weights.s2) * (n - 1) - 4 * weights.s0**2) / (2 * (n + 1) * weights.s0**2)
    return 2 * norm.sf(abs(c - 1) / np.sqrt(variance))


shares = []
for side, pictures in ((10, 200), (20, 200), (40, 200)):
    weights = grid_weights(side, side)
    noise = [np.random.default_rng(seed).normal(size=side**2) for seed in range(pictures)]
    seen = [geary_c(one, weights) for one in noise]
    right = np.mean([right_p(one.C, weights, side**2) < 0.05 for one in seen])
    moran = np.mean([global_moran(one, weights, permutations=1).p_value < 0.05 for one in noise[:60]])
    shares.append(np.mean([one.p_value < 0.05 for one in seen]))
    print(
        f"Geary's C of noise, {side**2} spots: guess 5 % below .05, seen {shares[-1]:.0%};"
        f" by the right variance {right:.0%}, Moran's I {moran:.0%}"
    )
    assert right < 0.12 and moran < 0.12 and np.isclose(seen[0].variance_C, 2 / (side**2 * (side**2 - 1)))
assert 0.45 < shares[0] < shares[1] < shares[2] and shares[2] > 0.8

seen, right = [], []
for seed in range(200):
    random = np.random.default_rng(seed)
    strata = random.integers(0, 4, 400)
    values = random.normal(size=400) + 0.6 * (strata == 0)
    test = f_oneway(*(values[strata == one] for one in range(4)))
    found = geodetector_q(values, strata)
    assert abs(found.f_statistic - test.statistic) < 0.02 + 0.01 * test.statistic
    assert abs(found.p_value - 1 / (1 + test.statistic)) < 0.002
    seen.append(found.p_value)
    right.append(test.pvalue)
print(
    f"strata apart by .6: guess the p of F, median {np.median(right):.1g} and {np.mean(np.array(right) < 0.05):.0%} below .05;"
    f" seen {np.median(seen):.2f} and {np.mean(np.array(seen) < 0.05):.0%}"
)
assert np.median(right) < 1e-4 and np.mean(np.array(right) < 0.05) > 0.95 and np.mean(np.array(seen) < 0.05) < 0.1

weights = grid_weights(20, 20)
found = [colocation_quotient(np.ones(400), (np.random.default_rng(seed).random(400) < 0.1).astype(int), weights) for seed in range(20)]
share = np.mean([(one.p_values <= 0.05).mean() for one in found])
print(f"a type at random: guess 5 % of spots with p of at most .05, seen {share:.0%}; the p-values there are {np.unique(found[0].p_values)}")
assert share > 0.3 and set(np.unique(np.concatenate([one.p_values for one in found]))) <= {0.01, 0.05, 0.5}
print("as found")
PY
