"""What tests of the command line share: a folder of their own, a command that trains, and the check of a failure."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bleep.cli import app
from bleep.cli import training as train_command

Fails = Callable[..., str]
State = dict[str, tuple[int, int]]


def _state(folder: Path) -> State:
    paths = [path for path in folder.rglob("*") if "cache" not in path.relative_to(folder).parts]
    # Some versions of filelock touch the file that they lock.
    here = {path: path.stat() for path in paths if path.is_file() and path.name != ".lock"}
    return {str(path): (here[path].st_size, here[path].st_mtime_ns) if path in here else (0, 0) for path in paths}


@pytest.fixture
def state() -> Callable[[Path], State]:
    """Return size and time of every file of a folder, the cache of features left out."""
    return _state


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command runs in a folder of its own, and knows of no run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BLEEP_RUN", raising=False)


@pytest.fixture
def fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Fails:
    """Run a command; check exit code, one sentence that says these words, and that no file has changed."""

    def check(command: list[Any], *words: str) -> str:
        before = _state(tmp_path)
        capsys.readouterr()
        argv = [str(word) for word in command]
        code = train_command.command(argv[1:]) if argv[0] == "train" else app.main(argv)
        err = capsys.readouterr().err
        lines = [line for line in re.split(r"[\r\n]+", err) if line.strip()]
        assert code == 2, err
        assert "Traceback" not in err
        assert lines[-1].startswith("bleep: "), err
        assert err.count("bleep: ") == 1
        assert len(lines[-1]) < 700
        for word in words:
            assert word in lines[-1], lines[-1]
        assert _state(tmp_path) == before
        return lines[-1]

    return check


@pytest.fixture
def train(recipe: Any, tmp_path: Path) -> Callable[..., list[Any]]:
    """Write a recipe and return the command that trains it."""

    def command(*over: dict[str, Any]) -> list[Any]:
        tree = recipe(tmp_path / "out", *over)
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree))
        return ["train", "--config", tmp_path / "recipe.yaml"]

    return command
