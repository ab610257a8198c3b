"""The wheel is whole: what it installs works from an empty folder, without the repository."""

import os
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out], cwd=ROOT, check=True, capture_output=True
    )
    (found,) = out.glob("*.whl")
    return found


def test_the_wheel_holds_every_recipe_and_table_of_the_checkout(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"bleep/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")} <= names
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "bleep").rglob("*.tsv")} | {"bleep/py.typed"} <= names


@pytest.mark.slow
def test_the_demo_of_an_installed_wheel_and_each_line_it_prints_run_in_an_empty_folder(
    wheel: Path, warmed: Callable[[Path], AbstractContextManager[Path]], tmp_path: Path
) -> None:
    site, here = tmp_path / "site", tmp_path / "here"
    here.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}
    environment.pop("BLEEP_RUN", None)

    where = [sys.executable, "-c", "import bleep; print(bleep.__file__, bleep.__version__)"]
    said = subprocess.run(where, cwd=here, env=environment, capture_output=True, text=True, check=True).stdout
    assert said.split() == [str(site / "bleep/__init__.py"), wheel.name.split("-")[1]]
    with warmed(site) as programs:

        def do(words: list[str]) -> str:
            command = [programs / "bleep", *words]
            done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-2000:]
            return done.stdout

        assert f"files: {site}/bleep/configs" in do(["config", "list"])
        printed = do(["demo", "--epochs", "1"])
        lines = [shlex.split(line.removeprefix("next: ")) for line in printed.splitlines() if line.startswith("next: ")]
        assert [line[:2] for line in lines] == [["bleep", "train"], ["bleep", "index"], ["bleep", "query"]]
        for line in lines:
            do(line[1:])
    assert (here / "predictions.h5ad").is_file()
