"""The mean of predictors."""

from pathlib import Path

import numpy as np
import pytest

from bleep.data.prediction import Prediction
from bleep.data.tiles import Tiles
from bleep.errors import MismatchError
from bleep.predictors import MeanOfPredictors
from bleep.predictors.baselines import MeanPredictor, RegressionPredictor
from bleep.predictors.retrieval import RetrievalPredictor
from bleep.retrieval.reference import Reference
from bleep.runs import Run
from bleep.workflows.tissue import load_split


@pytest.fixture(scope="module")
def members(trained: dict[str, Path]) -> tuple[RetrievalPredictor, RegressionPredictor, Tiles]:
    contrastive, regression = (Run.load(trained[task]) for task in ("contrastive", "regression"))
    retrieval = RetrievalPredictor(contrastive, Reference.load(trained["contrastive"] / "reference"))
    return retrieval, RegressionPredictor(regression), contrastive.tiles(load_split(contrastive.config).test)


def test_it_is_the_mean_of_its_members(members: tuple) -> None:
    retrieval, regression, tiles = members
    expected = (retrieval.predict(tiles).expression + regression.predict(tiles).expression) / 2
    combined = MeanOfPredictors((retrieval, regression))
    prediction = combined.predict(tiles)
    np.testing.assert_allclose(prediction.expression, expected, rtol=1e-6, atol=1e-6)
    assert prediction.predictor == combined.name == "mean of both"
    np.testing.assert_array_equal(MeanOfPredictors((retrieval,)).predict(tiles).expression, retrieval.predict(tiles).expression)


def test_its_squared_error_is_never_above_the_mean_of_its_members(members: tuple) -> None:
    retrieval, regression, tiles = members
    truth = np.concatenate([retrieval.run.panel.values(section) for section in tiles.sections])
    errors = [float(((one.predict(tiles).expression - truth) ** 2).mean()) for one in (retrieval, regression)]
    combined = float(((MeanOfPredictors((retrieval, regression)).predict(tiles).expression - truth) ** 2).mean())
    assert combined <= np.mean(errors) + 1e-6


def test_members_of_other_genes_or_scales_are_refused(members: tuple) -> None:
    retrieval, _, tiles = members

    class Other:
        name = "other"

        def __init__(self, **change: object) -> None:
            self.change = change

        def predict(self, tiles: Tiles) -> Prediction:
            mean = MeanPredictor(retrieval.run).predict(tiles)
            how = {"genes": mean.genes, "scale": mean.scale, **self.change}
            return Prediction(mean.expression, tiles, predictor="other", **how)

    for change in ({"scale": "counts"}, {"genes": tuple("ABCDEFGHIJKL")}):
        with pytest.raises(MismatchError, match="must share genes and scale"):
            MeanOfPredictors((retrieval, Other(**change))).predict(tiles)
    with pytest.raises(MismatchError, match="at least one"):
        MeanOfPredictors(())
