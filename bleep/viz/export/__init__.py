"""Predictions handed over to other programs: GeoJSON for QuPath, SpatialData for napari and the scverse."""

from bleep.viz.export.reading import Predicted, opened
from bleep.viz.export.write import MOST, write_geojson, write_spatialdata

__all__ = ["MOST", "Predicted", "opened", "write_geojson", "write_spatialdata"]
