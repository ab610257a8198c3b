"""Recipes by name, and `bleep train`."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import bleep
from bleep.cli import app
from bleep.config import Config, recipe_names, recipes_folder


def test_a_name_a_file_name_and_a_path_of_the_repository_find_the_same_recipe(repository: Path) -> None:
    expected = Config.load(repository / "configs/her2st-c.yaml")
    for name in ("her2st-c", "her2st-c.yaml", "configs/her2st-c.yaml", "./configs/her2st-c.yaml"):
        assert Config.load(name) == expected
    assert Config.load("her2st-c", "presets/bleep-2023").image.trunk == "resnet50"


def test_a_file_of_the_users_wins_over_a_recipe_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "toy").write_text("seed: 7\n")
    assert Config.load("toy").seed == 7


def test_a_folder_of_a_recipes_name_does_not_hide_it(tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    assert Config.load("toy").data.source == "toy"


def test_every_recipe_is_listed_with_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["config", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = {line.split(": ")[0]: line.partition(": ")[2] for line in lines}
    for name in recipe_names():
        assert len(listed[name]) > 20
    assert "toy" in recipe_names()
    assert not any(name.startswith("accelerate") for name in recipe_names())


def test_an_unknown_name_is_answered_by_the_nearest(fails: Any) -> None:
    fails(["config", "show", "--config", "her2st-d"], "her2st-d: no such configuration file", "did you mean her2st-c?")
    fails(["config", "show", "--config", "../configs/toy"], "no recipe of that name")
    fails(["tune", "--config", "toy", "--space", "search/head"], "did you mean search/heads?")


def test_train_is_a_command_with_a_usage_of_its_own_options(
    recipe: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(recipe(tmp_path / "run", {"optim": {"epochs": 1}})))
    assert app.main(["train", "--config", "own.yaml"]) == 0
    assert f"next: bleep index build --run {tmp_path}/run" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        app.main(["train", "--help"])
    usage = capsys.readouterr().out.split("\n\n")[0]
    assert usage == "usage: bleep train [-h] [--resume] [--overwrite] [--config YAML [YAML ...]] [--section.field X ...]"


def test_the_version_is_that_of_the_installed_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == bleep.__version__
    assert recipes_folder().is_dir()


def test_a_flag_that_takes_several_words_may_stand_more_than_once(capsys: pytest.CaptureFixture[str]) -> None:
    once = ["config", "show", "--config", "her2st-c", "presets/bleep-2023", "--data.sections", "C2", "C3"]
    apart = ["config", "show", "--config", "her2st-c", "--config", "presets/bleep-2023", "--data.sections", "C2"]
    assert app.main(once) == 0
    shown = capsys.readouterr().out
    assert app.main([*apart, "--data.sections", "C3"]) == 0
    assert capsys.readouterr().out == shown
    assert "resnet50" in shown
