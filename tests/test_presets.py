"""Recipes to lay over others."""

from pathlib import Path
from typing import Any

import pytest

import bleep
from bleep.config import Config
from bleep.predictors.calibration import predictors_of
from bleep.runs import Run
from bleep.workflows.fit import fit
from bleep.workflows.query import build_reference

PROTOCOLS = ("als-mouse", "her2st-b", "her2st-b-to-c", "her2st-c", "mob-mouse", "muscle-blocks", "visium-liver")
DATA_AND_GENES = ("data", "index", "out", "cache", "seed")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_published_preset_gives_bleeps_model_and_leaves_data_and_genes_to_the_recipe(name: str, repository: Path) -> None:
    recipe = repository / f"configs/{name}.yaml"
    plain, found = Config.load(recipe), Config.load(recipe, repository / "configs/presets/bleep-2023.yaml")
    for part in DATA_AND_GENES:
        assert getattr(found, part) == getattr(plain, part)
    assert found.panel == plain.panel.model_copy(update={"scale": "none"})
    assert found.tiles.microns == plain.tiles.microns
    assert (found.image.trunk, found.image.layer, found.image.train) == ("resnet50", None, "full")
    assert (found.head.dim, found.head.norm, found.expression.hidden) == (256, "layer", ())
    assert (found.loss.targets, found.loss.temperature, found.loss.learn_temperature) == ("projected", 1.0, False)
    assert (found.optim.lr, found.optim.trunk_lr, found.optim.batch, found.optim.epochs) == (1e-3, 1e-3, 512, 150)
    assert (found.query.k, found.query.weights) == (50, "uniform")


@pytest.mark.slow
def test_the_published_preset_trains_and_predicts(recipe: Any, repository: Path, tmp_path: Path) -> None:
    small = {"image": {"trunk": "test_resnet", "weights": "random"}, "optim": {"epochs": 2, "batch": 32, "chunk": 16}}
    preset = repository / "configs/presets/bleep-2023.yaml"
    run = fit(Config.load(recipe(tmp_path / "run"), preset, {**small, "tiles": {"pixels": 32}}))
    build_reference(run).save(tmp_path / "run" / "reference")
    assert "retrieval" in bleep.evaluate([tmp_path / "run"]).rows.index


def test_the_recipe_for_both_tasks_gives_both(recipe: Any, repository: Path, tmp_path: Path) -> None:
    config = Config.load(recipe(tmp_path / "run"), repository / "configs/tasks/both.yaml", {"optim": {"epochs": 1}})
    run = fit(config)
    predictors = predictors_of(Run.load(tmp_path / "run"), build_reference(run))
    assert set(predictors) == {"retrieval", "regression", "mean of both"}
