#!/usr/bin/env bash
# In pathomics the axes of a nucleus depend on where its outline has points, and its curvature on which way round they go.
#
# One would expect: MajorAxisLength, MinorAxisLength and Elongation of a polygon are features of the shape: 40, 20 and .5 for an
# ellipse that is 40 long and 20 wide, 1 for a square. A point more on a straight edge changes no shape, and none of the area,
# perimeter and diameter beside them. MaximumCurvature of an ellipse is at its ends, whichever way the outline was drawn.
# What happens: the axes are four times the standard deviation of the points of the outline. That is the rule for all that lies
# inside, so on the outline of an ellipse each axis is 1.41 times too long, 57 for one with a MaximumDiameter of 40. And each
# point counts the same: a square of 20 has axes of 40 with its corners alone, and an elongation of .87 with 19 more points on
# one edge. An ellipse of which one half was simplified, by less than half a pixel, has .32 instead of .50, and a circle .64. The
# curvature keeps its sign: of one ellipse it is .025 to .195 one way round and -.195 to -.025 the other.
# The second moments of the inside, by Green's formula and by scikit-image, hardly differ between these outlines.
# Versions: pathomics 0.3.0 of May 2026, the newest in the package index; seen on 2026-11-30.
# Why it matters: these are features of nuclei, averaged over a slide. Programs that trace outlines drop points where they are
# straight, as at the border of a tile, and some go clockwise: the same nuclei are longer or rounder by the program.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.4.6 pandas==3.0.6 scipy==1.17.1 scikit-image==0.26.0 shapely==2.2.0 pyyaml==6.0.4
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps pathomics==0.3.0
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
import json
from importlib.metadata import version

import numpy as np
from pathomics.io.geojson import load_cells_from_geojson
from pathomics.pipeline.cell_features import compute_cell_features
from shapely.geometry import LineString, Polygon
from shapely.geometry.polygon import orient
from skimage.draw import polygon2mask
from skimage.measure import regionprops

print(*(f"{name} {version(name)}" for name in ("pathomics", "numpy", "shapely", "scikit-image")))


