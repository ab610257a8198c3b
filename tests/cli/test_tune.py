"""`bleep tune`: trials that can be stopped and gone on with, and a recipe of what was best."""

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bleep.cli import app
from bleep.cli import training as train_command
from bleep.runs import Run

SPACE = {"optim.lr": {"low": 1e-5, "high": 1e-1, "log": True}, "head.dim": {"choices": [8, 16]}}
HELD_OUT = {"data": {"split": "section", "test": ["toy4"], "val": "group"}}

Tune = Callable[..., list[str]]


@pytest.fixture
def tune(recipe: Any, tmp_path: Path) -> Tune:
    """Write a recipe and a space, and return the command that tunes."""

    def command(*over: dict[str, Any], space: dict[str, Any] = SPACE, trials: int = 3) -> list[str]:
        tree = recipe(tmp_path / "run", HELD_OUT, {"optim": {"epochs": 2}}, *over)
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree))
        (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
        return ["tune", "--config", "recipe.yaml", "--space", "space.yaml", "--trials", str(trials)]

    return command


def table(path: Path) -> list[dict[str, str]]:
    with (path / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_best_of_the_trials_can_be_trained_with(tune: Tune, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(tune(trials=5)) == 0
    said, out = capsys.readouterr().out, Path("runs/tune/run-space")
    rows = table(out)
    assert len(rows) == 5
    assert [row["state"] for row in rows] == ["done"] * 5
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    best = yaml.safe_load((out / "best.yaml").read_text())
    assert best == {"optim": {"lr": float(rows[0]["optim.lr"])}, "head": {"dim": int(rows[0]["head.dim"])}}
    assert "5 trials: 5 done, 0 stopped early, 0 failed" in said
    assert "the test fold was not scored" in said
    assert f"Trial {rows[0]['trial']} of 5 tried" in (out / "best.yaml").read_text()
    assert (out / "importance.png").stat().st_size > 5000
    assert (out / "importance.svg").exists()
    assert [folder.name for folder in (out / "trials").iterdir()] == [f"{int(rows[0]['trial']):04d}"]
    kept = Run.load(out / "trials" / f"{int(rows[0]['trial']):04d}")
    assert kept.config.head.dim == best["head"]["dim"]
    command = said.splitlines()[-1].split("bleep train ")[1].split()
    assert train_command.command(command) == 0
    assert Run.load("runs/run-space").weights_digest() == kept.weights_digest()


@pytest.mark.slow
def test_the_same_command_goes_on_where_it_stopped(
    tune: Tune, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bleep.workflows import tune as tuning

    fit, fitted = tuning.fit, []

    def stopping(*arguments: Any, **options: Any) -> Run:
        fitted.append(1)
        if len(fitted) == 2:
            raise KeyboardInterrupt
        return fit(*arguments, **options)

    monkeypatch.setattr(tuning, "fit", stopping)
    assert app.main(tune(trials=3)) == 130
    assert len(fitted) == 2
    assert app.main(tune(trials=3)) == 0
    assert len(fitted) == 4
    assert "3 trials: 3 done" in capsys.readouterr().out
    assert app.main(tune(trials=3)) == 0
    assert len(fitted) == 4
    code = app.main([*tune(trials=3), "--optim.batch", "16"])
    err = capsys.readouterr().err.splitlines()[-1]
    assert code == 2
    assert "recipe: optim.batch = 32, now it is 16" in err
    assert len(table(Path("runs/tune/run-space"))) == 3


@pytest.mark.slow
def test_a_trial_that_cannot_be_trained_is_told_and_the_others_go_on(tune: Tune, capsys: pytest.CaptureFixture[str]) -> None:
    space = {"optim.lr": {"choices": [1e-3, 1e30]}}
    regression = {"loss": {"task": "regression"}, "head": {"hidden": 8}}
    assert app.main([*tune(regression, space=space, trials=6), "--out", "here", "--keep-all"]) == 0
    rows = table(Path("here"))
    assert {row["state"] for row in rows} == {"done", "failed"}
    for row in rows:
        assert (row["state"] == "failed") == (float(row["optim.lr"]) == 1e30), row
        assert ("no number" in row["why"]) == (row["state"] == "failed")
    assert len(list(Path("here/trials").iterdir())) == 6
    assert "6 trials: " in capsys.readouterr().out


def test_a_first_epoch_without_a_score_is_no_failure(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    from bleep.workflows import tune as tuning

    def fitted(config: Any, **options: Any) -> None:
        config.out.mkdir(parents=True)
        (config.out / "log.jsonl").write_text('{"epoch": 0, "val_score": NaN}\n{"epoch": 1, "val_score": 0.25}\n')

    monkeypatch.setattr(tuning, "fit", fitted)
    assert app.main([*tune(trials=1), "--out", "here"]) == 0
    assert [(row["state"], row["score"]) for row in table(Path("here"))] == [("done", "0.25")]


@pytest.mark.slow
def test_two_processes_share_a_study(tune: Tune, warm: Path, tmp_path: Path) -> None:
    command = [warm / "bleep", *tune(trials=4), "--out", "here"]
    both = [subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert app.main([*tune(trials=4), "--out", "here"]) == 0
    rows = table(Path("here"))
    assert len(rows) == 4
    assert len({row["optim.lr"] for row in rows}) == 4
    assert len(list(Path("here/trials").iterdir())) == 1


@pytest.mark.slow
def test_trials_on_different_scales_are_compared_by_score_and_not_by_loss(
    tune: Tune, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {"panel.scale": {"choices": ["zscore", "minmax"]}, "loss.pearson": {"low": 0.0, "high": 1.0}}
    assert app.main(tune({"loss": {"task": "regression"}}, space=space, trials=2)) == 0
    said = capsys.readouterr().err
    assert "trials differ in loss.pearson, panel.scale: their losses are on different scales" in said


@pytest.mark.slow
def test_trials_that_all_fail_are_an_error(tune: Tune, capsys: pytest.CaptureFixture[str]) -> None:
    never = {"loss": {"task": "regression"}, "optim": {"lr": 1e30}}  # the first trial is the recipe's own
    command = tune(never, space={"optim.lr": {"choices": [1e30, 1e31]}}, trials=2)
    assert app.main(command) == 2
    assert "none of 2 trials could be trained to the end; the last: the loss is" in capsys.readouterr().err.splitlines()[-1]


def test_what_no_trial_could_mend_stops_before_anything_is_written(fails: Any, tune: Tune, tmp_path: Path) -> None:
    tune()
    start = ["tune", "--config", "recipe.yaml", "--space", "space.yaml"]
    fails(
        [*start, "--data.val", "none"], "data.val is none", "never on the test fold", "set data.val to group, or where only one"
    )
    # What is advised against a group that is not there is what a tuning takes.
    alone = [*start, "--data.sections", "toy3", "toy4"]
    fails(
        alone,
        "only one section is left",
        "set data.val to block, or to none where nothing follows a validation score: `bleep tune`",
    )
    fails([*alone, "--data.val", "block", "--image.trunk", "no_such_trunk"], "timm knows no model 'no_such_trunk'")
    fails([*start, "--data.root", "gone"], "gone: no such file or folder")
    fails([*start, "--image.trunk", "no_such_trunk"], "timm knows no model 'no_such_trunk'")
    fails([*start, "--trials", "0"], "--trials 0: expected a number above 0")
    fails([*start, "--space", "gone.yaml"], "gone.yaml: no such")
    (tmp_path / "space.yaml").write_text("optim.lrr: {low: 1, high: 2}\n")
    fails(start, "space.yaml: optim.lrr: unknown setting; did you mean optim.lr?")
    (tmp_path / "file").write_text("x")
    tune()
    fails([*start, "--out", "file"], "file: is a file; expected a folder")


def test_several_processes_of_one_trial_are_refused(fails: Any, tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    fails(tune(), "start the same command several times instead")


def test_without_optuna_the_extra_is_named(fails: Any, tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bleep.workflows.tune", "bleep.training.tuning"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "optuna", None)
    fails(tune(), "pip install -e '.[tune]'")


@pytest.mark.slow
def test_the_next_command_trains_beside_a_tuning_whose_folder_is_among_the_runs(
    tune: Tune, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main([*tune(trials=1), "--out", "runs/tuned"]) == 0
    command = capsys.readouterr().out.splitlines()[-1].split("bleep train ")[1].split()
    assert command[-2:] == ["--out", "runs/tuned-best"]
    assert train_command.command(command) == 0
