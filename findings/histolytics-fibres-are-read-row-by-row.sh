#!/usr/bin/env bash
# In histolytics a collagen fibre turns and winds as its pixels do row by row, so a hairpin is straighter than an arch.
#
# One would expect: fiber_feats gives each fibre the length of its way over the distance between its ends, and the mean angle
# between its steps, as line_metric of the same package defines both for lines. A picture that is turned by 90 degrees has the
# same fibres in it.
# What happens: the pixels of a fibre are taken as they lie in memory, row by row, not along the fibre. The first and the last
# one need not be its ends, and steps jump from one arm to the other. A hairpin whose way is 15 times the distance of its ends
# has a tortuosity of 2.2, less than an arch with 2.4, which should have 1.8; the arch has 1.9 when the picture is turned. The
# mean angle of the hairpin is .05 lying and 2.93 standing, that of a slanted straight line .78 and 1.29; it is in radians.
# Walked from end to end, the same pixels have 15 to 16 and 1.8, both ways, by the package's own functions for lines.
# Versions: histolytics 0.3.0 of October 2026, the newest in the package index; seen on 2026-11-30.
# Why it matters: both are features of how wavy collagen is, and are compared between sections and between regions. What is
# found depends on how the section lay on the glass, and fibres that are wound up are among the straight ones.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==1.26.4 pandas==2.3.3 scipy==1.15.3 scikit-image==0.25.2 scikit-learn==1.7.2 geopandas==1.1.4 shapely==2.2.0 \
  libpysal==4.14.1 rasterio==1.4.4 pandarallel==1.6.5 psutil==7.2.2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps histolytics==0.3.0
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from histolytics.spatial_geom.line_metrics import average_turning_angle, tortuosity
from histolytics.stroma_feats.collagen import extract_collagen_fibers, fiber_feats
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree
from shapely.geometry import LineString

print(*(f"{name} {version(name)}" for name in ("histolytics", "scikit-image", "scipy", "numpy")))
side = 240
down, along = np.mgrid[:side, :side]


def picture(dark):
    """Dark tissue on a bright ground; its one border is the fibre."""
    return np.where(dark[..., None], [150, 60, 140], [235, 215, 230]).astype("uint8")


def seen(dark):
    """Tortuosity and mean angle of the only fibre of a picture."""
    found = fiber_feats(picture(dark), ("tortuosity", "average_turning_angle"))
    assert len(found) == 1, found
    return found.to_numpy()[0]


def walked(dark):
    """The same of the same pixels, in their order between the two that are farthest apart along the fibre."""
    pixels = np.argwhere(extract_collagen_fibers(picture(dark)))
    pairs = cKDTree(pixels).query_pairs(1.5, output_type="ndarray")
    step = np.hypot(*(pixels[pairs[:, 0]] - pixels[pairs[:, 1]]).T)
    far, before = dijkstra(coo_matrix((step, pairs.T), shape=(len(pixels),) * 2), False, return_predecessors=True)
    assert np.isfinite(far).all()
    first, last = np.unravel_index(far.argmax(), far.shape)
    way = [last]
    while way[-1] != first:
        way.append(before[first, way[-1]])
    line = LineString(pixels[way])
    return tortuosity(line), np.radians(average_turning_angle(line))


def hairpin(width, length):
    return (abs(down - side / 2) < width / 2) & (along < length)


def arch(height):
    return down > 200 - height * np.sin(np.pi * along / (side - 1))


fibres = {
    "a slanted straight line": down > 0.4 * along + 60,
    "an arch": arch(160),
    "a low arch": arch(80),
    "a hairpin": hairpin(28, 200),
    "a wide hairpin": hairpin(50, 150),
}
found = {}
for name, dark in fibres.items():
    turned = np.rot90(dark)
    found[name] = now = [*seen(dark), *seen(turned)]
    found[name, "walked"] = right = [*walked(dark), *walked(turned)]
    print(f"{name}: tortuosity {now[0]:.2f}, turned {now[2]:.2f}, walked {right[0]:.2f} and {right[2]:.2f};", end=" ")
    print(f"mean angle {now[1]:.2f}, turned {now[3]:.2f}, walked {right[1]:.2f} and {right[3]:.2f}")
    assert abs(right[0] / right[2] - 1) < 0.1 and abs(right[1] - right[3]) < 0.02, right
assert found["a slanted straight line"][3] > 1.5 * found["a slanted straight line"][1]
for name in ("a hairpin", "a wide hairpin"):
    assert found[name][0] < found["an arch"][0] < 2.5 and found[name, "walked"][0] > 3 * found["an arch", "walked"][0], found
    assert found[name][1] < 0.2 and found[name][3] > 2.5, found
for name in ("an arch", "a low arch"):
    assert found[name][0] > 1.2 * found[name][2], found
# it is the order of the rows: first and last pixel, and the steps between them
pixels = np.argwhere(extract_collagen_fibers(picture(fibres["a hairpin"])))
ends = np.hypot(*(pixels[0] - pixels[-1]))
angle = np.arctan2(*np.diff(pixels, axis=0).T)
again = [len(pixels) / ends, np.abs(np.diff(angle)).mean()]
print("the hairpin by its pixels in the order of rows:", *np.round(again, 2))
assert np.allclose(again, found["a hairpin"][:2]), (again, found["a hairpin"])
print("as found")
PY
