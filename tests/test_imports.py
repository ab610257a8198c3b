"""What imports bring with them, and what module names may not hide."""

import importlib
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from bleep.cli import query, reading_flags
from bleep.config import ABSTAIN, WeightsName
from bleep.workflows.asked import READING

HEAVY = ("torch", "anndata", "pandas", "numpy", "scipy", "timm", "faiss", "PIL")
PROBE = """
import atexit, sys
def tell():
    from importlib.util import find_spec
    print("hidden:", [name for name in ("records", "workflows", "predictors") if find_spec(name)], file=sys.stderr)
atexit.register(tell)
"""


@pytest.mark.parametrize("module", ["bleep", "bleep.errors", "bleep.config", "bleep.cli.app", "bleep.cli.training"])
def test_the_light_modules_take_nothing_heavy_with_them(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_takes_nothing_heavy_with_it() -> None:
    code = f"import sys, bleep.cli.app as app; app.main(['--version']); print([n for n in {HEAVY} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "words", [["query", "--help"], ["index", "info", "--help"], ["export", "--help"], ["evaluate", "--help"]]
)
def test_help_of_a_command_without_settings_takes_neither_libraries_nor_settings_with_it(words: list[str]) -> None:
    """What every command waits for before its first word: 2 s on two busy cores are gone where pydantic or numpy come along."""
    code = f"""
import sys
sys.argv = ["bleep", *{words}]
import bleep.cli.app as app
try:
    app.main({words})
except SystemExit:
    print([name for name in {(*HEAVY, "pydantic")} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_what_a_query_needs_takes_nothing_with_it_that_only_training_needs() -> None:
    code = """
import sys
import bleep.cli.query, bleep.workflows.opened, bleep.workflows.query, bleep.workflows.stream, bleep.workflows.launch
assert "torch" in sys.modules and bleep.workflows.launch.is_main_process()
bleep.workflows.launch.best_device()
print([name for name in ("accelerate", "scipy.optimize", "scipy.stats", "timm", "bleep.training") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_words_of_query_are_those_of_the_settings() -> None:
    assert get_args(WeightsName) == query.WEIGHTS
    assert query.ABSTAIN == ABSTAIN
    assert set(reading_flags.HELP) == set(READING)


def test_no_module_hides_one_of_the_standard_library_or_of_a_dependency(repository: Path) -> None:
    package = repository / "bleep"
    own = {path.stem for path in package.glob("*.py") if path.stem != "__init__"}
    own |= {path.parent.name for path in package.glob("*/__init__.py")}
    assert {"runs", "data", "train"} <= own
    installed = set(importlib.metadata.packages_distributions())
    assert {"torch", "timm", "faiss", "numpy", "pandas", "scipy", "accelerate", "PIL", "yaml"} <= installed
    assert not own & (sys.stdlib_module_names | installed | {"datasets", "evaluate", "transformers", "tokenizers", "types"})


@pytest.mark.parametrize("way", ["by path", "from another folder", "through a symlink", "through a linked folder", "-m"])
def test_the_training_command_starts(way: str, repository: Path, tmp_path: Path) -> None:
    script, where = repository / "bleep" / "train.py", repository
    if way == "from another folder":
        where = tmp_path
    elif way == "through a symlink":
        (tmp_path / "link.py").symlink_to(script)
        script, where = tmp_path / "link.py", tmp_path
    elif way == "through a linked folder":
        (tmp_path / "linked").symlink_to(repository)
        script, where = tmp_path / "linked" / "bleep" / "train.py", tmp_path
    (tmp_path / "sitecustomize.py").write_text(PROBE)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    start = ["-m", "bleep.train"] if way == "-m" else [os.path.relpath(script, where) if way == "by path" else str(script)]
    done = subprocess.run(
        [sys.executable, *start, "--help"],
        cwd=where, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--optim.lr" in done.stdout
    assert done.stderr.strip() == "hidden: []"


OLD = {
    "bleep.pipeline": "fit, build_reference, evaluate, compare, open_tiles, load_split, calibrate",
    "bleep.prediction.retrieval": "RetrievalPredictor",
    "bleep.prediction.regression": "RegressionPredictor",
    "bleep.prediction.baselines": "RidgePredictor, ImageKnnPredictor, MeanPredictor",
    "bleep.prediction.reference": "Reference",
    "bleep.settings": "Config",
    "bleep.tissue.panel": "GenePanel",
    "bleep.tissue.tiles": "Tiles, TileSpec",
}


def test_old_paths_of_public_names_give_the_same_names_with_a_warning() -> None:
    code = f"""
import warnings, bleep
for old, names in {OLD}.items():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = {{}}
        exec(f"from {{old}} import {{names}}", found)
    for name in names.split(", "):
        assert found[name] is getattr(bleep, name), (old, name)
    assert any(w.category is DeprecationWarning and old in str(w.message) for w in seen), (old, seen)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_old_paths_of_readers_and_slides_are_found() -> None:
    from bleep.data.readers import read_sections
    from bleep.data.slides import open_slide

    for old, name, new in (("sources", "read_sections", read_sections), ("slides", "open_slide", open_slide)):
        sys.modules.pop(f"bleep.tissue.{old}", None)
        with pytest.warns(DeprecationWarning, match=r"bleep\.tissue"):
            assert getattr(importlib.import_module(f"bleep.tissue.{old}"), name) is new
