"""The training loop: the same steps on any number of processes, and after any interruption."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bleep.config import Config
from bleep.errors import ConfigError, DataError
from bleep.runs import Run
from bleep.training.checkpoint import CheckpointLog
from bleep.training.loop import EpochBatches
from bleep.training.tasks import task_of
from bleep.workflows.fit import fit
from bleep.workflows.scoring import validation
from bleep.workflows.tissue import load_split

KINDS: dict[str, dict[str, Any]] = {
    "contrastive": {"head": {"dropout": 0.2}},
    "regression": {"loss": {"task": "regression"}, "head": {"hidden": 8, "dropout": 0.2}},
    "validated": {"data": {"split": "section", "test": ["toy4"], "val": "group"}, "head": {"dropout": 0.2}},
    "full trunk": {"image": {"train": "full"}, "optim": {"trunk_lr": 1e-3}},
    "averaged": {"head": {"dropout": 0.2}, "optim": {"ema": 0.9}},
    "averaged, validated": {
        "data": {"split": "section", "test": ["toy4"], "val": "group"},
        "head": {"dropout": 0.2},
        "optim": {"ema": 0.9},
    },
    "plateau": {
        "data": {"split": "section", "test": ["toy4"], "val": "group"},
        "optim": {"schedule": "plateau", "patience": 5, "lr": 0.02},
    },
    "gradual": {
        "image": {"train": "gradual", "unfreeze": 2, "layer_decay": 0.5},
        "optim": {"trunk_lr": 1e-3, "schedule": "constant"},
    },
    "norms that learn": {
        "data": {"split": "section", "test": ["toy4"], "val": "group"},
        "image": {"trunk": "small/cancernet-32-64", "train": "full"},
        "loss": {"task": "regression"},
        "optim": {"trunk_lr": 1e-2, "lr": 1e-2, "schedule": "constant"},
    },
    "lora": {"image": {"train": "lora", "trunk": "test_vit", "lora_rank": 2}, "optim": {"trunk_lr": 1e-3}},
}


def steps(spots: int, batch: int, world: int, epoch: int = 0, seed: int = 0) -> list[set[int]]:
    ranks = [EpochBatches(spots, batch, seed, rank, world) for rank in range(world)]
    for rank in ranks:
        rank.epoch = epoch
    shares = [[rows for _, rows in rank] for rank in ranks]
    for share in zip(*shares, strict=True):
        assert len({len(rows) for rows in share}) == 1
    return [set().union(*share) for share in zip(*shares, strict=True)]


@pytest.mark.parametrize("world", [2, 4, 8])
@pytest.mark.parametrize("spots", [64, 100, 24])
def test_the_spots_of_a_step_do_not_depend_on_the_number_of_processes(spots: int, world: int) -> None:
    for epoch in range(3):
        alone, shared = (steps(spots, 32, processes, epoch) for processes in (1, world))
        assert alone == shared
        assert all(len(step) == min(32, spots) for step in alone)


@pytest.mark.parametrize(("spots", "batch"), [(101, 256), (100, 30)])
def test_the_spots_of_a_step_do_not_depend_on_processes_that_do_not_divide_it(spots: int, batch: int) -> None:
    assert steps(spots, batch, 1) == steps(spots, batch, 4)


def test_no_spot_comes_twice_in_an_epoch_and_each_epoch_is_shuffled_anew() -> None:
    one, other = steps(100, 32, 2, epoch=0), steps(100, 32, 2, epoch=1)
    assert sum(len(step) for step in one) == len(set().union(*one)) == 96
    assert one != other
    assert one == steps(100, 32, 2, epoch=0)
    assert one != steps(100, 32, 2, epoch=0, seed=1)


def test_every_spot_is_seen_over_some_epochs() -> None:
    assert set().union(*(step for epoch in range(6) for step in steps(70, 32, 2, epoch))) == set(range(70))


@pytest.mark.parametrize(("spots", "batch", "world"), [(1, 32, 1), (100, 1, 1), (100, 3, 4)])
def test_too_few_spots_for_a_step_are_refused(spots: int, batch: int, world: int) -> None:
    with pytest.raises(ConfigError, match="leave nothing to compare"):
        EpochBatches(spots, batch, 0, 0, world)


def interrupted_at(epoch: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    write = CheckpointLog.write

    def stop(self: CheckpointLog, line: dict[str, float | int]) -> None:
        if line["epoch"] == epoch:
            raise KeyboardInterrupt
        write(self, line)

    monkeypatch.setattr(CheckpointLog, "write", stop)
    return lambda: monkeypatch.setattr(CheckpointLog, "write", write)


def logged(out: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "spots_per_s"} for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    kind: str, recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = (KINDS[kind], {"optim": {"epochs": 6, "batch": 32, **KINDS[kind].get("optim", {})}})
    whole = fit(Config.load(recipe(tmp_path / "whole", *over)))
    broken = Config.load(recipe(tmp_path / "broken", *over))
    release = interrupted_at(3, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        fit(broken)
    release()
    assert [line["epoch"] for line in logged(tmp_path / "broken")] == [0, 1, 2]
    with pytest.raises(DataError, match="has not finished"):
        Run.load(tmp_path / "broken")
    torch.manual_seed(12345)
    resumed = fit(broken, resume=True)
    assert resumed.weights_digest() == whole.weights_digest()
    assert resumed.facts.epoch == whole.facts.epoch
    assert logged(tmp_path / "broken") == logged(tmp_path / "whole")
    assert Run.load(tmp_path / "broken").weights_digest() == whole.weights_digest()
    assert logged(tmp_path / "whole")[5]["loss"] < logged(tmp_path / "whole")[0]["loss"]
    if kind in ("norms that learn", "validated"):
        # What is kept is the epoch that scored best, with all that it had learnt.
        divided = load_split(whole.config)
        values = np.concatenate([whole.panel.apply(section) for section in divided.train])
        loaded = Run.load(tmp_path / "whole")
        task = task_of(loaded.model, loaded.config.loss, divided.train, loaded.panel)
        with torch.inference_mode():
            kept = validation(loaded, divided, values)(task)
        assert kept["score"] == pytest.approx(max(line["val_score"] for line in logged(tmp_path / "whole")), abs=1e-5)


def test_resuming_a_finished_run_returns_it(run_copy: Any, trained: dict[str, Path]) -> None:
    out = run_copy()
    config = Config.load(out / "config.yaml", {"out": str(out)})
    (out / "config.yaml").write_text((out / "config.yaml").read_text().replace(str(trained["contrastive"]), str(out)))
    before = (out / "model.safetensors").stat().st_mtime_ns
    again = fit(config, resume=True)
    assert again.weights_digest() == Run.load(trained["contrastive"]).weights_digest()
    assert (out / "model.safetensors").stat().st_mtime_ns == before


def test_who_reads_and_regions_that_are_not_shared_do_not_stand_in_the_way_of_going_on(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.load(recipe(tmp_path / "run", {"optim": {"epochs": 3}}))
    release = interrupted_at(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        fit(config)
    release()
    # As an older version left it.
    kept = (tmp_path / "run" / "config.yaml").read_text()
    older = kept.replace("  workers: null\n", "  workers: 0\n").replace("  region: null\n", "")
    assert older.count("\n") == kept.count("\n") - 1
    (tmp_path / "run" / "config.yaml").write_text(older)
    assert fit(config, resume=True).config.optim.epochs == 3


def test_the_same_seed_gives_the_same_run_and_another_gives_another(recipe: Any, tmp_path: Path) -> None:
    digests = [
        fit(Config.load(recipe(tmp_path / name, {"seed": seed}))).weights_digest()
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_the_best_epoch_is_kept_and_training_stops_early(recipe: Any, tmp_path: Path) -> None:
    over = {
        "data": {"split": "section", "test": ["toy4"], "val": "group"},
        "optim": {"epochs": 40, "batch": 32, "patience": 2, "lr": 0.05},
    }
    run = fit(Config.load(recipe(tmp_path / "out", over)))
    lines = logged(tmp_path / "out")
    scores = [line["val_score"] for line in lines]
    assert run.facts.epoch == int(np.argmax(scores))
    assert len(lines) == run.facts.epoch + 1 + 2 < 40


def test_a_frozen_trunk_is_not_changed_by_training(recipe: Any, tmp_path: Path) -> None:
    config = Config.load(recipe(tmp_path / "out"))
    torch.manual_seed(config.seed)
    from bleep.models.factory import build_trunk

    before = build_trunk(config.image, 32)[0].state_dict()
    after = fit(config).model.trunk.state_dict()
    for name, value in before.items():
        torch.testing.assert_close(after[name].cpu(), value, rtol=0, atol=0)


@pytest.mark.parametrize("train", ["last", "full"])
def test_a_trunk_that_learns_is_changed_by_training_but_not_its_batch_statistics(
    train: str, recipe: Any, tmp_path: Path
) -> None:
    over = {"image": {"train": train}, "optim": {"trunk_lr": 1e-3, "epochs": 2}}
    config = Config.load(recipe(tmp_path / "out", over))
    torch.manual_seed(config.seed)
    from bleep.models.factory import build_trunk

    trunk = build_trunk(config.image, 32)[0]
    learning = {name for name, parameter in trunk.named_parameters() if parameter.requires_grad}
    after = fit(config).model.trunk.state_dict()
    moved = {name for name, value in trunk.state_dict().items() if not torch.equal(after[name].cpu(), value)}
    assert moved
    assert moved <= learning


def test_a_loss_that_is_no_number_is_said_so(recipe: Any, tmp_path: Path) -> None:
    config = Config.load(recipe(tmp_path / "out", {"loss": {"task": "regression"}, "optim": {"lr": 1e30, "epochs": 20}}))
    with pytest.raises(ConfigError, match=r"lower optim\.lr"):
        fit(config)
