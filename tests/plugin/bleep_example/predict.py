"""A predictor and a metric."""

from collections.abc import Mapping

import numpy as np

from bleep import Prediction, Run, Tiles


class NearestColour:
    """The values of the training tile whose mean colour is nearest."""

    name = "nearest-colour"

    def __init__(self, run: Run, colours: np.ndarray, values: np.ndarray) -> None:
        self.run, self.colours, self.values = run, colours, values

    @classmethod
    def fit(cls, run: Run, tiles: Tiles) -> "NearestColour":
        """Remember the training tiles."""
        values = np.concatenate([run.panel.training_values(section) for section in tiles.sections])
        return cls(run, _colours(tiles), values)

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Return what it has learnt, to be written into a calibration."""
        return {"colours": self.colours, "values": self.values}

    @classmethod
    def restore(cls, run: Run, arrays: Mapping[str, np.ndarray]) -> "NearestColour":
        """Make it again from what it has learnt."""
        return cls(run, arrays["colours"], arrays["values"])

    def predict(self, tiles: Tiles) -> Prediction:
        """Predict on the panel's normalised scale."""
        apart = ((_colours(tiles)[:, None] - self.colours[None]) ** 2).sum(axis=2)
        panel = self.run.panel
        return Prediction(self.values[apart.argmin(axis=1)], tiles, panel.genes, panel.describe(), self.name)


def _colours(tiles: Tiles) -> np.ndarray:
    return np.stack([tiles.read(row)[0].mean(axis=(1, 2)) for row in range(len(tiles))]).astype(np.float32)


def sign(predicted: np.ndarray, measured: np.ndarray) -> float:
    """Return the share of values predicted on the right side of the gene's mean; higher is better."""
    return float((np.sign(predicted - measured.mean(axis=0)) == np.sign(measured - measured.mean(axis=0))).mean())