def measured(outlines):
    """The package's own features of shape, by way of a GeoJSON file as cells come in."""
    cells = []
    for outline in outlines:
        ring = [*map(list, outline.tolist()), outline[0].tolist()]
        cells.append({"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {}})
    with open("cells.geojson", "w") as file:
        json.dump({"type": "FeatureCollection", "features": cells}, file)
    return compute_cell_features(None, load_cells_from_geojson("cells.geojson"), {"cell_features": {"shape": []}})


def axes(outline):
    """Axes of the ellipse with the second moments of all that lies inside, by Green's formula, exact for any polygon."""
    x, y = outline.T
    x2, y2 = np.roll(x, -1), np.roll(y, -1)
    cross = x * y2 - x2 * y
    area = cross.sum() / 2
    mx, my = ((x + x2) * cross).sum() / 6 / area, ((y + y2) * cross).sum() / 6 / area
    xx = ((x * x + x * x2 + x2 * x2) * cross).sum() / 12 / area - mx * mx
    yy = ((y * y + y * y2 + y2 * y2) * cross).sum() / 12 / area - my * my
    xy = ((x * y2 + 2 * x * y + 2 * x2 * y2 + x2 * y) * cross).sum() / 24 / area - mx * my
    return 4 * np.sqrt(np.linalg.eigvalsh([[xx, xy], [xy, yy]])[::-1])


def drawn(outline, scale=10):
    """The same from scikit-image, from the pixels inside."""
    (region,) = regionprops(polygon2mask((600, 600), (outline + 30) * scale).astype("uint8"))
    return np.array([region.axis_major_length, region.axis_minor_length]) / scale


def ellipse(long, wide, points=200):
    turn = np.arange(points) * 2 * np.pi / points
    return np.column_stack([long / 2 * np.cos(turn), wide / 2 * np.sin(turn)])


def half_simplified(outline):
    """The second half of the points without those that lie less than .4 of a pixel beside the line without them."""
    half = len(outline) // 2
    rest = LineString([*outline[half:], outline[0]]).simplify(0.4)
    return np.concatenate([outline[:half], np.array(rest.coords)[:-1]])


square = np.array([(0.0, 0.0), (20.0, 0.0), (20.0, 20.0), (0.0, 20.0)])
outlines = {
    "square, corners": square,
    "square, 19 more below": np.concatenate([np.column_stack([np.arange(20.0), np.zeros(20)]), square[1:]]),
    "ellipse 40 by 20": ellipse(40, 20),
    "the other way round": ellipse(40, 20)[::-1],
    "half simplified": half_simplified(ellipse(40, 20)),
    "circle of 20": ellipse(20, 20),
    "circle, half simplified": half_simplified(ellipse(20, 20)),
}
found = dict(zip(outlines, measured(outlines.values())))
print("expected: the axes of the inside; and the same numbers for one shape")
for name, outline in outlines.items():
    seen, inside, pixels = found[name], axes(outline), drawn(outline)
    seen["inside"] = inside
    same = (f"{key} {seen[key]:.2f}," for key in ("MeshSurface", "Perimeter", "MaximumDiameter"))
    print(f"  {name}, {len(outline)} points:", *same)
    print("    axes {MajorAxisLength:.1f} and {MinorAxisLength:.1f}, elongation {Elongation:.2f},".format(**seen), end=" ")
    print("inside {:.1f} and {:.1f}, {:.2f},".format(*inside, inside[1] / inside[0]), end=" ")
    print("pixels {:.1f} and {:.1f};".format(*pixels), end=" ")
    print("curvature {MinimumCurvature:.3f} to {MaximumCurvature:.3f}".format(**seen))
    assert np.abs(inside - pixels).max() < 0.15, (name, inside, pixels)
    assert abs(seen["MeshSurface"] - Polygon(outline).area) < 1e-9, (name, seen)
ends = {name: [found[name][f"{key}Curvature"] for key in ("Minimum", "Maximum")] for name in found}
oriented = {name: np.array(orient(Polygon(outline)).exterior.coords)[:-1] for name, outline in outlines.items()}
again = dict(zip(oriented, measured(oriented.values())))
turned = [again["the other way round"][f"{key}Curvature"] for key in ("Minimum", "Maximum")]
print("the other way round, put counterclockwise by shapely's orient first: curvature {:.3f} to {:.3f}".format(*turned))
assert np.allclose(ends["ellipse 40 by 20"], [0.025, 0.195], atol=0.001), ends
assert np.allclose(ends["the other way round"], [-0.195, -0.025], atol=0.001), ends
assert np.allclose(turned, [0.025, 0.195], atol=0.001), turned

for name, outline in outlines.items():  # the rule of the package: the points of the outline, each of them once
    seen = found[name]
    points = 4 * np.sqrt(np.linalg.eigvalsh(np.cov(outline.T, ddof=0))[::-1])
    assert np.allclose([seen["MajorAxisLength"], seen["MinorAxisLength"]], points), (name, seen, points)
    right = 0.5 if "ellipse" in name or name in ("the other way round", "half simplified") else 1
    assert abs(seen["inside"][1] / seen["inside"][0] - right) < 0.01, (name, seen)
assert found["ellipse 40 by 20"]["MajorAxisLength"] > 1.4 * found["ellipse 40 by 20"]["MaximumDiameter"], found
assert found["square, corners"]["MajorAxisLength"] > 39 and found["square, 19 more below"]["MajorAxisLength"] < 27, found
assert found["square, 19 more below"]["Elongation"] < 0.9 and found["square, corners"]["Elongation"] > 0.99, found
assert found["half simplified"]["Elongation"] < 0.4 and found["circle, half simplified"]["Elongation"] < 0.7, found
print("as found: the points are what is measured, the inside has the same axes for all outlines of a shape")
PY
