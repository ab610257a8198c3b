"""What may happen to a training from outside: a request to stop, a kill, a full disk, a reader that dies."""

import errno
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from bleep import runs
from bleep.cli import training as train_command
from bleep.config import Config
from bleep.data.datasets import TileDataset
from bleep.errors import ConfigError, DataError, StoppedError
from bleep.runs import Run
from bleep.training import checkpoint as journal_module
from bleep.training.checkpoint import CheckpointLog
from bleep.training.optimizers import clip
from bleep.workflows.fit import fit

LEARNING = {"image": {"train": "last"}, "optim": {"epochs": 5, "batch": 32, "trunk_lr": 1e-3}}


def logged(out: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "spots_per_s"} for line in lines]


def at_epoch(epoch: int, do: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Do something once a batch of this epoch is read."""
    read = TileDataset.__getitem__

    def reading(self: TileDataset, key: Any) -> Any:
        if key[0] == epoch:
            do()
        return read(self, key)

    monkeypatch.setattr(TileDataset, "__getitem__", reading)
    return lambda: monkeypatch.setattr(TileDataset, "__getitem__", read)


def told(out: Path, config: dict[str, Any], capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    """Run the command and return its exit code and its one sentence."""
    path = out.parent / "recipe.yaml"
    path.write_text(yaml.safe_dump(config))
    capsys.readouterr()
    code = train_command.command(["--config", str(path), *more])
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert err.count("bleep: ") <= 1
    return code, err[err.index("bleep: ") :].strip() if "bleep: " in err else ""


def same(one: Path, other: Path) -> None:
    assert Run.load(one).weights_digest() == Run.load(other).weights_digest()
    assert logged(one) == logged(other)


@pytest.mark.slow
def test_sigterm_ends_training_with_its_own_code_and_resuming_gives_the_uninterrupted_run(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(Config.load(recipe(tmp_path / "whole", LEARNING)))
    before = signal.getsignal(signal.SIGTERM)
    release = at_epoch(2, lambda: os.kill(os.getpid(), signal.SIGTERM), monkeypatch)
    out = tmp_path / "out"
    code, sentence = told(out, recipe(out, LEARNING), capsys)
    release()
    assert code == 143
    assert "--resume" in sentence
    assert signal.getsignal(signal.SIGTERM) == before
    assert [line["epoch"] for line in logged(out)] == [0, 1]
    assert told(out, recipe(out, LEARNING), capsys, "--resume")[0] == 0
    same(out, tmp_path / "whole")


def test_sigterm_at_the_last_step_of_an_epoch_saves_that_epoch_first(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = {"image": {"train": "last"}, "optim": {"epochs": 5, "batch": 512}}
    at_epoch(2, lambda: os.kill(os.getpid(), signal.SIGTERM), monkeypatch)
    with pytest.raises(StoppedError, match="every epoch before 4 is kept"):
        fit(Config.load(recipe(tmp_path / "out", single)))
    assert [line["epoch"] for line in logged(tmp_path / "out")] == [0, 1, 2]


def test_sigterm_in_the_last_epochs_last_step_lets_the_run_end(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = {"image": {"train": "last"}, "optim": {"epochs": 3, "batch": 512}}
    at_epoch(2, lambda: os.kill(os.getpid(), signal.SIGTERM), monkeypatch)
    assert fit(Config.load(recipe(tmp_path / "out", single))).facts.epoch == 2


def started(warm: Path, repository: Path, recipe_path: Path, *more: str, processes: int = 1) -> subprocess.Popen[str]:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    return subprocess.Popen(
        [warm / "python", *launch, str(repository / "bleep" / "train.py"), "--config", str(recipe_path), *more],
        env={**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"},
        cwd=recipe_path.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def epochs_of(out: Path) -> int:
    return (out / "log.jsonl").read_text().count("\n") if (out / "log.jsonl").exists() else 0


def wait_for_epochs(process: subprocess.Popen[str], out: Path, count: int) -> None:
    end = time.monotonic() + 120
    while epochs_of(out) < count and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)


@pytest.mark.slow
def test_kills_at_random_moments_leave_the_uninterrupted_run(recipe: Any, repository: Path, warm: Path, tmp_path: Path) -> None:
    long = {"image": {"train": "last"}, "optim": {"epochs": 24, "batch": 32, "trunk_lr": 1e-3, "ema": 0.9}}
    out, path = tmp_path / "broken", tmp_path / "recipe.yaml"
    # By the same command, as another number of threads would add up in another order.
    path.write_text(yaml.safe_dump(recipe(tmp_path / "whole", long)))
    whole = started(warm, repository, path)
    _, err = whole.communicate()
    assert whole.returncode == 0, err[-2000:]
    path.write_text(yaml.safe_dump(recipe(out, long)))
    moments = random.Random(5)
    killed = 0
    for _ in range(4):
        process = started(warm, repository, path, "--resume")
        wait_for_epochs(process, out, epochs_of(out) + moments.randint(1, 4))
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        assert not (out / runs.MODEL).exists() or process.returncode != -signal.SIGKILL or epochs_of(out) == 24
    assert killed >= 2
    last = started(warm, repository, path, "--resume")
    _, err = last.communicate()
    assert last.returncode == 0, err[-2000:]
    same(out, tmp_path / "whole")
    assert not list((out / "state").glob(".*part*"))


@pytest.mark.slow
def test_two_processes_leave_together_on_sigterm_and_go_on(recipe: Any, repository: Path, warm: Path, tmp_path: Path) -> None:
    tree = {"image": {"train": "last"}, "head": {"dropout": 0.0}, "optim": {"epochs": 150, "batch": 16}}
    out, path = tmp_path / "out", tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(out, tree)))
    process = started(warm, repository, path, processes=2)
    wait_for_epochs(process, out, 2)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert err.count("bleep: asked to stop") == 2, err[-3000:]
    done = epochs_of(out)
    assert 2 <= done < 150
    again = started(warm, repository, path, "--resume", processes=2)
    wait_for_epochs(again, out, done + 2)
    again.terminate()
    again.communicate(timeout=60)
    assert [line["epoch"] for line in logged(out)] == list(range(epochs_of(out)))


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("place", ["state", "best", "log", "model"])
def test_a_full_disk_is_said_in_a_sentence_and_the_last_state_stays(
    place: str, recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    over = {"data": {"split": "section", "test": ["toy4"], "val": "group"}, "optim": {"epochs": 5, "batch": 32}}
    fit(Config.load(recipe(tmp_path / "whole", over)))
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        if place == "model":
            patch.setattr(runs, "save_file", full_disk)
        elif place == "log":
            opened, write = Path.open, CheckpointLog.write

            def filling(self: CheckpointLog, line: dict[str, float | int]) -> None:
                if line["epoch"] == 2:
                    patch.setattr(Path, "open", full_disk)
                write(self, line)
                patch.setattr(Path, "open", opened)

            patch.setattr(CheckpointLog, "write", filling)
        else:
            save, seen = journal_module.save_file, [0]

            def saving(tensors: dict[str, torch.Tensor], path: Path, facts: dict[str, str]) -> None:
                seen[0] += path.name.startswith("best.") == (place == "best")
                if seen[0] == 3:
                    path.write_bytes(b"half")
                    full_disk()
                save(tensors, path, facts)

            patch.setattr(journal_module, "save_file", saving)
        code, sentence = told(out, recipe(out, over), capsys)
    assert code == 2
    assert "cannot be written (No space left on device)" in sentence
    assert str(out) in sentence
    assert not list(out.rglob(".*part*"))
    assert not (out / runs.MODEL).exists()
    assert told(out, recipe(out, over), capsys, "--resume")[0] == 0
    same(out, tmp_path / "whole")


@pytest.mark.slow
def test_a_file_system_that_takes_no_more_is_said_in_a_sentence(
    recipe: Any, repository: Path, warm: Path, tmp_path: Path
) -> None:
    """A limit on file size stands in for a full disk, so that safetensors itself meets it."""
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(tmp_path / "out")))
    code = (
        "import resource, sys; from bleep.cli.training import command;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY));"
        f"sys.exit(command(['--config', {str(path)!r}, '--image.train', 'full']))"
    )
    quiet = {**os.environ, "ACCELERATE_USE_CPU": "1"}
    done = subprocess.run([warm / "python", "-c", code], cwd=repository, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert "last.safetensors: cannot be written (" in done.stderr
    assert "File too large" in done.stderr


def test_weights_that_are_no_numbers_never_replace_a_state(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    over = {"loss": {"task": "regression"}, "optim": {"epochs": 4}, "image": {"train": "last"}}
    whole = fit(Config.load(recipe(tmp_path / "whole", over)))
    steps = [0]

    def exploding(parameters: list[torch.nn.Parameter], most: float, accelerator: Any) -> None:
        steps[0] += 1
        if steps[0] == 9:  # the last step of epoch 3: its loss is still a number, its weights are not
            parameters[-1].grad.fill_(float("nan"))
        clip(parameters, most, accelerator)

    with monkeypatch.context() as patch:
        patch.setattr("bleep.training.loop.clip", exploding)
        with pytest.raises(ConfigError, match="weights are no numbers after epoch 3"):
            fit(Config.load(recipe(out, over)))
    assert all(value.isfinite().all() for value in load_file(out / "state" / "last.safetensors").values())
    assert [line["epoch"] for line in logged(out)] == [0, 1]
    assert fit(Config.load(recipe(out, over)), resume=True).weights_digest() == whole.weights_digest()


def test_a_loss_that_is_no_number_ends_training_within_a_step(recipe: Any, tmp_path: Path) -> None:
    config = Config.load(recipe(tmp_path / "out", {"loss": {"task": "regression"}, "optim": {"lr": 1e30, "epochs": 20}}))
    with pytest.raises(ConfigError, match=r"no number in epoch \d+, step \d+: lower optim\.lr|weights are no numbers"):
        fit(config)
    states = tmp_path / "out" / "state" / "last.safetensors"
    assert not states.exists() or all(value.isfinite().all() for value in load_file(states).values())


@pytest.mark.parametrize("alone", [True, False])
def test_the_death_of_a_reading_process_is_said_in_a_sentence_and_the_state_stays(
    alone: bool, recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    over = {"image": {"train": "last", "standardize": "none"}, "optim": {"epochs": 3, "batch": 32, "workers": 1}}

    def die() -> None:
        if not alone:  # as when a cluster asks every process of the job
            os.kill(os.getppid(), signal.SIGTERM)
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)

    release = at_epoch(1, die, monkeypatch)
    out = tmp_path / "out"
    code, sentence = told(out, recipe(out, over), capsys)
    release()
    assert (code, "has died" in sentence) == ((2, True) if alone else (143, False)), sentence
    assert [line["epoch"] for line in logged(out)] == [0]
    with pytest.raises(DataError, match="has not finished"):
        Run.load(out)
    over["optim"]["workers"] = 0
    fit(Config.load(recipe(tmp_path / "whole", over)))
    over["optim"]["workers"] = 1
    assert told(out, recipe(out, over), capsys, "--resume")[0] == 0
    same(out, tmp_path / "whole")
