"""A run trained for both tasks, from its recipe to the table; and the other losses, once through."""

import json
import shutil
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest

import bleep
from bleep.cli import app
from bleep.config import Config
from bleep.data.tiles import Tiles
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.models.models import DualEncoder
from bleep.predictors.calibration import predictors_of
from bleep.runs import Run
from bleep.workflows.experiment import Experiment
from bleep.workflows.fit import fit
from bleep.workflows.pack import pack, unpack
from bleep.workflows.query import build_reference

BOTH = {"loss": {"task": "both"}, "head": {"hidden": 8}}


@pytest.fixture(scope="module")
def both(recipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run for both tasks with its index; read it."""
    out = tmp_path_factory.mktemp("both") / "run"
    run = fit(Config.load(recipe(out, BOTH, {"data": {"split": "section", "test": ["toy4"], "val": "group"}})))
    build_reference(run).save(out / "reference")
    return out


def test_a_run_for_both_tasks_has_both_predictors_and_both_stand_in_the_table(both: Path) -> None:
    run, reference = Run.load(both), bleep.Reference.load(both / "reference")
    predictors = predictors_of(run, reference)
    assert set(predictors) == {"retrieval", "regression", "mean of both"}
    tiles = Tiles(bleep.load_split(run.config).test, run.spec)
    one, other = (predictors[name].predict(tiles).expression for name in ("retrieval", "regression"))
    assert np.abs(one - other).max() > 0.01
    assert {"retrieval", "regression", "ridge"} <= set(bleep.evaluate([both]).rows.index)
    with pytest.raises(DataError, match="bleep index build"):
        predictors_of(run, None)


def test_sent_without_its_index_it_predicts_by_regression_until_one_is_built(
    both: Path, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(both, tmp_path / "run.zip", reference=False)
    unpack(tmp_path / "run.zip", tmp_path / "sent")
    images, out = str(files / "st2k" / "toy4"), str(tmp_path / "x.h5ad")
    words = ["query", "--run", str(tmp_path / "sent"), "--images", images, "--out", out]
    assert app.main(words) == 0
    run = Run.load(both)
    expected = bleep.RegressionPredictor(run).predict(run.tiles(bleep.load_split(run.config).test))
    np.testing.assert_array_equal(anndata.read_h5ad(out).X, expected.expression)
    assert app.main([*words, "--k", "5"]) == 2
    assert "it has regression, as it was sent without its index" in capsys.readouterr().err
    assert app.main([*words, "--where", "patient == 'donor1'"]) == 2
    assert "has no index" in capsys.readouterr().err
    shutil.copytree(both / "reference", tmp_path / "sent" / "reference")
    assert Experiment(tmp_path / "sent").predictor.name == "mean of both"


def test_a_run_for_both_tasks_answers_by_the_mean_and_each_can_be_asked(both: Path) -> None:
    run = Run.load(both)
    tiles = Tiles(bleep.load_split(run.config).test, run.spec)
    experiment = Experiment.of(run, both)
    prediction = experiment.predict(tiles)
    assert prediction.predictor == experiment.predictor.name == "mean of both"
    assert prediction.neighbors is not None
    assert experiment.select("retrieval").predict(tiles).predictor.startswith("retrieval")
    direct = bleep.RegressionPredictor(run).predict(tiles)
    assert direct.predictor == "regression"
    assert np.isfinite(direct.expression).all()


def test_validation_of_a_run_for_both_tasks_is_the_mean_of_the_two(both: Path) -> None:
    lines = [json.loads(line) for line in (both / "log.jsonl").read_text().splitlines()]
    for line in lines:
        assert line["val_score"] == pytest.approx((line["val_retrieval"] + line["val_regression"]) / 2)
    assert lines


def test_a_run_for_both_tasks_is_not_averaged_with_runs_of_one(recipe: Any, trained: dict[str, Path], tmp_path: Path) -> None:
    run = fit(Config.load(recipe(tmp_path / "run", BOTH, {"optim": {"epochs": 1}})))
    build_reference(run).save(tmp_path / "run" / "reference")
    with pytest.raises(MismatchError, match="but the first contrastive run has"):
        bleep.evaluate([trained["contrastive"], tmp_path / "run"])
    with pytest.raises(MismatchError, match="but the first both run has"):
        bleep.evaluate([tmp_path / "run", trained["regression"]])


def test_a_contrastive_run_has_no_regression_head_to_ask(trained: dict[str, Path]) -> None:
    run = Run.load(trained["contrastive"])
    with pytest.raises(MismatchError, match="no regression head"):
        bleep.RegressionPredictor(run).predict(Tiles(bleep.load_split(run.config).test, run.spec))


@pytest.mark.parametrize(
    "loss",
    [
        {"form": "siglip", "targets": "hard", "temperature": 0.1},
        {"near": 40.0, "alike": 0.8},
    ],
)
def test_other_losses_go_the_whole_way(loss: dict[str, Any], recipe: Any, tmp_path: Path) -> None:
    fresh = fit(Config.load(recipe(tmp_path / "run", {"loss": loss})))
    loaded = Run.load(tmp_path / "run")
    assert loaded.weights_digest() == fresh.weights_digest()
    assert isinstance(loaded.model, DualEncoder)
    assert (loaded.model.bias is not None) == ("form" in loss)
    build_reference(loaded).save(tmp_path / "run" / "reference")
    assert np.isfinite(bleep.evaluate([tmp_path / "run"]).rows["pcc"]).all()


def test_losses_that_cannot_be_are_refused_before_anything_is_written(recipe: Any, files: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(ConfigError, match=r"set loss\.targets to hard"):
        fit(Config.load(recipe(out, {"loss": {"form": "siglip"}})))
    data = {"source": "folder", "root": str(files / "folder" / "train.csv"), "split": "section", "test": ["toy2"]}
    with pytest.raises(DataError, match="ready-cut tiles have no known places"):
        fit(Config.load(recipe(out, {"data": data, "loss": {"near": 150.0}})))
    assert not out.exists()
