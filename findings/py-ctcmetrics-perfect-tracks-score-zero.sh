#!/usr/bin/env bash
# In py-ctcmetrics a result that equals the reference to the last pixel scores 0 where the numbers of its tracks are large.
#
# One would expect: `evaluate_sequence` compares masks of tracked cells with those of a reference. A result that has the same masks and the same
# tracks scores 1 for detection, segmentation and tracking, whatever the numbers of the tracks are and in which type of integers they are stored.
# What happens: so that labels of both masks differ, the largest label of the reference and one are added to the result in the type of its file.
# In masks of 8 bits they pass 255 and begin again at 0: 144 cells score .74 to .76 and 225 cells .04 to .13. In masks of 16 bits the sum passes
# 65535 where tracks have numbers beyond 32767, as in long films of embryos: all scores are 0. The result is called valid in all of these cases.
# Way out: number the tracks of result and reference anew from 1 in frames and tables, or store both masks as 32-bit integers.
# Versions: py-ctcmetrics 1.3.3, the newest in November 2026, with numpy 2.3.5; seen on 2026-12-01. No report of it was found upstream.
# Why it matters: the better of two methods is the one with the smaller numbers, and nothing tells a score of 0 from a method that finds nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.3.5 scipy==1.16.3 scikit-learn==1.7.2 pandas==2.3.3 tifffile==2025.10.16
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps py-ctcmetrics==1.3.3
cd "$folder"
export OMP_NUM_THREADS=1
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tifffile
from ctc_metrics import evaluate_sequence

print(*(f"{name} {version(name)}" for name in ("py-ctcmetrics", "numpy", "tifffile")))
FRAMES = 4


def scores(side, first, kind):
    """Detection, segmentation and tracking of a grid of cells that stay, with labels from `first` on, against the same masks and tracks."""
    with TemporaryDirectory() as folder:
        result, reference = Path(folder) / "01_RES", Path(folder) / "01_GT"
        for one in (result, reference / "TRA", reference / "SEG"):
            one.mkdir(parents=True)
        cells = np.arange(side * side)
        for frame in range(FRAMES):
            mask = np.zeros((10 * side, 10 * side), dtype=kind)
            for cell in cells:
                y, x = 10 * (cell // side) + 2, 10 * (cell % side) + 2
                mask[y : y + 5, x : x + 5] = first + cell
            assert len(np.unique(mask)) == len(cells) + 1
            for path in (result / f"mask{frame:03d}.tif", reference / f"TRA/man_track{frame:03d}.tif", reference / f"SEG/man_seg{frame:03d}.tif"):
                tifffile.imwrite(path, mask)
        tracks = np.stack([first + cells, 0 * cells, 0 * cells + FRAMES - 1, 0 * cells], axis=1)
        for path in (result / "res_track.txt", reference / "TRA/man_track.txt"):
            np.savetxt(path, tracks, fmt="%d")
        with redirect_stdout(StringIO()):
            found = evaluate_sequence(str(result), str(reference), metrics=["DET", "SEG", "TRA", "Valid"], threads=1)
    assert found["Valid"] == 1
    return [float(found[name]) for name in ("DET", "SEG", "TRA")]


for side, first, kind, least, most in (
    (11, 1, "uint8", 1, 1),
    (12, 1, "uint8", 0.7, 0.8),
    (15, 1, "uint8", 0, 0.2),
    (15, 1, "uint16", 1, 1),
    (12, 32000, "uint16", 1, 1),
    (12, 33000, "uint16", 0, 0),
    (12, 60000, "uint16", 0, 0),
    (12, 60000, "int32", 1, 1),
):
    found = scores(side, first, kind)
    print(
        f"{side * side} cells, labels {first} to {first + side * side - 1} in {kind}, result equal to the reference: "
        f"detection, segmentation, tracking: guess 1 1 1, seen {' '.join(f'{one:.2f}' for one in found)}; called valid"
    )
    assert all(least - 1e-9 <= one <= most + 1e-9 for one in found)
print("as found")
PY
