"""Predictions handed over to other programs: GeoJSON for QuPath, SpatialData for napari and the scverse."""

from bleep.evaluation.handing_over.geojson import MOST, write_geojson
from bleep.evaluation.handing_over.reading import Predicted, opened
from bleep.evaluation.handing_over.spatialdata import write_spatialdata

__all__ = ["MOST", "Predicted", "opened", "write_geojson", "write_spatialdata"]
