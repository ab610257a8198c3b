"""Predictions handed over to other programs: GeoJSON for QuPath, SpatialData for napari and the scverse."""

from bleep.viz.export.geojson import MOST, write_geojson
from bleep.viz.export.reading import Predicted, opened
from bleep.viz.export.spatialdata import write_spatialdata

__all__ = ["MOST", "Predicted", "opened", "write_geojson", "write_spatialdata"]
