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
