"""Whatever has seen the test tissue is refused by every score, and said of what is predicted."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bleep
from bleep.config import Config
from bleep.errors import ConfigError, MismatchError
from bleep.workflows.contest import score_runs
from bleep.workflows.ensemble import save_ensemble
from bleep.workflows.fit import fit
from bleep.workflows.place import differences
from bleep.workflows.query import add_sections, read_measured

Recipe = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def bag(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds in an ensemble: each was trained on what the other held out."""
    root = tmp_path_factory.mktemp("bag")
    folds = []
    for fold in (0, 1):
        more = {
            "data": {"split": "section", "test": (), "folds": 4, "fold": fold},
            "panel": {"choice": "all"},
            "loss": {"task": "regression"},
        }
        fit(Config.load(recipe(root / f"fold{fold}", more)))
        folds.append(root / f"fold{fold}")
    save_ensemble(folds, root / "bag", bagged=True)
    return root / "bag"


def test_an_ensemble_of_folds_is_scored_by_no_protocol(bag: Path) -> None:
    for score in (lambda: bleep.evaluate([bag]), lambda: score_runs([bag], 10)):
        with pytest.raises(MismatchError, match=r"fold1: test section \w+ is tissue the run was trained on"):
            score()


def test_tissue_that_any_run_of_an_ensemble_was_trained_on_is_warned_of(bag: Path, caplog: pytest.LogCaptureFixture) -> None:
    experiment = bleep.load(bag, device="cpu")
    held_by_first = experiment.split.test[0]
    with caplog.at_level(logging.WARNING):
        experiment.predict(experiment.tiles((held_by_first,)))
    assert f"section {held_by_first.name} was trained on" in caplog.text


def test_an_index_with_test_tissue_is_scored_by_no_protocol(trained: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(trained["contrastive"], tmp_path / "run")
    run = bleep.load(tmp_path / "run", device="cpu").run
    test = [section.name for section in bleep.load(tmp_path / "run").split.test]
    assert score_runs([tmp_path / "run"], 10).scores
    add_sections(run, tmp_path / "run", read_measured(run, run.config.data.root, test[:1]), allow_held_out=True)
    for score in (lambda: bleep.evaluate([tmp_path / "run"]), lambda: score_runs([tmp_path / "run"], 10)):
        with pytest.raises(MismatchError, match="remove it with"):
            score()


def test_a_setting_that_is_left_out_differs_from_one_that_was_there() -> None:
    old, new = {"loss": {"more": {"mine": 5}}}, {"loss": {"more": {}}}
    assert differences(old, new) == [("loss.more.mine", 5, None)]
    assert differences(new, old) == [("loss.more.mine", None, 5)]
    assert differences(old, old) == []


def test_a_validation_section_of_one_spot_is_left_out_of_the_score(recipe: Recipe, tmp_path: Path) -> None:
    from bleep.workflows.scoring import can_validate
    from bleep.workflows.tissue import load_split

    run = fit(Config.load(recipe(tmp_path / "run", {"data": {"val": "random"}, "loss": {"task": "regression"}})))
    divided = load_split(run.config)
    alone = [section.subset(np.array([0])) for section in divided.val]
    assert can_validate(run, divided)
    assert can_validate(run, replace(divided, val=(divided.val[0], *alone[1:])))
    assert not can_validate(run, replace(divided, val=tuple(alone)))


def test_validation_tissue_without_a_score_is_refused_before_training(recipe: Recipe, tmp_path: Path) -> None:
    few = {"data": {"val": "random", "val_share": 0.001}, "loss": {"task": "regression"}}
    with pytest.raises(ConfigError, match=r"data.val random: the validation tissue \(.*\) lacks a section in which"):
        fit(Config.load(recipe(tmp_path / "run", few)))
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


def test_two_folds_leave_none_to_validate_on(recipe: Recipe, tmp_path: Path) -> None:
    two = {"data": {"split": "block", "test": (), "folds": 2, "val": "block"}}
    with pytest.raises(ConfigError, match=r"set data\.folds to 3 or more, or data.val to none"):
        fit(Config.load(recipe(tmp_path / "run", two)))


def test_members_that_a_run_has_not_are_refused_before_it_is_rehearsed(recipe: Recipe, tmp_path: Path) -> None:
    fit(Config.load(recipe(tmp_path / "run", {"loss": {"task": "regression"}, "query": {"members": ["retrieval"]}})))
    with pytest.raises(ConfigError, match=r"query.members names retrieval, which .* has not"):
        bleep.calibrate(tmp_path / "run")
    assert not (tmp_path / "run" / "calibration").exists()
