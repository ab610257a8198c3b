"""Shapes are checked in every test: the package is imported under jaxtyping's hook with beartype.

Tiny toy tissue, in memory and as files of every form, and one trained run of each task are made once a session.
"""

import gc
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("HF_HUB_OFFLINE", "1")
_hook = install_import_hook("bleep", "beartype.beartype")

SHARED = Path(__file__).parents[2] / "shared"
REPOSITORY = Path(__file__).parents[1]

Recipe = Callable[..., dict[str, Any]]


FIRST = ("test_quality.py", "test_stores.py", "test_wheel.py", "test_real_demo.py", "test_launch.py")
"""Files of few tests that each take a minute or more: begun last, one process would wait for the other."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files begin first."""
    items.sort(key=lambda item: item.path.name not in FIRST)


def pytest_collection_finish() -> None:
    """Look for garbage as seldom as the commands do, and not among what the libraries made: a tenth of the time went there."""
    gc.set_threshold(50_000, 10, 10)
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real tissue and weights; tests that need them carry the marker `data`."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the real tissue in ../shared/data")
    return SHARED


@pytest.fixture(autouse=True)
def fresh_logging() -> Iterator[None]:
    """The command line adds a handler once a process, bound to the standard error of that moment: drop it again."""
    logger = logging.getLogger("bleep")
    yield
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@contextmanager
def _warm(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(Path(__file__).with_name("warm_python.py")), folder]
        environment = {**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield Path(folder)
            server.communicate()


@pytest.fixture(scope="session")
def warmed() -> Callable[[Path], AbstractContextManager[Path]]:
    """Start `warm_python.py` for the package that lies in a folder, and give the folder of its programs."""
    return _warm


@pytest.fixture(scope="session")
def warm() -> Iterator[Path]:
    """The folder of `python`, `bleep` and `accelerate` that have this repository's package and its libraries imported."""
    with _warm(REPOSITORY) as programs:
        yield programs


@pytest.fixture
def known() -> Iterator[Callable[[Any, str, object], None]]:
    """Register a part for the length of one test."""
    from bleep import registry

    before = dict(registry._registered)
    yield lambda kind, name, part: registry.register(kind, name)(part)
    registry._registered.clear()
    registry._registered.update(before)


@pytest.fixture(scope="session")
def toys() -> tuple[Any, ...]:
    """Four sections of two donors, about fifty spots each."""
    from bleep.data.toy import toy_section

    return tuple(toy_section(f"toy{i + 1}", f"donor{i // 2 + 1}", 40 + i, side=256, pitch=32) for i in range(4))


@pytest.fixture(scope="session")
def files(toys: tuple[Any, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same tissue in the forms folder/, st2k/ and her2st/; read it, do not change it."""
    import numpy as np
    import pandas as pd

    from bleep.data.toy import write_folder, write_st2k

    root = tmp_path_factory.mktemp("tissue")
    write_folder(toys, root / "folder")
    write_st2k(toys, root / "st2k")
    for section in toys:
        here, there = root / "her2st" / section.name, root / "st2k" / section.name
        here.mkdir(parents=True)
        shutil.copy(there / f"{section.name}.tsv.gz", here)
        shutil.copy(there / f"{section.name}.jpg", here / "stained.jpg")
        table = pd.read_csv(there / f"alignment_table_{section.name}.tsv", sep="\t")
        table["selected"] = np.where(table["selected"] == 1, 1, 0)
        table.to_csv(here / f"{section.name}_selection.tsv", sep="\t", index=False)
    return root


@pytest.fixture
def copies(files: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copy one form of the tissue to where a test may damage it."""

    def copy(form: str) -> Path:
        shutil.copytree(files / form, tmp_path / form)
        return tmp_path / form

    return copy


@pytest.fixture(scope="session")
def recipe(files: Path) -> Recipe:
    """Return settings of a training of about a second; the later of nested mappings wins."""

    def settings(out: Path, *over: Mapping[str, Any]) -> dict[str, Any]:
        tree: dict[str, Any] = {
            "data": {"source": "st2k", "root": str(files / "st2k"), "mpp": 1.0, "split": "patient", "test": ["donor2"]},
            "tiles": {"pixels": 32, "microns": [64.0]},
            "panel": {"size": 12},
            "image": {"trunk": "test_resnet", "weights": "random", "precision": "float32"},
            "head": {"dim": 16},
            "optim": {"epochs": 3, "batch": 32},
            "query": {"k": 10},
            "out": str(out),
            "cache": str(out.parent / "cache"),
        }
        for change in over:
            for key, value in change.items():
                tree[key] = {**tree.get(key, {}), **value} if isinstance(value, Mapping) else value
        return tree

    return settings


@pytest.fixture(scope="session")
def trained(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A contrastive run with its index and a regression run; read them, or copy them by `run_copy`."""
    from bleep.config import Config
    from bleep.workflows.fit import fit
    from bleep.workflows.query import build_reference

    root = tmp_path_factory.mktemp("runs")
    folders = {}
    for task in ("contrastive", "regression"):
        run = fit(Config.load(recipe(root / task, {"loss": {"task": task}})))
        folders[task] = root / task
        if task == "contrastive":
            build_reference(run).save(root / task / "reference")
    return folders


@pytest.fixture
def run_copy(trained: dict[str, Path], tmp_path: Path) -> Callable[..., Path]:
    """Copy a trained run to where a test may damage it, without the scores that another test may have left there."""

    def copy(task: str = "contrastive", name: str | None = None) -> Path:
        out = tmp_path / (name or task)
        shutil.copytree(trained[task], out, ignore=shutil.ignore_patterns("evaluation.*"))
        return out

    return copy
