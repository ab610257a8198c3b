"""Every predictor: tiles in, a prediction out, by the laws they share."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bleep.data.section import Section
from bleep.data.tiles import Tiles, TileSpec
from bleep.errors import MismatchError
from bleep.predictors import Predictor
from bleep.predictors.baselines import ImageKnnPredictor, MeanPredictor, RegressionPredictor, RidgePredictor, baselines_of
from bleep.predictors.retrieval import RetrievalPredictor, neighbor_table
from bleep.retrieval.reference import Reference
from bleep.runs import Run
from bleep.workflows.query import build_reference
from bleep.workflows.tissue import load_split

KINDS = ("retrieval", "regression", "ridge", "ridge on colour", "image-kNN", "mean")


@pytest.fixture(scope="module")
def runs(trained: dict[str, Path]) -> dict[str, Run]:
    return {task: Run.load(folder) for task, folder in trained.items()}


@pytest.fixture(scope="module")
def reference(trained: dict[str, Path]) -> Reference:
    return Reference.load(trained["contrastive"] / "reference")


@pytest.fixture(scope="module")
def made(runs: dict[str, Run], reference: Reference) -> dict[str, Predictor]:
    run = runs["contrastive"]
    train = Tiles(load_split(run.config).train, run.spec)
    every = {"retrieval": RetrievalPredictor(run, reference), "regression": RegressionPredictor(runs["regression"])}
    return {**every, **baselines_of(run, train)}


@pytest.fixture(scope="module")
def test_tiles(runs: dict[str, Run]) -> Tiles:
    return Tiles(load_split(runs["contrastive"].config).test, runs["contrastive"].spec)


def test_all_predictors_are_predictors(made: dict[str, Predictor]) -> None:
    assert set(made) == set(KINDS)
    for predictor in made.values():
        assert isinstance(predictor, Predictor)
    assert isinstance(made["mean"], MeanPredictor)
    assert isinstance(made["ridge"], RidgePredictor)
    assert isinstance(made["image-kNN"], ImageKnnPredictor)


@pytest.mark.parametrize("kind", KINDS)
def test_permuting_spots_permutes_predictions(kind: str, made: dict[str, Predictor], test_tiles: Tiles) -> None:
    section = test_tiles.sections[0]
    order = np.random.default_rng(0).permutation(len(section))
    straight = made[kind].predict(Tiles((section,), test_tiles.spec))
    permuted = made[kind].predict(Tiles((section.subset(order),), test_tiles.spec))
    assert list(permuted.spots.index) == [straight.spots.index[row] for row in order]
    np.testing.assert_allclose(permuted.expression, straight.expression[order], rtol=1e-4, atol=1e-5)
    if kind != "mean":
        assert np.ptp(straight.expression, axis=0).max() > 1e-3


@pytest.mark.parametrize("kind", ["regression", "ridge", "ridge on colour"])
def test_no_model_predicts_far_beyond_what_was_seen_in_training(
    kind: str, made: dict[str, Predictor], test_tiles: Tiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor: Any = made[kind]
    run, panel = predictor.run, predictor.run.panel
    monkeypatch.setattr(predictor, "run", replace(run, panel=replace(panel, range=None)))
    usual = predictor.predict(test_tiles)
    assert "bounded" not in usual.spots
    # As if the first gene had been seen only at 1 to 2 in training: its predictions are brought to 0.75 to 2.25.
    seen = np.stack([np.full(len(panel.genes), -1e3), np.full(len(panel.genes), 1e3)])
    seen[:, 0] = 1, 2
    monkeypatch.setattr(predictor, "run", replace(run, panel=replace(panel, range=seen)))
    bounded = predictor.predict(test_tiles)
    np.testing.assert_array_equal(bounded.expression[:, 0], usual.expression[:, 0].clip(0.75, 2.25))
    np.testing.assert_array_equal(bounded.expression[:, 1:], usual.expression[:, 1:])
    np.testing.assert_array_equal(bounded.spots["bounded"], bounded.expression[:, 0] != usual.expression[:, 0])
    assert bounded.spots["bounded"].any()


@pytest.mark.parametrize("kind", KINDS)
def test_sections_are_predicted_alone_as_together(kind: str, made: dict[str, Predictor], test_tiles: Tiles) -> None:
    together = made[kind].predict(test_tiles)
    alone = [made[kind].predict(Tiles((section,), test_tiles.spec)).expression for section in test_tiles.sections]
    np.testing.assert_allclose(np.concatenate(alone), together.expression, rtol=1e-4, atol=1e-5)
    assert list(together.spots.index) == list(test_tiles.ids)


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_do_not_depend_on_what_was_measured(kind: str, made: dict[str, Predictor], test_tiles: Tiles) -> None:
    blank = []
    for section in test_tiles.sections:
        counts = section.counts.copy()
        counts.X = counts.X * 0
        blank.append(replace(section, counts=counts))
    seen = made[kind].predict(test_tiles).expression
    np.testing.assert_array_equal(made[kind].predict(Tiles(tuple(blank), test_tiles.spec)).expression, seen)


def test_uniform_weights_over_all_spots_are_the_mean_predictor(
    runs: dict[str, Run], reference: Reference, made: dict[str, Predictor], test_tiles: Tiles
) -> None:
    every = RetrievalPredictor(runs["contrastive"], reference, k=len(reference), weights="uniform").predict(test_tiles)
    np.testing.assert_allclose(every.expression, made["mean"].predict(test_tiles).expression, rtol=1e-4, atol=1e-5)
    few = RetrievalPredictor(runs["contrastive"], reference, k=3, weights="uniform").predict(test_tiles)
    assert np.abs(few.expression - every.expression).max() > 0.05


def test_more_neighbours_than_spots_are_all_of_them(
    runs: dict[str, Run], reference: Reference, test_tiles: Tiles, caplog: pytest.LogCaptureFixture
) -> None:
    prediction = RetrievalPredictor(runs["contrastive"], reference, k=10_000).predict(test_tiles)
    assert prediction.neighbors is not None
    assert prediction.neighbors.rows.shape[1] == len(reference)
    assert "all of them are averaged" in caplog.text


def test_the_table_of_neighbours_gives_the_prediction_again(
    made: dict[str, Predictor], reference: Reference, test_tiles: Tiles
) -> None:
    prediction = made["retrieval"].predict(test_tiles)
    table = neighbor_table(prediction, reference)
    assert len(table) == len(test_tiles) * 10
    np.testing.assert_allclose(table.groupby("tile")["weight"].sum(), 1, rtol=1e-5)
    one = table[table["tile"] == test_tiles.ids[7]]
    assert list(one["rank"]) == list(range(1, 11))
    assert one["similarity"].is_monotonic_decreasing
    rows = reference.spots.index.get_indexer(one["spot"])
    expected = one["weight"].to_numpy() @ reference.expression.rows(rows)
    np.testing.assert_allclose(prediction.expression[7], expected, rtol=1e-4, atol=1e-5)


def test_a_prediction_without_neighbours_has_no_table_of_them(
    made: dict[str, Predictor], reference: Reference, test_tiles: Tiles
) -> None:
    with pytest.raises(MismatchError, match="used no neighbours"):
        neighbor_table(made["mean"].predict(test_tiles), reference)


def test_the_reference_holds_training_spots_alone(reference: Reference, runs: dict[str, Run]) -> None:
    parts = load_split(runs["contrastive"].config)
    assert list(reference.spots.index) == [name for section in parts.train for name in section.ids]
    panel = runs["contrastive"].panel
    measured = np.concatenate([panel.values(s) for s in parts.train])
    np.testing.assert_array_equal(reference.expression.rows(np.arange(len(reference))), measured)
    assert reference.manifest["measured"]["recall"] == 1


def test_a_reference_of_test_tissue_is_refused(runs: dict[str, Run]) -> None:
    from bleep.retrieval.reference import build

    run = runs["contrastive"]
    with pytest.raises(MismatchError, match="section toy3: its files are not those"):
        build(run, load_split(run.config).test)


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_cut_otherwise_are_refused(kind: str, made: dict[str, Predictor], test_tiles: Tiles) -> None:
    with pytest.raises(MismatchError, match="50 um in 32 px were given to a run trained on 64 um in 32 px"):
        made[kind].predict(Tiles(test_tiles.sections, TileSpec(32, (50.0,))))


@pytest.mark.parametrize("kind", KINDS)
def test_tissue_of_another_species_is_refused(kind: str, trained: dict[str, Path], test_tiles: Tiles) -> None:
    folder = trained["regression" if kind == "regression" else "contrastive"]
    run = Run.load(folder)
    run = replace(run, panel=replace(run.panel, species="mouse"))
    tiles = Tiles(tuple(replace(section, species="human") for section in test_tiles.sections), test_tiles.spec)
    train = Tiles(load_split(run.config).train, run.spec)
    makers: dict[str, Callable[[], Predictor]] = {
        "retrieval": lambda: RetrievalPredictor(run, build_reference(run)),
        "regression": lambda: RegressionPredictor(run),
        "ridge": lambda: RidgePredictor.fit(run, train),
        "ridge on colour": lambda: RidgePredictor.fit_colour(run, train),
        "image-kNN": lambda: ImageKnnPredictor.fit(run, train),
        "mean": lambda: MeanPredictor(run),
    }
    predictor = makers[kind]()
    with pytest.raises(MismatchError, match="is of human, but the panel was fitted on mouse"):
        predictor.predict(tiles)


def test_a_saved_and_loaded_reference_predicts_the_same_bits(runs: dict[str, Run], test_tiles: Tiles, tmp_path: Path) -> None:
    fresh = build_reference(runs["contrastive"])
    fresh.save(tmp_path / "reference")
    again = Reference.load(tmp_path / "reference")
    one, other = (RetrievalPredictor(runs["contrastive"], each).predict(test_tiles) for each in (fresh, again))
    np.testing.assert_array_equal(one.expression, other.expression)
    assert fresh.manifest == again.manifest
    assert list(fresh.spots.index) == list(again.spots.index)


def test_a_prediction_becomes_anndata_and_tables(made: dict[str, Predictor], test_tiles: Tiles, tmp_path: Path) -> None:
    import anndata
    import pandas as pd

    from bleep.predictors.io import write_prediction

    prediction = made["retrieval"].predict(test_tiles)
    write_prediction(prediction, tmp_path / "p.h5ad")
    write_prediction(prediction, tmp_path / "p.csv")
    write_prediction(prediction, tmp_path / "p.parquet")
    data = anndata.read_h5ad(tmp_path / "p.h5ad")
    np.testing.assert_array_equal(data.X, prediction.expression)
    np.testing.assert_array_equal(data.layers["spread"], prediction.spread)
    np.testing.assert_array_equal(data.obsm["spatial"], prediction.spots[["x", "y"]])
    assert data.uns["bleep"]["scale"].startswith("log1p")
    for table in (pd.read_csv(tmp_path / "p.csv"), pd.read_parquet(tmp_path / "p.parquet")):
        assert list(table.columns) == ["section", "spot", "x", "y", *prediction.genes]
        np.testing.assert_allclose(table[list(prediction.genes)], prediction.expression, rtol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.csv", "p.h5ad", "p.parquet"]


def test_a_section_that_was_not_measured_can_be_predicted(made: dict[str, Predictor], toys: tuple[Section, ...]) -> None:
    bare = replace(toys[2], counts=toys[2].counts[:, []].copy())
    prediction = made["retrieval"].predict(Tiles((bare,), TileSpec(32, (64.0,))))
    assert prediction.expression.shape == (len(bare), 12)
