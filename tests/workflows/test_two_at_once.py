"""Two commands on one folder or output, and what one that was stopped leaves to the next."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bleep import runs
from bleep.config import Config
from bleep.data.section import Section
from bleep.errors import DataError
from bleep.files import alone
from bleep.predictors import calibration
from bleep.predictors.calibration import Calibration
from bleep.runs import Run, changing
from bleep.workflows import place
from bleep.workflows.calibrate import calibrate
from bleep.workflows.experiment import Experiment
from bleep.workflows.fit import fit
from bleep.workflows.stream import Output, Query, write_query


def listing(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_second_query_on_one_output_is_refused(trained: dict[str, Path], toys: tuple[Section, ...], tmp_path: Path) -> None:
    run = Run.load(trained["contrastive"])
    experiment = Experiment.of(run, trained["contrastive"])
    predictor, reference = experiment.select(), experiment.reference
    query, output = Query(run, predictor, reference, run.tiles(toys[2:3])), Output(tmp_path / "p.h5ad")
    with alone(output.lock, "busy"), pytest.raises(DataError, match="another query is writing there"):
        write_query(query, output)
    assert not list(tmp_path.iterdir())
    write_query(query, output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.h5ad", "p.neighbours.csv"]


def test_a_second_training_or_calibration_in_one_folder_is_refused(recipe: Any, run_copy: Callable[..., Path]) -> None:
    out = run_copy()
    run, before = Run.load(out), listing(out)
    with changing(out):
        with pytest.raises(DataError, match="another process is training or calibrating there"):
            fit(Config.load(recipe(out)), overwrite=True)
        with pytest.raises(DataError, match="another process is training or calibrating there"):
            calibrate(Experiment.of(run, out))
    assert listing(out) == before


def test_a_training_stopped_while_it_clears_is_left_by_overwrite_and_old_scores_go(
    recipe: Any, run_copy: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = run_copy()
    (out / "evaluation.json").write_text("{}")
    (out / "mine.txt").write_text("mine")
    config = Config.load(recipe(out, {"loss": {"task": "regression"}}))
    with monkeypatch.context() as patch:
        patch.setattr(place, "shutil", SimpleNamespace(rmtree=lambda _: (_ for _ in ()).throw(KeyboardInterrupt)))
        with pytest.raises(KeyboardInterrupt):
            fit(config, overwrite=True)
    assert not (out / runs.MODEL).exists()
    fit(config, overwrite=True)
    assert Run.load(out).config.loss.task == "regression"
    assert {path.name for path in out.iterdir()} == {
        "config.yaml", "panel.json", "run.json", "model.safetensors", "log.jsonl", "state", "mine.txt"
    }  # fmt: skip


def test_a_folder_with_settings_of_ones_own_is_no_place_for_a_run(recipe: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / runs.CONFIG).write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(DataError, match="holds"):
            fit(Config.load(recipe(tmp_path / "mine")), overwrite=overwrite)
    assert (tmp_path / "mine" / runs.CONFIG).read_text() == "mine"


def test_a_calibration_that_cannot_be_written_leaves_the_one_before(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "calibration"
    shutil.copytree(repository / "tests/data/archives/run-v0.1/run-both/calibration", folder)
    before = Calibration.load(folder)
    with monkeypatch.context() as patch:
        patch.setattr(calibration, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            before.save(folder)
    assert Calibration.load(folder).digest() == before.digest()
    for _ in range(2):
        before.save(folder)
        assert len(list(folder.glob("calibration*.safetensors"))) == 1
        found = Calibration.load(folder)
        np.testing.assert_array_equal(found.conformal.quantiles, before.conformal.quantiles)
