"""What a GPU computes is what a CPU computes: features, training, resumption; and reading ahead changes nothing."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch.utils.data import TensorDataset

from bleep.config import Config, ImageConfig
from bleep.data import loading
from bleep.data.section import Section
from bleep.data.tiles import Tiles, TileSpec
from bleep.features import FeatureReader
from bleep.models.factory import build_trunk
from bleep.models.image import ImageTrunk
from bleep.runs import Run
from bleep.workflows.fit import fit

SPEC = TileSpec(64, (64.0, 32.0))
Recipe = Callable[..., dict[str, Any]]
gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def build(name: str, precision: str, sharing: str) -> ImageTrunk:
    torch.manual_seed(0)
    settings = {"trunk": name, "weights": "random", "layer": 1, "precision": precision, "sharing": sharing}
    return build_trunk(ImageConfig.model_validate(settings), 64)[0]


class OnGpu:
    pytestmark = gpu


class TestFeatures(OnGpu):
    @pytest.mark.parametrize("sharing", ["none", "tokens"])
    @pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
    def test_in_float32_they_are_the_cpus(self, name: str, sharing: str, toys: tuple[Section, ...]) -> None:
        trunk, tiles = build(name, "float32", sharing), Tiles(toys[:2], SPEC)
        here = FeatureReader(trunk, None, batch=16).read(tiles)
        there = FeatureReader(trunk.to("cuda"), None, batch=16).read(tiles)
        np.testing.assert_allclose(there, here, rtol=1e-3, atol=1e-4 * here.std())

    @pytest.mark.parametrize("sharing", ["none", "tokens"])
    @pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
    def test_in_bf16_they_are_near(self, name: str, sharing: str, toys: tuple[Section, ...]) -> None:
        tiles = Tiles(toys[:2], SPEC)
        here = FeatureReader(build(name, "float32", sharing), None).read(tiles)
        there = FeatureReader(build(name, "bf16", sharing).to("cuda"), None).read(tiles)
        assert (np.abs(there - here) / here.std(axis=0).clip(1e-3)).mean() < 0.1

    def test_of_a_convolutional_net_they_do_not_depend_on_the_batch(self, toys: tuple[Section, ...]) -> None:
        trunk, tiles = build("test_resnet", "float32", "none").to("cuda"), Tiles(toys[:1], SPEC)
        few, many = (FeatureReader(trunk, None, batch=batch).read(tiles) for batch in (3, 53))
        np.testing.assert_allclose(few, many, rtol=1e-4, atol=1e-5 * many.std())

    @pytest.mark.parametrize("sharing", ["none", "tokens"])
    def test_who_reads_ahead_changes_nothing(self, sharing: str, toys: tuple[Section, ...]) -> None:
        trunk, tiles = build("test_vit", "float32", sharing).to("cuda"), Tiles(toys[:1], SPEC)
        alone, ahead = (FeatureReader(trunk, None, batch=8, workers=workers).read(tiles) for workers in (0, None))
        np.testing.assert_array_equal(alone, ahead)


KINDS = {
    "frozen": {"image": {"precision": "float32"}, "optim": {"epochs": 4}},
    "convolutional net": {"image": {"train": "full"}, "optim": {"epochs": 4, "trunk_lr": 1e-3}},
    "chunks": {"image": {"train": "full"}, "optim": {"epochs": 4, "trunk_lr": 1e-3, "chunk": 12}},
}


class TestTraining(OnGpu):
    @pytest.mark.parametrize("kind", KINDS)
    def test_it_goes_as_on_a_cpu(self, kind: str, recipe: Recipe, tmp_path: Path) -> None:
        losses = []
        for place, asked in (("cpu", "true"), ("gpu", "false")):
            (tmp_path / f"{place}.yaml").write_text(yaml.safe_dump(recipe(tmp_path / place, KINDS[kind])))
            command = [sys.executable, "-m", "bleep", "train", "--config", str(tmp_path / f"{place}.yaml")]
            subprocess.run(command, check=True, env=os.environ | {"ACCELERATE_USE_CPU": asked})
            lines = (tmp_path / place / "log.jsonl").read_text().splitlines()
            losses.append([json.loads(line)["loss"] for line in lines])
        np.testing.assert_allclose(*losses, rtol=5e-3)
        assert losses[0][-1] < losses[0][0]

    @pytest.mark.parametrize("kind", KINDS)
    def test_twice_it_gives_the_same_bits(self, kind: str, recipe: Recipe, tmp_path: Path) -> None:
        one, other = (fit(Config.load(recipe(tmp_path / name, KINDS[kind]))) for name in "ab")
        assert one.device.type == "cuda"
        assert one.weights_digest() == other.weights_digest()

    @pytest.mark.parametrize("precision", ["bf16", "fp16"])
    def test_in_half_precision_it_learns_and_weights_stay_float32(self, precision: str, recipe: Recipe, tmp_path: Path) -> None:
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(recipe(tmp_path / "run", KINDS["convolutional net"])))
        launch = [sys.executable, "-m", "accelerate.commands.launch", "--mixed_precision", precision, "--num_processes", "1"]
        script = Path(__file__).parents[1] / "bleep" / "train.py"
        subprocess.run([*launch, "--num_machines", "1", "--dynamo_backend", "no", str(script), "--config",
                        str(tmp_path / "own.yaml")], check=True)  # fmt: skip
        lines = [json.loads(line)["loss"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
        assert lines[-1] < lines[0]
        weights = Run.load(tmp_path / "run").model.state_dict().values()
        assert all(value.dtype == torch.float32 for value in weights if value.is_floating_point())
        assert all(torch.isfinite(value).all() for value in weights)


def test_a_gpu_is_read_for_by_as_many_as_cores_and_shared_memory_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    there, room = torch.device("cuda"), 3_000_000_000
    monkeypatch.setattr(loading.os, "sched_getaffinity", lambda _: set(range(9)), raising=False)
    monkeypatch.setattr(loading.shutil, "disk_usage", lambda _: type("Usage", (), {"free": room})())
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if not loading.SHARED.is_dir():
        pytest.skip("this system has no /dev/shm")
    assert loading.readers(None, there, 1000, 20_000_000) == 8
    assert loading.readers(None, there, 5, 20_000_000) == 5
    assert loading.readers(None, there, 1, 20_000_000) == 0
    assert loading.readers(None, there, 1000, 100_000_000) == 5
    assert loading.readers(None, there, 1000, 10_000_000_000) == 0
    assert loading.readers(2, there, 1000, 10_000_000_000) == 2
    assert loading.readers(None, torch.device("cpu"), 1000, 1) == 0
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert loading.readers(None, there, 1000, 1) == 1


def test_more_pictures_than_are_held_decoded_are_read_by_one_process(
    files: Path, monkeypatch: pytest.MonkeyPatch, toys: tuple[Section, ...]
) -> None:
    from bleep.data.slides import PictureSlide, image

    monkeypatch.setattr(loading, "readers", lambda *_: 2)
    pictures = tuple(PictureSlide.open(files / "st2k" / toy.name / f"{toy.name}.jpg") for toy in toys)
    data, cpu = TensorDataset(torch.arange(4)), torch.device("cpu")

    def processes() -> int:
        return loading.loaded(data, [0, 1], cpu, workers=None, step_bytes=1, slides=pictures).num_workers

    assert processes() == 2
    monkeypatch.setattr(image, "HELD", len(pictures) - 1)
    assert processes() == 0
