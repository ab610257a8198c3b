"""How trunks are tuned: block by block, by adapters, averaged, compiled, in lower precision."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from bleep.config import Config
from bleep.errors import ConfigError
from bleep.features import trunk_digest
from bleep.models.factory import build_trunk
from bleep.runs import Run
from bleep.training.checkpoint import CheckpointLog
from bleep.workflows.fit import fit

LORA = {"image": {"train": "lora", "trunk": "test_vit", "lora_rank": 2}, "optim": {"trunk_lr": 1e-2, "epochs": 2}}


def changed(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in one.items() if not torch.equal(value.cpu(), other[name].cpu())}


def test_blocks_begin_to_learn_one_after_another_from_the_end(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    save = CheckpointLog.save

    def saving(self: CheckpointLog, model: Any, *rest: Any) -> None:
        seen.append({name: value.clone() for name, value in model.model.trunk.state_dict().items()})
        save(self, model, *rest)

    monkeypatch.setattr(CheckpointLog, "save", saving)
    over = {"image": {"train": "gradual", "unfreeze": 2}, "optim": {"epochs": 6, "trunk_lr": 1e-3, "schedule": "constant"}}
    config = Config.load(recipe(tmp_path / "out", over))
    torch.manual_seed(config.seed)
    start = build_trunk(config.image, 32)[0].state_dict()
    fit(config)
    blocks = [{name.split(".")[1] for name in changed(start, state)} for state in seen]
    assert blocks == [set(), set(), {"layer4"}, {"layer4"}, {"layer4", "layer3"}, {"layer4", "layer3"}]


def test_adapters_alone_learn_and_the_run_comes_back(recipe: Any, tmp_path: Path) -> None:
    config = Config.load(recipe(tmp_path / "out", LORA))
    torch.manual_seed(config.seed)
    start = build_trunk(config.image, 32)[0]
    run = fit(config)
    moved = changed(start.state_dict(), run.model.trunk.state_dict())
    assert moved
    assert all(".lora_" in name for name in moved)
    assert all(".attn." in name for name in moved)
    kept = load_file(tmp_path / "out" / "state" / "last.safetensors")
    in_trunk = {name for name in kept if name.startswith("model.") and ".trunk." in name}
    assert in_trunk
    assert all(".lora_" in name for name in in_trunk)
    assert Run.load(tmp_path / "out").weights_digest() == run.weights_digest()


def test_new_adapters_change_nothing() -> None:
    shown = torch.randint(0, 256, (2, 1, 3, 64, 64), dtype=torch.uint8)
    features = []
    for train in ("frozen", "lora"):
        torch.manual_seed(0)
        config = Config.load({"image": {"trunk": "test_vit", "weights": "random", "train": train}})
        features.append(build_trunk(config.image, 64)[0](shown))
    torch.testing.assert_close(features[0], features[1])


def test_adapters_need_attention() -> None:
    config = Config.load({"image": {"trunk": "test_resnet", "weights": "random", "train": "lora"}})
    with pytest.raises(ConfigError, match="test_resnet has no attention"):
        build_trunk(config.image, 64)


def test_adapters_that_the_attention_would_go_past_are_refused() -> None:
    config = Config.load({"image": {"trunk": "beit_base_patch16_224", "weights": "random", "train": "lora", "layer": 0}})
    with pytest.raises(ConfigError, match="goes past adapters"):
        build_trunk(config.image, 32)


def test_the_average_is_scored_and_kept(recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[dict[str, torch.Tensor]] = []
    save = CheckpointLog.save

    def saving(self: CheckpointLog, model: Any, optimizer: Any, progress: Any, average: dict[str, torch.Tensor]) -> None:
        held.append({name: value.clone() for name, value in average.items()})
        save(self, model, optimizer, progress, average)

    monkeypatch.setattr(CheckpointLog, "save", saving)
    plain = fit(Config.load(recipe(tmp_path / "plain")))
    averaged = fit(Config.load(recipe(tmp_path / "averaged", {"optim": {"ema": 0.9}})))
    assert averaged.weights_digest() != plain.weights_digest()
    for name, parameter in averaged.model.named_parameters():
        if parameter.requires_grad:
            assert torch.equal(parameter, held[-1][f"model.{name}"])


@pytest.mark.slow
def test_compiling_keeps_the_names_of_weights_and_nearly_the_loss(
    recipe: Any, repository: Path, warm: Path, tmp_path: Path
) -> None:
    losses, names = [], []
    for compiled in (False, True):
        out = tmp_path / str(compiled)
        image = {"train": "full", "layer": 0}
        over = {"image": image, "head": {"dropout": 0.0}, "optim": {"epochs": 1, "compile": compiled}}
        trained_by_path(warm, repository, recipe(out, over), tmp_path)
        losses.append(json.loads((out / "log.jsonl").read_text().splitlines()[0])["loss"])
        names.append(set(load_file(out / "model.safetensors")))
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert names[0] == names[1]


@pytest.mark.slow
def test_in_bfloat16_training_goes_and_weights_stay_float32(recipe: Any, repository: Path, warm: Path, tmp_path: Path) -> None:
    losses = []
    for precision in ("no", "bf16"):
        out = tmp_path / precision
        over = {"image": {"train": "full"}, "head": {"dropout": 0.0}, "optim": {"epochs": 1}}
        trained_by_path(warm, repository, recipe(out, over), tmp_path, ACCELERATE_MIXED_PRECISION=precision)
        losses.append(json.loads((out / "log.jsonl").read_text().splitlines()[0])["loss"])
        assert {value.dtype for value in load_file(out / "model.safetensors").values() if value.is_floating_point()} == {
            torch.float32
        }
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


PRECISE = """
import sys; sys.path.insert(0, sys.argv[1])
import torch
from accelerate import Accelerator
from two_processes import make
accelerator = Accelerator(cpu=True, mixed_precision="bf16")
for kind in ("inputs", "regression"):
    task, batch = make(kind)
    wrapped = accelerator.prepare(task)
    inside = []
    for module in task.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda m, i, o: inside.append(o.dtype))
    encoded = wrapped(batch)
    assert torch.bfloat16 in inside, inside
    assert {part.dtype for part in encoded if part.is_floating_point()} == {torch.float32}
    assert task.loss(encoded).dtype == torch.float32
"""


@pytest.mark.slow
def test_in_bfloat16_the_loss_is_taken_in_float32(warm: Path) -> None:
    words = [str(warm / "python"), "-c", PRECISE, str(Path(__file__).parent)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def trained_by_path(warm: Path, repository: Path, tree: dict[str, Any], where: Path, **environment: str) -> None:
    (where / "recipe.yaml").write_text(yaml.safe_dump(tree))
    words = [str(warm / "python"), str(repository / "bleep" / "train.py"), "--config", str(where / "recipe.yaml")]
    shared = {**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(words, env=shared, cwd=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_trunk_with_adapters_has_a_digest_of_its_own() -> None:
    digests = set()
    for train in ("frozen", "lora"):
        torch.manual_seed(0)
        digests.add(
            trunk_digest(
                build_trunk(Config.load({"image": {"trunk": "test_vit", "weights": "random", "train": train}}).image, 64)[0]
            )
        )
    assert len(digests) == 2
