"""Runs joined to an ensemble, as a folder that predicts."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest

import bleep
from bleep.cli import app
from bleep.config import Config
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.predictors import Ensemble
from bleep.runs import Run
from bleep.workflows import query as indexing
from bleep.workflows.ensemble import members_of, save_ensemble
from bleep.workflows.experiment import Experiment, open_ensemble
from bleep.workflows.fit import fit


@pytest.fixture
def pair(run_copy: Callable[..., Path]) -> tuple[Path, Path]:
    return run_copy("contrastive"), run_copy("regression")


def test_it_predicts_the_mean_of_its_runs_and_moves_with_them(pair: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "joined"
    assert save_ensemble(pair, out) == [0.5, 0.5]
    run = Run.load(pair[0])
    tiles = run.tiles(bleep.load_split(run.config).test)
    alone = [Experiment(folder).predict(tiles).expression for folder in pair]
    np.testing.assert_allclose(open_ensemble(out).predict(tiles).expression, np.mean(alone, axis=0), rtol=1e-5, atol=1e-5)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for folder in (*pair, out):
        shutil.move(folder, moved / folder.name)
    assert [member.folder.name for member in members_of(moved / "joined")] == ["contrastive", "regression"]


def test_a_run_is_not_opened_as_an_ensemble(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a run and no ensemble; `bleep\.load` opens either"):
        open_ensemble(pair[0])
    with pytest.raises(DataError, match="no such folder"):
        open_ensemble(tmp_path / "nothing")


def test_a_bag_joins_runs_of_other_tissue_with_the_same_genes_alone(pair: tuple[Path, Path], tmp_path: Path) -> None:
    facts = json.loads((pair[1] / "run.json").read_text())
    facts["train"] = facts["train"][:1]
    (pair[1] / "run.json").write_text(json.dumps(facts))
    with pytest.raises(MismatchError, match="has other training tissue"):
        save_ensemble(pair, tmp_path / "joined")
    assert save_ensemble(pair, tmp_path / "bag", bagged=True) == [0.5, 0.5]
    panel = json.loads((pair[1] / "panel.json").read_text())
    panel["genes"][:2] = panel["genes"][1::-1]
    (pair[1] / "panel.json").write_text(json.dumps(panel))
    with pytest.raises(MismatchError, match=r"panel\.choice all, or list"):
        save_ensemble(pair, tmp_path / "other", bagged=True)


def test_one_run_twice_is_no_ensemble_and_an_ensemble_is_no_run(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is named twice"):
        save_ensemble([pair[0], pair[0].parent / "." / pair[0].name], tmp_path / "joined")
    shutil.copytree(pair[0], tmp_path / "copy")
    with pytest.raises(ConfigError, match=r"copy: has the weights of .*, of which it is a copy; name each run once"):
        save_ensemble([*pair, tmp_path / "copy"], tmp_path / "joined")
    save_ensemble(pair, tmp_path / "joined")
    with pytest.raises(DataError, match="it is an ensemble: name one of its runs"):
        Run.load(tmp_path / "joined")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no run was ever begun there"):
        Run.load(tmp_path / "empty")


def test_another_index_of_a_member_makes_another_ensemble(pair: tuple[Path, Path], tmp_path: Path) -> None:
    save_ensemble(pair, tmp_path / "joined")
    before = open_ensemble(tmp_path / "joined").digest
    assert open_ensemble(tmp_path / "joined").digest == before
    indexing.remove_spots(pair[0], section="toy1")
    assert open_ensemble(tmp_path / "joined").digest != before


def test_two_ensembles_are_not_put_on_one_line(pair: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("one", "other"):
        save_ensemble(pair, tmp_path / name)
    with pytest.raises(MismatchError, match="another ensemble has scored the same test section"):
        bleep.evaluate([tmp_path / "one", tmp_path / "other"])


def test_runs_are_weighed_by_their_validation_scores(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no validation score"):
        save_ensemble(pair, tmp_path / "joined", "validation")
    for folder, score in zip(pair, (0.3, 0.1), strict=True):
        (folder / "log.jsonl").write_text(json.dumps({"epoch": 0, "val_score": score}) + "\n")
    assert save_ensemble(pair, tmp_path / "joined", "validation") == pytest.approx([0.75, 0.25])
    run = Run.load(pair[0])
    tiles = run.tiles(bleep.load_split(run.config).test)
    one, other = (Experiment(folder).predict(tiles).expression for folder in pair)
    joined = open_ensemble(tmp_path / "joined").predict(tiles).expression
    np.testing.assert_allclose(joined, 0.75 * one + 0.25 * other, rtol=1e-4, atol=1e-5)


def test_runs_of_other_tiles_are_joined(pair: tuple[Path, Path], recipe: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    fit(Config.load(recipe(other, {"loss": {"task": "regression"}, "tiles": {"microns": [48.0]}, "optim": {"epochs": 1}})))
    save_ensemble((pair[1], other), tmp_path / "joined")
    run = Run.load(pair[1])
    tiles = run.tiles(bleep.load_split(run.config).test)
    assert np.isfinite(open_ensemble(tmp_path / "joined").predict(tiles).expression).all()
    # Its table says how every run of it sees the tissue, in either order.
    save_ensemble((other, pair[1]), tmp_path / "turned")
    for folder in ("joined", "turned"):
        assert bleep.evaluate([tmp_path / folder]).facts["tiles"] == "48 um in 32 px; 64 um in 32 px"
    with pytest.raises(ConfigError, match=f"{pair[1].name} has no such predictor; it has regression"):
        Experiment(tmp_path / "joined").select("retrieval")


def test_a_changed_run_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    save_ensemble(pair, tmp_path / "joined")
    shutil.copytree(pair[1], pair[0], dirs_exist_ok=True)
    with pytest.raises(MismatchError, match="is not the run that"):
        open_ensemble(tmp_path / "joined")


def test_runs_that_do_not_belong_together_are_refused(pair: tuple[Path, Path], recipe: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    fit(Config.load(recipe(other, {"data": {"test": ["donor1"]}, "loss": {"task": "regression"}, "optim": {"epochs": 1}})))
    with pytest.raises(MismatchError, match=r"has other (genes|training tissue)"):
        save_ensemble((pair[1], other), tmp_path / "joined")
    with pytest.raises(ConfigError, match="two or more"):
        save_ensemble(pair[:1], tmp_path / "joined")
    with pytest.raises(DataError, match="choose another --out"):
        save_ensemble(pair, pair[0])
    assert not (tmp_path / "joined").exists()


@pytest.mark.parametrize("text", ["{", "{}", '{"members": []}', '{"members": [{"run": "x"}]}'])
def test_a_damaged_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "ensemble.json").write_text(text)
    with pytest.raises(DataError, match="ensemble"):
        members_of(tmp_path)


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [-1.0, 2.0], [float("nan"), 1.0]])
def test_weights_that_make_no_mean_are_refused(weights: list[float], pair: tuple[Path, Path]) -> None:
    runs = [Run.load(folder) for folder in pair]
    with pytest.raises(MismatchError, match="weights"):
        Ensemble(runs, [bleep.MeanPredictor(run) for run in runs], weights)


def test_the_command_joins_and_the_folder_is_queried_and_evaluated(
    pair: tuple[Path, Path], files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, table = tmp_path / "joined", tmp_path / "table"
    assert app.main(["ensemble", *map(str, pair), "--out", str(out)]) == 0
    assert "0.500" in capsys.readouterr().out
    words = ["query", "--run", str(out), "--images", str(files / "st2k" / "toy3"), "--out", str(tmp_path / "x.h5ad")]
    assert app.main(words) == 0
    assert anndata.read_h5ad(tmp_path / "x.h5ad").uns["bleep"]["predictor"] == "ensemble of 2 runs"
    assert app.main([*words, "--abstain"]) == 2
    assert app.main(["evaluate", "--run", str(pair[0]), str(out), "--out", str(table)]) == 0
    assert {"ensemble", "retrieval"} <= set(json.loads((table / "evaluation.json").read_text())["predictors"])
    assert app.main(["ensemble", str(pair[0]), str(out), "--out", str(tmp_path / "nested")]) == 2
    assert "is an ensemble" in capsys.readouterr().err
