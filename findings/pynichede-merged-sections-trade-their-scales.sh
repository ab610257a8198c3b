#!/usr/bin/env bash
# In the Python port of Niche-DE the section with the finer spots becomes the coarser one when two are merged.
#
# One would expect: each section's coordinates are kept in units of its own spots, 100 apart. merge_objects brings them to the unit
# of the first section, so that a bandwidth of the niche means the same distance in all of them, as it says. A tissue of 2000 x 2000
# measured with spots 100 apart, and again with spots 50 apart, spans 1900 and 1950.
# What happens: the ratio of the distances between spots is divided by where it should be multiplied with. The section with spots
# 50 apart spans 7800, four times too much, and with the other one first the one with 100 spans 475. With a bandwidth of 300 a
# cell counts within 519. In the section with 50 it counts within 130 then, and in the other order, in the one with 100, within 2076.
# Way out: multiply the merged coordinates of each section by merged.scale of it, squared, before calculate_effective_niche. Both
# sections have the right span then, and the same reach to within a spot.
# Versions: pynichede 0.1.0 of July 2026, the newest in the package index; the package in R was not run; seen on 2026-11-30.
# Why it matters: sections of Visium and of Visium HD or Slide-seq are merged to gain power. The error is the square of the ratio:
# with spots 100 and 8 um apart, 156 times.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 joblib==1.6.0 threadpoolctl==3.8.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps pynichede==0.1.0
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
import pandas as pd
from pynichede import calculate_effective_niche, create_nichede_object, merge_objects

print(*(f"{name} {version(name)}" for name in ("pynichede", "scipy", "pandas", "numpy")))
KINDS, GENES, SIDE = ["A", "B"], [f"gene{one}" for one in range(20)], 2000
LIBRARY = pd.DataFrame([[5.0] * 10 + [1.0] * 10, [1.0] * 10 + [5.0] * 10], index=KINDS, columns=GENES)


def measured(step, sigma):
    """One tissue, a stripe of cells B in A, with spots that far apart; a spot has one cell."""
    axis = np.arange(0, SIDE, step, dtype="float64")
    place = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    names = [f"spot{one}" for one in range(len(place))]
    stripe = np.abs(place[:, 0] - SIDE / 2) < 150
    kinds = np.column_stack([~stripe, stripe]).astype("float64")
    counts = np.random.default_rng(0).poisson(kinds @ LIBRARY.to_numpy())
    return place, create_nichede_object(
        pd.DataFrame(counts, index=names, columns=GENES), pd.DataFrame(place, index=names, columns=["x", "y"]), LIBRARY,
        pd.DataFrame(kinds, index=names, columns=KINDS), sigma=(sigma,),
    )


# The bandwidth is in hundredths of the distance between the spots of the first section: 300 in the unit of the tissue.
REACH = 300 * np.sqrt(-np.log(0.05))
for order, sigma in (((100, 50), 300.0), ((50, 100), 600.0)):
    places, objects = zip(*(measured(step, sigma) for step in order))
    for name in ("as it is", "times the squared scale"):
        merged = merge_objects(list(objects))
        if name != "as it is":
            merged.coord *= np.asarray(merged.scale)[merged.batch_ID.astype(int) - 1][:, None] ** 2
        calculate_effective_niche(merged)
        for one, (step, place) in enumerate(zip(order, places), start=1):
            here = merged.batch_ID == one
            span = float(np.ptp(merged.coord.to_numpy()[here], axis=0)[0]) * order[0] / 100
            right = float(np.ptp(place[:, 0]))
            niche = merged.effective_niche[0][here][:, KINDS.index("B")]
            stripe = np.abs(place[:, 0] - SIDE / 2)
            edge = stripe[stripe < 150].max()
            reach = stripe[niche > niche.min() + 1e-6].max() - edge
            print(
                f"spots {order[0]} and then {order[1]} apart, {name}: section with {step} spans {span:.0f} (right {right:.0f}),"
                f" cells B count within {reach:.0f} (right {REACH:.0f})"
            )
            wrong = name == "as it is" and one == 2
            assert np.isclose(span / right, (order[0] / order[1]) ** 2 if wrong else 1), span
            assert wrong or abs(reach - REACH) < step, reach
            assert not wrong or (reach < 150 if step == 50 else reach > 800), reach
print("as found")
PY
