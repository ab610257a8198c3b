"""Direct regression as a predictor."""

from typing import final

from bleep.prediction.embed import check_tiles, through_head, tile_features
from bleep.records import Prediction
from bleep.runs import Run
from bleep.tissue.tiles import Tiles


@final
class RegressionPredictor:
    """The regression head of a run trained with `loss.task: regression` or `both`."""

    name = "regression"

    def __init__(self, run: Run) -> None:
        self.run = run
        run.model.eval()

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict from the trunk's features through the head."""
        check_tiles(self.run, tiles)
        scaled = through_head(self.run, tile_features(self.run, tiles))
        return Prediction(
            self.run.panel.unscaled(scaled), tiles.frame(), self.run.panel.genes, self.run.panel.words(), self.name
        )
