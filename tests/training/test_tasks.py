"""Loss and gradients do not depend on the number of processes."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

SCRIPT = Path(__file__).with_name("two_processes.py")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("two_processes", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> dict:
    out = tmp_path_factory.mktemp("two")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, str(SCRIPT), str(out)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return torch.load(out / "results.pt")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hard", "projected", "inputs", "regression"])
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
