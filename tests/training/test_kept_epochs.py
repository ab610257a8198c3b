"""Epochs kept as runs, and resumed trainings of every kind of loss, optimizer and plateau."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bleep.config import Config
from bleep.errors import ConfigError, MismatchError
from bleep.runs import Run
from bleep.training.checkpoint import CheckpointLog
from bleep.workflows.ensemble import save_ensemble
from bleep.workflows.evaluate import evaluate
from bleep.workflows.fit import fit, refit
from bleep.workflows.tissue import load_split

VALIDATED = {"data": {"split": "section", "test": ["toy4"], "val": "group"}}
REGRESSION = {"loss": {"task": "regression"}, "head": {"hidden": 8, "dropout": 0.2}}
PLATEAU = {"schedule": "plateau", "plateau_patience": 0, "plateau_threshold": 0.3, "plateau_cooldown": 1, "plateau_factor": 0.5}
KINDS: dict[str, tuple[dict[str, Any], ...]] = {
    "plateau": (REGRESSION, VALIDATED, {"optim": {"epochs": 6, "batch": 32, "patience": 6, **PLATEAU}}),
    "counts": (
        {"loss": {"task": "regression", "nb": 1.0, "pearson": 1.0}},
        {"optim": {"epochs": 6, "batch": 32, "name": "adagrad", "lr": 0.01}},
    ),
    "sgd": (REGRESSION, {"optim": {"epochs": 6, "batch": 32, "name": "sgd", "lr": 0.1, "keep": [2, 5]}}),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    kind: str, recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(Config.load(recipe(tmp_path / "whole", *KINDS[kind])))
    broken = Config.load(recipe(tmp_path / "broken", *KINDS[kind]))
    write = CheckpointLog.write

    def stop(self: CheckpointLog, line: dict[str, float | int]) -> None:
        if line["epoch"] == 3:
            raise KeyboardInterrupt
        write(self, line)

    monkeypatch.setattr(CheckpointLog, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        fit(broken)
    monkeypatch.setattr(CheckpointLog, "write", write)
    assert fit(broken, resume=True).weights_digest() == whole.weights_digest()
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("whole", "broken")]
    rates = [[line.split('"lr": ')[1].split(",")[0] for line in log] for log in logs]
    assert rates[0] == rates[1]
    if kind == "plateau":
        assert len(set(rates[0])) > 2
    if kind == "sgd":
        assert [path.name for path in sorted((tmp_path / "broken" / "epochs").iterdir())] == ["2", "5"]


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_kept_epoch_is_the_run_of_a_training_of_that_length(ema: float, recipe: Any, tmp_path: Path) -> None:
    steady = {"batch": 32, "schedule": "constant", "warmup": 0.0, "ema": ema}
    long = Config.load(recipe(tmp_path / "long", REGRESSION, {"optim": {"epochs": 4, "keep": [1, 2], **steady}}))
    fit(long)
    short = fit(Config.load(recipe(tmp_path / "short", REGRESSION, {"optim": {"epochs": 2, **steady}})))
    kept = Run.load(tmp_path / "long" / "epochs" / "2")
    assert kept.weights_digest() == short.weights_digest() != Run.load(tmp_path / "long").weights_digest()
    assert (kept.config.optim.epochs, kept.config.optim.keep, kept.facts.epoch, kept.facts.of_epochs) == (2, (), 1, 4)
    assert kept.config.model_copy(update={"out": Path("x")}) == short.config.model_copy(update={"out": Path("x")})
    folders = sorted((tmp_path / "long" / "epochs").iterdir())
    assert [path.name for path in folders] == ["1", "2"]
    with pytest.raises(ConfigError, match=r"to be weighed by; optim\.keep notes none: use --weights mean"):
        save_ensemble(folders, tmp_path / "both", "validation")
    fit(long.model_copy(update={"optim": long.optim.model_copy(update={"keep": ()})}), overwrite=True)
    assert not (tmp_path / "long" / "epochs").exists()


@pytest.mark.parametrize("kind", ["cosine", "plateau"])
def test_a_kept_epoch_is_rehearsed_by_the_rate_it_was_trained_by(
    kind: str, recipe: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On the run's own tissue a rehearsal ends with the very weights that were kept, not with those of the best epoch."""
    how = {"batch": 32, "patience": 1, "lr": 0.03} | ({} if kind == "cosine" else PLATEAU)
    config = Config.load(recipe(tmp_path / "run", REGRESSION, VALIDATED, {"optim": {"epochs": 8, "keep": [2, 8], **how}}))
    fit(config)
    kept = Run.load(tmp_path / "run/epochs/2")
    divided = load_split(kept.config)
    again = refit(kept, divided, kept.panel, tmp_path / "again")
    assert again.weights_digest() == kept.weights_digest()
    assert (again.facts.epoch, kept.facts.of_epochs) == (1, 8)
    by_itself = refit(replace(kept, facts=replace(kept.facts, of_epochs=0)), divided, kept.panel, tmp_path / "by itself")
    if kind == "cosine":
        assert by_itself.weights_digest() != kept.weights_digest()
    if not (tmp_path / "run/epochs/8").exists():
        assert "optim.patience ended training before epoch 8 of optim.keep" in caplog.text
    shutil.copytree(tmp_path / "run/epochs/2", tmp_path / "other")
    facts = (tmp_path / "other/run.json").read_text()
    (tmp_path / "other/run.json").write_text(facts.replace('"of_epochs": 8', '"of_epochs": 9'))
    settings = (tmp_path / "other/config.yaml").read_text()
    (tmp_path / "other/config.yaml").write_text(settings.replace("seed: 0", "seed: 1"))
    with pytest.raises(MismatchError, match=r"has the epochs of the training that optim\.keep kept it in = 9"):
        evaluate([tmp_path / "run/epochs/2", tmp_path / "other"])


def test_an_epoch_that_never_comes_is_not_kept() -> None:
    with pytest.raises(ConfigError, match=r"optim\.keep names epoch 9, but optim\.epochs is 5"):
        Config.load({"optim": {"keep": [3, 9], "epochs": 5}})
