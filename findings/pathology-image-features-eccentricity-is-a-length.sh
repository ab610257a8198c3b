#!/usr/bin/env bash
# In pathology-image-features the eccentricity of a gland grows with the gland, and a circle is less and less a circle.
#
# One would expect: eccentricity is a number without a unit, 0 for a circle and below 1 for any ellipse, as the package itself
# says: the ratio of the distance between the foci to the major axis. And the normalised viable interior index divides what is
# left of a circle of the same area, its edge taken off, by what is left of the shape, so it is 1 for a circle.
# What happens: the division by the major axis is left out, so the eccentricity is a length in pixels. An ellipse of twice its
# width in length, .866, is at 87 where it is 100 pixels long and at 2771 where it is 3200 long. The circle that the interior
# is divided by has the edge put on, not taken off, and the edge is wider in a larger shape: circles are at 1.06, 1.3, 2.8 and
# 9.1 with radii of 50, 200, 800 and 1600 pixels. scikit-image finds .866 for each of the ellipses. The package's solidity and
# normalised spin index, which no size goes into either, are right and the same for all sizes to within 0.1.
# Versions: pathology-image-features 0.5.0 of October 2026, the newest in the package index; seen on 2026-11-30.
# Why it matters: these are features for classifiers and for comparing glands, glomeruli and nuclei. Two shapes that are the
# same differ by their size, and one shape differs between 40x and 20x, by a factor of 2 in eccentricity.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.4.6 pandas==3.0.6 scipy==1.17.1 scikit-image==0.26.0 shapely==2.2.0 rdflib==7.6.0 rasterio==1.4.4 lxml==6.1.3 \
  networkx==3.6.1 graphviz==0.21 large-image==1.35.6 matplotlib==3.11.2 requests==2.34.2 typing-extensions==4.16.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps pathology-image-features==0.5.0 \
  ontology-package-boilerplate==0.18.0
cd "$folder"
"$folder/venv/bin/python" -I -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from pathology_image_features.ontology.classes.SpatialObject import Feature
from pathology_image_features.ontology.individuals import shape_characteristic_quantification_process as features
from shapely.affinity import scale
from shapely.geometry import Point
from skimage.measure import regionprops

print(*(f"{name} {version(name)}" for name in ("pathology-image-features", "shapely", "scikit-image")))


def of(name, shape):
    """The value that a feature has for a shape, which the package keeps as text."""
    value = getattr(features, name)(Feature.from_spatial(shape)).has_specified_numeric_value
    return float(str(value[0] if isinstance(value, list) else value))


def by_skimage(half):
    """The eccentricity of the same ellipse, drawn as pixels."""
    down, along = np.mgrid[-half : half + 1, -half : half + 1]
    (region,) = regionprops(((along / half) ** 2 + (2 * down / half) ** 2 <= 1).astype("uint8"))
    return region.eccentricity


right = 0.75**0.5
found = {}
print("an ellipse half as wide as long, and a circle; expected in each line: eccentricity .866, interior 1, spin 1.25")
for half in (50, 200, 800, 1600):
    circle = Point(0, 0).buffer(half, 64)
    ellipse = scale(circle, 1, 0.5)
    found[half] = numbers = {
        "eccentricity": of("eccentricity", ellipse),
        "skimage": by_skimage(half),
        "over the major axis": of("eccentricity", ellipse) / of("major_axis_length", ellipse),
        "circle's interior": of("normalized_viable_interior_index", circle),
        "circle's solidity": of("solidity", circle),
    }
    if half > 50:  # the package's grid of points takes long in small shapes
        numbers["spin"] = of("normalized_spin_index", ellipse)
        assert abs(numbers["spin"] - 1.25) < 0.1, numbers
    print(f"  {2 * half} pixels:", *(f"{name} {value:.3f}," for name, value in numbers.items()))
    assert abs(numbers["eccentricity"] - 2 * half * right) < 0.01 * half, numbers
    assert abs(numbers["over the major axis"] - right) < 0.001 and abs(numbers["skimage"] - right) < 0.002, numbers
    assert abs(numbers["circle's solidity"] - 1) < 1e-9, numbers
    # the edge is a ten thousandth of the area wide, in pixels, and goes on one circle and off the other
    edge = np.pi * half**2 / 10000
    assert abs(numbers["circle's interior"] / ((half + edge) / (half - edge)) ** 2 - 1) < 0.01, numbers
assert found[50]["circle's interior"] < 1.1 and found[1600]["circle's interior"] > 9, found
print("as found")
PY
