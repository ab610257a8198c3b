"""Loss and gradients do not depend on the number of processes; what each task's loss is made of."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from bleep.config import Config
from bleep.data.datasets import places_of
from bleep.data.readers import read_sections
from bleep.errors import ConfigError, DataError
from bleep.models.factory import build_model, build_trunk
from bleep.models.models import DualEncoder
from bleep.training.tasks import ContrastiveTask, task_of

SCRIPT = Path(__file__).with_name("two_processes.py")
KINDS = (
    *("hard", "projected", "inputs", "siglip", "near", "alike", "siglip near alike"),
    *("both", "both near", "regression", "regression by genes", "regression of counts", "both by genes"),
)


@pytest.fixture(scope="module")
def halves(warm: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    out = tmp_path_factory.mktemp("two")
    launch = [warm / "python", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, str(SCRIPT), str(out)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return torch.load(out / "results.pt")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", [None, 4, 1])
def test_two_processes_give_loss_and_gradients_of_one_big_batch(
    kind: str, chunk: int | None, halves: dict, script: ModuleType
) -> None:
    task, batch = script.make(kind)
    loss = task.loss(task(batch))
    loss.backward()
    whole = script.gradients(task)
    torch.testing.assert_close(halves[kind, chunk]["loss"], loss.detach(), rtol=1e-5, atol=1e-6)
    assert set(halves[kind, chunk]["gradients"]) == set(whole)
    assert sum(float(gradient.abs().sum()) for gradient in whole.values()) > 0.01
    for name, gradient in whole.items():
        torch.testing.assert_close(
            halves[kind, chunk]["gradients"][name], gradient, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.slow
def test_half_of_a_batch_alone_gives_another_contrastive_loss(script: ModuleType) -> None:
    task, batch = script.make("hard")
    half = script.Batch(*(part[:6] for part in batch))
    with torch.no_grad():
        assert abs(float(task.loss(task(batch)) - task.loss(task(half)))) > 0.1


def dual(**loss: object) -> tuple[DualEncoder, Config]:
    config = Config.load({"loss": loss, "head": {"dim": 8}, "image": {"trunk": "test_resnet", "weights": "random"}})
    torch.manual_seed(0)
    made = build_model(build_trunk(config.image, 32)[0], 6, config)
    assert isinstance(made, DualEncoder)
    return made, config


@pytest.mark.parametrize("kind", ["near", "alike"])
def test_pairs_that_are_ignored_change_the_loss(kind: str, script: ModuleType) -> None:
    task, batch = script.make(kind)
    encoded = task(batch)
    ignored = task.ignored(batch.rows, batch.expression)
    assert ignored is not None
    assert 0 < ignored.sum() < ignored.numel() / 2
    every = ContrastiveTask(task.model, task.config.model_copy(update={"near": 0.0, "alike": 1.0}))
    assert abs(float((task.loss(encoded) - every.loss(encoded)).detach())) > 0.01


def test_neighbours_are_found_by_the_rows_of_the_spots_and_within_their_section_alone(script: ModuleType) -> None:
    task, batch = script.make("near")
    ignored = task.ignored(batch.rows, batch.expression)
    assert ignored is not None
    place, section = script.places()
    for i, one in enumerate(batch.rows.tolist()):
        for j, other in enumerate(batch.rows.tolist()):
            far = float((place[one] - place[other]).norm()) >= 150
            assert bool(ignored[i, j]) == (i != j and not far and bool(section[one] == section[other]))


def test_the_loss_of_both_tasks_is_their_weighted_sum(script: ModuleType) -> None:
    task, batch = script.make("both")
    encoded = task(batch)
    alone = ContrastiveTask(task.model, task.config.model_copy(update={"task": "contrastive"}))
    error = ((encoded.predicted - batch.expression) ** 2).mean()
    torch.testing.assert_close(task.loss(encoded), alone.loss(encoded) + 0.7 * error)
    torch.testing.assert_close(encoded.predicted, task.model.predict_features(batch.inputs))


@pytest.mark.parametrize("targets", ["inputs", "projected"])
def test_siglip_with_soft_targets_is_refused_in_one_sentence(targets: str) -> None:
    model, config = dual(form="siglip", targets=targets)
    with pytest.raises(ConfigError, match=rf"loss\.targets is {targets}: set loss\.targets to hard"):
        task_of(model, config.loss)


def test_near_needs_to_know_where_spots_lie() -> None:
    model, config = dual(near=150.0)
    with pytest.raises(ConfigError, match="nobody said where"):
        task_of(model, config.loss)


def test_places_are_in_microns_and_ready_cut_tiles_have_none(toys: tuple[Any, ...], files: Path) -> None:
    one, other = replace(toys[0], mpp=0.5), toys[1]
    place, section = places_of((one, other))
    np.testing.assert_allclose(place.numpy(), np.concatenate([one.xy * 0.5, other.xy]), rtol=1e-6)
    assert section.tolist() == [0] * len(one) + [1] * len(other)
    cut = read_sections(Config.load({"data": {"root": str(files / "folder" / "train.csv")}}).data, files)
    model, config = dual(near=150.0)
    with pytest.raises(DataError, match="ready-cut tiles have no known places"):
        task_of(model, config.loss, cut)
    alike, config = dual(alike=0.9)
    assert isinstance(task_of(alike, config.loss, cut), ContrastiveTask)


def test_places_are_no_part_of_what_is_saved(toys: tuple[Any, ...]) -> None:
    plain, config = dual()
    near, far = task_of(*with_loss(dual(near=40.0)), toys), task_of(plain, config.loss, toys)
    assert set(near.state_dict()) == set(far.state_dict())
    assert len(near.place) == sum(len(section) for section in toys)


def with_loss(made: tuple[DualEncoder, Config]) -> tuple[DualEncoder, Any]:
    return made[0], made[1].loss
