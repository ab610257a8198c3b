"""A predictor that remembers what it predicted, so that nothing is predicted twice."""

from typing import final

from bleep.data.prediction import Prediction
from bleep.data.section import Section
from bleep.data.tiles import Tiles, TileSpec
from bleep.predictors.base import Predictor

Key = tuple[tuple[int, ...], TileSpec]


@final
class Remembered:
    """A predictor beside its last predictions, by the sections themselves: the same tissue is not predicted again.

    Memory: `keep` predictions of tiles x genes; one by default, which serves a mean of several predictors.
    """

    def __init__(self, predictor: Predictor, keep: int = 1) -> None:
        self.predictor, self.keep = predictor, keep
        self._found: dict[Key, tuple[tuple[Section, ...], Prediction]] = {}

    @property
    def name(self) -> str:
        """The predictor's own."""
        return self.predictor.name

    def predict(self, tiles: Tiles) -> Prediction:
        """Return what was predicted of these tiles before, or predict them."""
        key = tuple(map(id, tiles.sections)), tiles.spec
        if key not in self._found:
            prediction = self.predictor.predict(tiles)
            while len(self._found) >= self.keep:
                del self._found[next(iter(self._found))]
            # The sections are held too, so that no other section can take the number of one that is gone.
            self._found[key] = tiles.sections, prediction
        return self._found[key][1]


def plain(predictor: Predictor) -> Predictor:
    """Return the predictor itself, without its memory."""
    return predictor.predictor if isinstance(predictor, Remembered) else predictor
