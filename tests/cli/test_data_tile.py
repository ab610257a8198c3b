"""`bleep data tile` keeps tiles once, and training reads them to the same weights."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from bleep.cli import app
from bleep.config import Config
from bleep.data import tiles
from bleep.data import tiles as cutting
from bleep.data import tiles as store
from bleep.workflows.fit import fit


def test_tiles_are_kept_once_and_train_to_the_same_weights(
    recipe: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = recipe(tmp_path / "run", {"image": {"train": "full"}, "optim": {"epochs": 1}})
    straight = fit(Config.load(tree, {"out": str(tmp_path / "straight"), "cache": str(tmp_path / "empty")}))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree))
    for expected in (False, True):
        assert app.main(["data", "tile", "--config", str(tmp_path / "recipe.yaml")]) == 0
        said = capsys.readouterr().out
        assert said.count("already there") == 4 * expected
        assert said.count(" MB") == 4

    def never(*_: object) -> None:
        raise AssertionError("a stored tile was cut again")

    for module in (cutting, store, tiles):
        monkeypatch.setattr(module, "cut", never)
    kept = fit(Config.load(tree))
    assert kept.weights_digest() == straight.weights_digest()


def test_a_full_disk_is_said_before_anything_is_cut(
    recipe: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe(tmp_path / "run")))
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    assert app.main(["data", "tile", "--config", str(tmp_path / "recipe.yaml")]) == 2
    assert "0.0 GB are free there; set cache to a larger disk" in capsys.readouterr().err
    assert not any((tmp_path / "cache").iterdir())
