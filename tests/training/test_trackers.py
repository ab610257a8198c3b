"""Trackers are told the settings and every epoch."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bleep.config import Config
from bleep.errors import ConfigError, DataError
from bleep.runs import Run
from bleep.training import checkpoint as trackers
from bleep.training.checkpoint import accelerator_of, flat
from bleep.workflows.fit import fit


def test_a_tracker_that_is_not_installed_is_said_in_a_sentence_and_nothing_is_written(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"optim\.tracker trackio needs the extra track: pip install"):
        fit(Config.load(recipe(tmp_path / "out", {"optim": {"tracker": "trackio"}})))
    assert not (tmp_path / "out").exists()


def test_settings_are_laid_flat_with_plain_values() -> None:
    found = flat(Config().dump())
    assert found["optim.lr"] == 1e-3
    assert found["tiles.microns"] == "[155.0]"
    assert found["optim.chunk"] == "None"
    assert all(isinstance(value, str | int | float | bool) for value in found.values())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_gets_the_line_of_every_epoch(recipe: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "out"
    fit(Config.load(recipe(out, {"optim": {"tracker": "tensorboard"}})))
    plain = fit(Config.load(recipe(tmp_path / "plain")))
    assert plain.weights_digest() == Run.load(out).weights_digest()
    found = EventAccumulator(str(out / "bleep"))
    found.Reload()
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [(e.step, e.value) for e in found.Scalars("loss")] == [
        (n, pytest.approx(line["loss"])) for n, line in enumerate(lines)
    ]
    assert "lr" in found.Tags()["scalars"]


@pytest.mark.skipif(torch.accelerator.is_available(), reason="needs a machine without a GPU")
def test_half_precision_is_refused_on_a_cpu_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(ConfigError, match="mixed precision fp16 needs a GPU"):
        accelerator_of(Config())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_tracker_that_fails_costs_neither_the_training_nor_the_run_before(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tensorboard")
    from accelerate.tracking import TensorBoardTracker
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def fails(*given: Any, **more: Any) -> None:
        raise RuntimeError("no server\nat all")

    def trained(seed: int, **how: Any) -> Run:
        over = {"optim": {"tracker": "tensorboard", "epochs": 2}, "seed": seed}
        return fit(Config.load(recipe(tmp_path / "out", over)), **how)

    first = trained(0)
    with monkeypatch.context() as patch:
        patch.setattr(TensorBoardTracker, "start", fails)
        with pytest.raises(DataError, match=r"optim\.tracker tensorboard cannot begin \(RuntimeError: no server\); see to it"):
            trained(1, overwrite=True)
    assert Run.load(tmp_path / "out").weights_digest() == first.weights_digest()
    second = trained(1, overwrite=True)
    found = EventAccumulator(str(tmp_path / "out" / "bleep"))
    found.Reload()
    assert [event.step for event in found.Scalars("loss")] == [0, 1], "the curve of the run before is gone with it"
    for method in ("log", "finish"):
        caplog.clear()
        with monkeypatch.context() as patch:
            patch.setattr(TensorBoardTracker, method, fails)
            assert trained(1, overwrite=True).weights_digest() == second.weights_digest()
        assert caplog.text.count("optim.tracker tensorboard failed (RuntimeError: no server)") == 1


def test_a_training_that_is_ended_ends_its_curve_and_words_to_a_tracker_alone_block_no_folder(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    from accelerate.tracking import TensorBoardTracker

    ended: list[object] = []
    monkeypatch.setattr(TensorBoardTracker, "finish", lambda tracker: ended.append(tracker))

    def prune(epoch: int, score: float) -> None:
        raise ConfigError("enough")

    (tmp_path / "out" / "bleep").mkdir(parents=True)
    (tmp_path / "out" / "bleep" / "events.out.tfevents.1.vm.1.0").touch()
    with pytest.raises(ConfigError, match="enough"):
        fit(Config.load(recipe(tmp_path / "out", {"optim": {"tracker": "tensorboard"}})), on_epoch=prune)
    assert len(ended) == 1
