"""A test section of a single spot: every command works, and says of it no more than one spot can tell."""

import json
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
import yaml

from bleep.cli.app import main
from bleep.data.section import Section


@pytest.fixture
def run(recipe: Any, toys: tuple[Section, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Train and index a run whose only test section has one spot left."""
    monkeypatch.chdir(tmp_path)
    others = [f"toy4/{spot}" for spot in toys[3].counts.obs_names[1:]]
    over = {"data": {"split": "section", "test": ["toy4"], "drop": others}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(recipe(tmp_path / "run", over)))
    assert main(["train", "--config", "own.yaml"]) == 0
    assert main(["index", "build", "--run", "run"]) == 0
    return "run"


def test_one_spot_is_scored_by_what_one_spot_has(run: str, tmp_path: Path) -> None:
    assert main(["evaluate", "--run", run, "--report", "page.html"]) == 0
    found = json.loads((tmp_path / run / "evaluation.json").read_text())["predictors"]
    assert all(row["pcc"] is None or np.isnan(row["pcc"]) for row in found.values())
    assert all(np.isfinite(row["mse"]) for row in found.values())
    assert (tmp_path / "page.html").is_file()


def test_one_spot_is_predicted_checked_and_exported(run: str, files: Path, tmp_path: Path) -> None:
    root = files / "st2k" / "toy4"
    assert main(["query", "--run", run, "--images", str(root), "--report", "page.html", "--out", "p.h5ad"]) == 0
    everything = anndata.read_h5ad("p.h5ad")
    everything[:1].copy().write_h5ad("one.h5ad")
    assert main(["export", "one.h5ad", "--geojson", "one.geojson"]) == 0
    shapes = json.loads(Path("one.geojson").read_text())
    assert len(shapes["features"] if isinstance(shapes, dict) else shapes) == 1
    assert main(["data", "check", "own.yaml"]) in (0, 1)
