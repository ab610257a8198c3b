"""Explanations of a run's predictions: the right neighbours, their own tiles, the right genes."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from matplotlib.figure import Figure

from bleep.config import Config
from bleep.data.prediction import Prediction
from bleep.data.tiles import Tiles
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.marks import marked_header
from bleep.predictors.baselines import RegressionPredictor
from bleep.predictors.retrieval import RetrievalPredictor
from bleep.records import Neighbors
from bleep.retrieval.reference import Reference
from bleep.runs import Run
from bleep.viz.figures import Drawing, save
from bleep.workflows import explain as explaining
from bleep.workflows.fit import fit
from bleep.workflows.query import build_reference
from bleep.workflows.tissue import load_split


class Known(NamedTuple):
    """A predictor whose neighbours are the same rows of the reference for every tile."""

    run: Run
    rows: np.ndarray
    name: str = "known"

    def predict(self, tiles: Tiles) -> Prediction:
        shape = (len(tiles), len(self.rows))
        neighbors = Neighbors(np.full(shape, 0.5, np.float32), np.tile(self.rows.astype(np.int64), (len(tiles), 1)))
        weights = np.full(shape, 1 / len(self.rows), np.float32)
        genes, scale = self.run.panel.genes, self.run.panel.describe()
        expression = np.zeros((len(tiles), len(genes)), np.float32)
        return Prediction(expression, tiles.frame(), genes, scale, self.name, neighbors=neighbors, weights=weights)


@pytest.fixture(scope="module")
def run(trained: dict[str, Path]) -> Run:
    return Run.load(trained["contrastive"])


@pytest.fixture(scope="module")
def reference(trained: dict[str, Path]) -> Reference:
    return Reference.load(trained["contrastive"] / "reference")


@pytest.fixture(scope="module")
def measured(run: Run) -> np.ndarray:
    """What was measured in each spot of the reference."""
    return np.concatenate([run.panel.training_values(section) for section in load_split(run.config).train])


@pytest.fixture(scope="module")
def tiles(run: Run) -> Tiles:
    return run.tiles(load_split(run.config).test)


def test_neighbours_are_those_of_the_whole_prediction_and_their_tiles_are_cut_from_their_own_slides(
    run: Run, reference: Reference, tiles: Tiles
) -> None:
    predictor = RetrievalPredictor(run, reference)
    prediction = predictor.predict(tiles)
    assert prediction.neighbors is not None
    rows = np.array([3, len(tiles) - 2])
    found = explaining.explain(run, prediction, reference, tiles, rows)
    train = run.tiles(load_split(run.config).train)
    for row, one in zip(rows.tolist(), found, strict=True):
        assert one.id == tiles.ids[row]
        np.testing.assert_array_equal(one.tile, tiles.read(row))
        assert [view.id for view in one.neighbors] == [train.ids[at] for at in prediction.neighbors.rows[row]]
        np.testing.assert_allclose(
            [view.similarity for view in one.neighbors], prediction.neighbors.similarity[row], rtol=1e-4, atol=1e-6
        )
        assert sum(view.weight for view in one.neighbors) == pytest.approx(1)
        assert [view.id for view in one.neighbors if view.tile is not None] == [view.id for view in one.neighbors[:8]]
        for view in one.neighbors[:8]:
            np.testing.assert_array_equal(view.tile, train.read(train.ids.index(view.id)))


def test_neighbours_that_all_have_much_of_a_gene_agree_on_it_and_a_mixed_set_does_not(
    run: Run, reference: Reference, measured: np.ndarray, tiles: Tiles
) -> None:
    gene = int(np.argmax(run.panel.variance))
    order = np.argsort(measured[:, gene])
    (alike,) = explaining.explain(run, Known(run, order[-6:]).predict(tiles), reference, tiles, np.array([0]))
    (view,) = [view for view in alike.agreed if view.gene == run.panel.genes[gene]]
    assert view.shift > 1
    np.testing.assert_allclose(view.values, measured[order[-6:], gene], rtol=1e-5)
    assert view.mean == pytest.approx(measured[order[-6:], gene].mean(), rel=1e-5)
    assert (view.training_mean, view.training_spread) == pytest.approx(
        (measured[:, gene].mean(), measured[:, gene].std()), rel=1e-4
    )
    ends = np.concatenate([order[:3], order[-3:]])
    (mixed,) = explaining.explain(run, Known(run, ends).predict(tiles), reference, tiles, np.array([0]))
    assert run.panel.genes[gene] in [view.gene for view in mixed.disputed]
    assert run.panel.genes[gene] not in [view.gene for view in mixed.agreed]


@pytest.mark.parametrize("image", [{"standardize": "section"}, {"stain": "reinhard"}])
def test_a_run_that_compares_tiles_within_a_section_is_explained_as_it_predicts(
    image: dict[str, str], recipe: Any, tmp_path: Path
) -> None:
    run = fit(Config.load(recipe(tmp_path / "run", {"image": image, "optim": {"epochs": 1}})))
    reference = build_reference(run)
    tiles = run.tiles(load_split(run.config).test)
    predictor = RetrievalPredictor(run, reference)
    prediction = predictor.predict(tiles)
    assert prediction.neighbors is not None
    (one,) = explaining.explain(run, prediction, reference, tiles, np.array([len(tiles) - 1]))
    np.testing.assert_allclose([view.similarity for view in one.neighbors], prediction.neighbors.similarity[-1], rtol=1e-4)
    assert [view.id for view in one.neighbors] == list(reference.spots.index[prediction.neighbors.rows[-1]])


def test_without_the_training_slides_neighbours_are_named_alone_and_that_is_said(
    run: Run, reference: Reference, tiles: Tiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = run.config.model_copy(update={"data": run.config.data.model_copy(update={"root": tmp_path / "gone"})})
    with caplog.at_level(logging.WARNING, "bleep"):
        (one,) = explaining.explain(
            replace(run, config=gone), Known(run, np.arange(4)).predict(tiles), reference, tiles, np.array([0])
        )
    assert [view.tile for view in one.neighbors] == [None] * 4
    assert [record.message for record in caplog.records if "named but not shown" in record.message and "gone" in record.message]


def test_slides_that_changed_since_training_are_not_shown(
    run: Run, reference: Reference, tiles: Tiles, caplog: pytest.LogCaptureFixture
) -> None:
    others = replace(run, facts=replace(run.facts, train=run.facts.train[1:]))
    rows = np.array([0, len(reference) - 1])
    with caplog.at_level(logging.WARNING, "bleep"):
        (one,) = explaining.explain(others, Known(run, rows).predict(tiles), reference, tiles, np.array([0]))
    assert one.neighbors[0].tile is None
    assert one.neighbors[1].tile is not None
    assert "toy1" in caplog.text


def test_a_predictor_without_neighbours_is_refused(run: Run, reference: Reference, tiles: Tiles) -> None:
    from bleep.predictors.baselines import MeanPredictor

    with pytest.raises(MismatchError, match="no neighbours"):
        explaining.explain(run, MeanPredictor(run).predict(tiles), reference, tiles, np.array([0]))


@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_rows_are_evenly_spread_and_the_same_each_time(count: int, tiles: Tiles) -> None:
    rows = explaining.spread_rows(tiles, count)
    assert len(set(rows.tolist())) == count
    np.testing.assert_array_equal(rows, explaining.spread_rows(tiles, count))
    gaps = np.diff([-rows[0] - 1, *rows, 2 * len(tiles) - rows[-1]])
    assert gaps.max() - gaps.min() <= 2


def test_more_rows_than_tiles_are_all_of_them_and_none_is_refused(tiles: Tiles) -> None:
    assert list(explaining.spread_rows(tiles, 10_000)) == list(range(len(tiles)))
    with pytest.raises(ConfigError, match="at least 1"):
        explaining.spread_rows(tiles, 0)


def test_tiles_are_found_by_name_in_their_own_order(tiles: Tiles) -> None:
    ids = tiles.ids
    assert list(explaining.named_rows(tiles, [ids[5], ids[2], ids[5]])) == [2, 5]
    with pytest.raises(ConfigError, match=r"no tile 'toy9/1' .* such as"):
        explaining.named_rows(tiles, [ids[0], "toy9/1"])


def test_a_folder_of_other_files_is_refused_and_an_earlier_one_is_not(reference: Reference, tmp_path: Path) -> None:
    drawn, notes = tmp_path / "001_toy3_2x1.png", tmp_path / "genes.csv"
    save(Drawing("001_toy3_2x1", Figure(), "", ""), tmp_path)
    notes.write_text(marked_header("gene,value\n"))
    explaining.check_explaining(tmp_path, reference)
    for path, ours in ((drawn, drawn.read_bytes()), (notes, notes.read_bytes())):
        path.write_bytes(b"")
        with pytest.raises(DataError, match=rf"{path.name}: is there already, and bleep did not write it"):
            explaining.check_explaining(tmp_path, reference)
        path.write_bytes(ours)
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(DataError, match=r"thesis\.docx"):
        explaining.check_explaining(tmp_path, reference)


def test_a_predictor_that_takes_nothing_from_neighbours_is_not_explained_by_them(
    trained: dict[str, Path], reference: Reference, run: Run
) -> None:
    with pytest.raises(MismatchError, match="takes no value from reference spots"):
        explaining.check_explained(RegressionPredictor(Run.load(trained["regression"])))
    explaining.check_explained(RetrievalPredictor(run, reference))
