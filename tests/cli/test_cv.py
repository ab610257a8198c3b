"""`bleep cv`: every fold once, one table."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from bleep.cli import app
from bleep.data.toy import toy_section, write_st2k
from bleep.runs import Run

BLOCKS = {"data": {"sections": ["toy1"], "split": "block", "test": [], "folds": 2, "blocks": 2, "margin": 0.0}}
QUICK = {"optim": {"epochs": 1}, "panel": {"size": 5}}


def test_one_section_is_scored_by_blocks_in_one_table_and_finished_folds_are_used_again(
    recipe: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cv"
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(recipe(out, BLOCKS, QUICK)))
    assert app.main(["cv", "--config", "own.yaml"]) == 0
    said = capsys.readouterr().out
    assert f"next: bleep evaluate --run {out}/fold0 {out}/fold1 --report page.html" in said
    record = json.loads((out / "evaluation.json").read_text())
    assert record["predictors"]["retrieval"]["pcc"] is not None
    assert "neighbouring tissue" in said
    # Both blocks are of one section.
    assert set(pd.read_csv(out / "genes.csv", comment="#")["sections"]) <= {0, 1}
    held = [len(Run.load(out / f"fold{fold}").facts.train) for fold in (0, 1)]
    assert held == [1, 1]
    before = {path: path.stat().st_mtime_ns for path in out.glob("fold*/model.safetensors")}
    assert app.main(["cv", "--config", "own.yaml"]) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("fold*/model.safetensors")} == before
    # An index whose writer was killed is written again.
    (out / "fold1" / "reference" / "manifest.json").unlink()
    assert app.main(["cv", "--config", "own.yaml"]) == 0
    assert json.loads((out / "evaluation.json").read_text()) == record


def test_folds_that_learn_labels_are_not_calibrated(fails: Any, recipe: Any, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(recipe(tmp_path / "cv", BLOCKS, QUICK, {"loss": {"task": "classify"}})))
    fails(["cv", "--calibrate", "--config", "own.yaml"], "--calibrate: joins predictions of expression", "leave it out")
    assert not (tmp_path / "cv").exists()


def test_folds_of_the_same_genes_become_one_predictor_of_new_tissue(
    fails: Any, recipe: Any, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, regression = tmp_path / "cv", {"loss": {"task": "regression"}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(recipe(out, BLOCKS, QUICK, regression)))
    fails(["cv", "--bag", "--config", "own.yaml"], "panel.choice is variance", "set it to all")
    assert not out.exists()
    (out / "bag").mkdir(parents=True)
    (out / "bag" / "mine.txt").write_text("of the user's")
    fails(["cv", "--bag", "--config", "own.yaml", "--panel.choice", "all"], "bag: already holds something else")
    shutil.rmtree(out)
    assert app.main(["cv", "--bag", "--config", "own.yaml", "--panel.choice", "all"]) == 0
    assert f"next: bleep query --images FOLDER --run {out}/bag" in capsys.readouterr().out
    words = ["--images", str(files / "folder" / "test.csv"), "--mpp", "1", "--out", "p.csv"]
    assert app.main(["query", "--run", str(out / "bag"), *words]) == 0
    fails(["evaluate", "--run", str(out / "bag")], "is tissue the run was trained on")


def test_folds_whose_windows_overlap_unlike_are_refused_before_the_first(fails: Any, recipe: Any, tmp_path: Path) -> None:
    toys = [toy_section(f"s{pitch}", f"donor{pitch}", pitch, side=256, pitch=pitch) for pitch in (16, 32)]
    write_st2k(toys, tmp_path / "tissue")
    folds = {"data": {"root": str(tmp_path / "tissue"), "split": "patient", "test": [], "folds": 2}}
    image = {"image": {"trunk": "test_vit", "layer": 0, "sharing": "auto"}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(recipe(tmp_path / "cv", folds, image)))
    fails(["cv", "--config", "own.yaml"], "would be none in some folds and tokens in others", "set it to one of them")
    assert not (tmp_path / "cv").exists()


def test_one_fold_cannot_be_asked_for(fails: Any, recipe: Any, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(recipe(tmp_path / "cv", BLOCKS, {"data": {"fold": 1}})))
    fails(["cv", "--config", "own.yaml", "--data.fold", "0"], "--data.fold 0: bleep cv trains every fold", "bleep train")
    assert not (tmp_path / "cv").exists()


def test_a_recipe_without_folds_is_refused_before_anything_is_written(fails: Any, recipe: Any, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(recipe(tmp_path / "cv")))
    fails(["cv", "--config", "own.yaml"], "data.test names what is held out", "no folds")
    fails(["cv", "--config", "own.yaml", "--data.test", "--data.split", "none"], "data.split is none")
    one = ["--data.test", "--data.sections", "toy1", "--data.split", "section"]
    fails(["cv", "--config", "own.yaml", *one], "there is only one section (toy1)", "set data.split to block")
