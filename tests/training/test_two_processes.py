"""The training command on two CPU processes gives the run of one."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

REPORT = """
import atexit, os
def tell():
    import sys
    if "accelerate" in sys.modules and "RANK" in os.environ:
        from accelerate import PartialState
        path = os.environ["TELL"] + "/rank" + os.environ["RANK"]
        with open(path, "w") as file:
            file.write(str(PartialState().num_processes))
atexit.register(tell)
"""
"""Each process says at its end how many there were."""


CASES: dict[str, dict[str, Any]] = {
    "contrastive": {},
    "regression": {"loss": {"task": "regression"}},
    "gradual unfreezing and averaged weights": {
        "image": {"train": "gradual", "unfreeze": 2, "layer_decay": 0.5},
        "optim": {"trunk_lr": 1e-3, "ema": 0.9},
    },
    "adapters and averaged weights": {
        "image": {"train": "lora", "trunk": "test_vit", "lora_rank": 2},
        "optim": {"trunk_lr": 1e-2, "ema": 0.9},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_the_run_of_one(case: str, recipe: Any, repository: Path, warm: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(REPORT)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    shared = {**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "TELL": str(tmp_path)}
    for count in (1, 2):
        out = tmp_path / f"run{count}"
        tree = recipe(out, {"head": {"dim": 16, "dropout": 0.0}, "optim": {"epochs": 4, "batch": 32}}, CASES[case])
        (tmp_path / f"{count}.yaml").write_text(yaml.safe_dump(tree))
        launch = [warm / "python", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command = [*(launch if count == 2 else [warm / "python"]), str(repository / "bleep" / "train.py")]
        command += ["--config", str(tmp_path / f"{count}.yaml")]
        done = subprocess.run(command, env=shared, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("next:") == 1
    assert [(tmp_path / f"rank{rank}").read_text() for rank in (0, 1)] == ["2", "2"]
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / f"run{count}" / "log.jsonl").read_text().splitlines()]
        for count in (1, 2)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][-1] < losses[0][0]
    one, two = (load_file(tmp_path / f"run{count}" / "model.safetensors") for count in (1, 2))
    assert set(one) == set(two)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
