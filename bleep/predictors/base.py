"""What every predictor is: tiles in, a prediction out; so all of them can be compared."""

from typing import Protocol, runtime_checkable

from bleep.data.tiles import Tiles
from bleep.records import Prediction


@runtime_checkable
class Predictor(Protocol):
    """Predicts expression from tiles."""

    @property
    def name(self) -> str:
        """How tables call it."""
        ...

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict the panel's genes for each tile, on the normalised scale.

        Raises:
            MismatchError: the tiles are cut otherwise than the run's, or of another species.

        """
        ...
