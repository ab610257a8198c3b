#!/usr/bin/env bash
# Harmony leaves most of a plain offset between sections, and version 2 leaves far more of it than 0.0.10.
#
# One would expect: three batches drawn from one distribution, one of them moved by the same amount in every dimension,
# is the easiest batch effect there is; after Harmony the three means agree, whichever version ran.
# What happens: of a shift of 8, in data whose spread is 1 to 3, version 2.1.0 leaves about 70 percent and version
# 0.0.10 about a quarter.
# Versions: harmonypy 2.1.0 (October 2026, rewritten in C++) and 0.0.10, numpy 2.4.6, both with random_state 0; seen on
# 2026-11-28.
# Why it matters: stain and depth move whole sections. "Corrected by Harmony" is no statement about the offset that is
# left, and a study that goes from one version to the other changes its reference without any change of settings.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/run.py" <<'PY'
import sys
from importlib.metadata import version

import harmonypy
import numpy as np
import pandas as pd

random = np.random.default_rng(0)
batches = pd.DataFrame({"batch": np.repeat(["a", "b", "c"], 200)})
spots = random.normal(size=(600, 20))
spots[:, :3] *= 3  # a few strong directions, as principal components have
spots[batches["batch"] == "b"] += 8
moved = np.asarray(harmonypy.run_harmony(spots, batches, "batch", random_state=0, verbose=False).Z_corr)
moved = moved if len(moved) == 600 else moved.T  # version 2 turned the table round
a, b, c = (moved[batches["batch"] == name].mean() for name in "abc")
left = b - (a + c) / 2
print(f"harmonypy {version('harmonypy')}: guess less than .4 of the shift of 8 left, seen {left:.1f}")
low, high = map(float, sys.argv[1:])
assert low < left < high, left
PY
for pinned in "0.0.10 1 3.5" "2.1.0 5 7"; do
  read -r release low high <<< "$pinned"
  python3 -m venv "$folder/$release"
  "$folder/$release/bin/pip" install --quiet --disable-pip-version-check --no-compile \
    "harmonypy==$release" numpy==2.4.6 pandas==2.3.3 scipy==1.17.1 scikit-learn==1.9.1
  "$folder/$release/bin/python" -I -W ignore "$folder/run.py" "$low" "$high" 2> "$folder/log" || { cat "$folder/log"; exit 1; }
done
echo "as found"
