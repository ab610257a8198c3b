"""The stages joined, as the commands and the public names call them."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bleep
from bleep.config import Config
from bleep.data.readers import read_sections
from bleep.data.tiles import Tiles
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.runs import Run
from bleep.workflows.experiment import Experiment
from bleep.workflows.opened import opened
from bleep.workflows.report import evaluation_page


def test_the_public_names_are_there() -> None:
    for name in bleep.__all__:
        assert getattr(bleep, name) is not None
    assert {"Config", "Run", "fit", "build_reference", "RetrievalPredictor", "compare"} <= set(bleep.__all__)


def test_runs_of_one_protocol_stand_in_one_table(trained: dict[str, Path]) -> None:
    table = bleep.evaluate(list(trained.values()))
    assert set(table.rows.index) == {"retrieval", "regression", "ridge", "ridge on colour", "image-kNN", "mean"}
    assert table.rows.loc["mean", "pcc"] == 0
    assert table.leak.status == "none"
    assert {card.section for card in table.cards} == {"toy3", "toy4"}
    assert table.rows[["pcc", "mse"]].notna().all(axis=None)
    assert len(table.cards) == 12


def test_floors_are_of_the_first_run_where_runs_differ_in_features(
    trained: dict[str, Path], recipe: Any, tmp_path: Path
) -> None:
    other = {"image": {"layer": 1}, "loss": {"task": "regression"}, "optim": {"epochs": 1}}
    bleep.fit(Config.load(recipe(tmp_path / "run", other)))
    both, alone = bleep.evaluate([trained["contrastive"], tmp_path / "run"]), bleep.evaluate([trained["contrastive"]])
    for floor in ("ridge", "image-kNN"):
        pd.testing.assert_series_equal(both.rows.loc[floor], alone.rows.loc[floor])
    assert "fitted on the features of the first run (test_resnet" in both.facts["floors"]
    assert "first run" not in alone.facts["floors"]


def test_a_run_does_not_count_twice(trained: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained["contrastive"].parent)
    with pytest.raises(ConfigError, match="is named twice; name each run once"):
        bleep.evaluate([trained["contrastive"], trained["contrastive"].name])


def test_runs_that_test_on_different_tissue_have_their_floors_on_each(recipe: Any, tmp_path: Path) -> None:
    for name in ("toy3", "toy4"):
        data = {"split": "section", "sections": ["toy1", "toy2", name], "test": [name]}
        bleep.fit(Config.load(recipe(tmp_path / name, {"data": data, "loss": {"task": "regression"}, "optim": {"epochs": 1}})))
    table = bleep.evaluate([tmp_path / "toy3", tmp_path / "toy4"])
    for predictor in table.rows.index:
        assert {card.section for card in table.cards if card.predictor == predictor} == {"toy3", "toy4"}


def test_comparing_gives_what_evaluating_gives(trained: dict[str, Path]) -> None:
    run = Run.load(trained["contrastive"])
    reference = bleep.Reference.load(trained["contrastive"] / "reference")
    test = Tiles(bleep.load_split(run.config).test, run.spec)
    table = bleep.compare({"retrieval": bleep.RetrievalPredictor(run, reference), "mean": bleep.MeanPredictor(run)}, test, run)
    whole = bleep.evaluate([trained["contrastive"]])
    for name in ("retrieval", "mean"):
        np.testing.assert_allclose(
            table.rows.loc[name].to_numpy(float), whole.rows.loc[name].to_numpy(float), rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize(("form", "task"), [("folder", "contrastive"), ("her2st", "regression")])
def test_the_whole_way_through_in_every_form(form: str, task: str, recipe: Any, files: Path, tmp_path: Path) -> None:
    root = files / form / "train.csv" if form == "folder" else files / form
    data = {"source": form, "root": str(root), "split": "section", "test": ["toy2"], "mpp": 1.0}
    config = Config.load(recipe(tmp_path / "run", {"data": data, "loss": {"task": task}}))
    run = bleep.fit(config)
    if task == "contrastive":
        bleep.build_reference(run).save(tmp_path / "run" / "reference")
    images = files / "folder" / "test.csv" if form == "folder" else files / "her2st" / "toy3"
    tiles = bleep.open_tiles(images, run)
    prediction = Experiment.of(run, tmp_path / "run").predict(tiles)
    assert prediction.expression.shape == (len(tiles), 12)
    assert np.isfinite(prediction.expression).all()
    assert "mean" in bleep.evaluate([tmp_path / "run"]).rows.index


def test_a_folder_of_tiles_and_its_csv_are_predicted_alike(recipe: Any, files: Path, tmp_path: Path) -> None:
    data = {"source": "folder", "root": str(files / "folder" / "train.csv"), "split": "section", "test": ["toy2"]}
    run = bleep.fit(Config.load(recipe(tmp_path / "run", {"data": data, "loss": {"task": "regression"}})))
    bare, listed = (bleep.open_tiles(files / "folder" / name, run) for name in ("test", "test.csv"))
    one, other = (Experiment.of(run, tmp_path / "run").predict(tiles).to_frame() for tiles in (bare, listed))
    genes = list(run.panel.genes)
    frames = [frame.assign(spot=frame["spot"].astype(str)).set_index("spot")[genes].sort_index() for frame in (one, other)]
    pd.testing.assert_frame_equal(*frames, rtol=1e-4)


def test_tiles_of_another_size_need_their_scale(trained: dict[str, Path], files: Path) -> None:
    run = Run.load(trained["contrastive"])
    with pytest.raises(MismatchError, match="give --mpp"):
        bleep.open_tiles(files / "folder" / "test.csv", run)
    assert len(bleep.open_tiles(files / "folder" / "test.csv", run, mpp=1.0)) > 50
    with pytest.raises(DataError, match="show 32 microns"):
        bleep.open_tiles(files / "folder" / "test.csv", run, mpp=0.5)


def test_a_slide_and_its_ready_cut_tiles_are_predicted_nearly_alike(trained: dict[str, Path], files: Path) -> None:
    run, folder = Run.load(trained["contrastive"]), trained["contrastive"]
    slides = bleep.open_tiles(files / "st2k", run)
    cut = bleep.open_tiles(files / "folder" / "test.csv", run, mpp=1.0)
    uniform = Experiment.of(run, folder).select(weights="uniform")
    of_slides = uniform.predict(Tiles(slides.sections[2:], slides.spec))
    of_tiles = uniform.predict(cut)
    # The slide is a JPEG and the tiles are PNG: the same but for the compression.
    gap = np.abs(of_slides.expression - of_tiles.expression).mean()
    assert gap < 0.5 * of_slides.expression.std(axis=0).mean()


def test_runs_of_different_protocols_are_not_put_in_one_table(trained: dict[str, Path], recipe: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    bleep.fit(Config.load(recipe(other, {"panel": {"size": 9}, "loss": {"task": "regression"}})))
    with pytest.raises(MismatchError, match=r"panel\.size = 9, but the first run has 12"):
        bleep.evaluate([trained["regression"], other])


def test_runs_scored_on_other_spots_of_the_same_sections_are_not_put_in_one_table(
    trained: dict[str, Path], run_copy: Any
) -> None:
    for key, was, now in (("min_counts", "0.0", "1.0"), ("bin", "16", "8")):
        other = run_copy("regression", f"other_{key}")
        text = (other / "config.yaml").read_text()
        (other / "config.yaml").write_text(text.replace(f"  {key}: {was}\n", f"  {key}: {now}\n"))
        with pytest.raises(MismatchError, match=rf"data\.{key} = {now}, but the first run has {was}; evaluate them apart"):
            bleep.evaluate([trained["regression"], other])


def test_test_tissue_that_was_trained_on_is_refused(run_copy: Any) -> None:
    out = run_copy("regression")
    text = (out / "config.yaml").read_text()
    (out / "config.yaml").write_text(text.replace("- donor2", "- donor1"))
    with pytest.raises(MismatchError, match="toy1 is tissue the run was trained on"):
        bleep.evaluate([out])


def test_standardising_per_section_goes_the_whole_way(recipe: Any, tmp_path: Path) -> None:
    run = bleep.fit(Config.load(recipe(tmp_path / "run", {"image": {"standardize": "section"}})))
    bleep.build_reference(run).save(tmp_path / "run" / "reference")
    assert np.isfinite(bleep.evaluate([tmp_path / "run"]).rows["pcc"]).all()


@pytest.mark.parametrize("by", ["block", "random"])
def test_a_split_that_leaks_is_said_so_in_the_table(by: str, recipe: Any, tmp_path: Path) -> None:
    over = {"data": {"split": by, "test": [], "margin": 0.0}, "loss": {"task": "regression"}, "optim": {"epochs": 1}}
    run = bleep.fit(Config.load(recipe(tmp_path / "run", over)))
    table = bleep.evaluate([tmp_path / "run"])
    assert table.leak.status == {"block": "neighbouring tissue", "random": "random spots"}[by]
    told = "\n".join(evaluation_page(opened([tmp_path / "run"]), table).leak)
    assert told.count(table.leak.detail) == 1, "a page tells it once, whether or not a finding says the same"
    divided = bleep.load_split(run.config)
    fitted = {"ridge": bleep.RidgePredictor.fit(run, run.tiles(divided.train)), "regression": bleep.RegressionPredictor(run)}
    assert bleep.compare(fitted, run.tiles(divided.test), run).leak == run.facts.leak
    # The whole of a section, some spots of which were trained on.
    whole = bleep.compare(fitted, run.tiles(read_sections(run.config.data)[:1]), run).leak
    assert (whole.status, "perhaps on these very spots" in whole.detail) == ("random spots", by == "block")


def test_predicting_tissue_that_was_trained_on_is_said_aloud(
    trained: dict[str, Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("bleep"), "propagate", True)
    run = bleep.Run.load(trained["contrastive"])
    divided = bleep.load_split(run.config)
    Experiment.of(run, trained["contrastive"]).predict(bleep.Tiles(divided.test, run.spec))
    assert "was trained on" not in caplog.text
    Experiment.of(run, trained["contrastive"]).predict(bleep.Tiles(divided.train[:1], run.spec))
    assert "was trained on" in caplog.text
