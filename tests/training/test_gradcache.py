"""Gradients in chunks are those of the whole batch."""

from pathlib import Path
from types import ModuleType

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from bleep.training.optimizers import backward

SCRIPT = Path(__file__).with_name("two_processes.py")
KINDS = (
    *("hard", "projected", "inputs", "siglip", "near", "alike", "siglip near alike"),
    *("both", "both near", "regression", "regression by genes", "regression of counts", "both by genes"),
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", [1, 5, 8, 64])
def test_chunks_of_any_size_give_loss_and_gradients_of_the_whole(kind: str, chunk: int, script: ModuleType) -> None:
    accelerator = Accelerator(cpu=True)
    results = []
    for size in (None, chunk):
        task, batch = script.make(kind)
        # In double precision: in single, chunks round otherwise than the whole, by more on some processors than on others.
        task, batch = task.double(), batch._replace(inputs=batch.inputs.double(), expression=batch.expression.double())
        loss = backward(task, task.loss, batch, size, accelerator)
        results.append((loss, script.gradients(task)))
    assert set(script.KINDS) == set(KINDS)
    (whole, expected), (chunked, found) = results
    torch.testing.assert_close(chunked, whole)
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")


def test_both_passes_draw_the_same_dropout(script: ModuleType) -> None:
    seen: list[torch.Tensor] = []
    task, batch = script.make("hard")
    task.model.image_head.refine.append(nn.Dropout(0.5))
    task.model.image_head.refine[-1].register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    torch.manual_seed(3)
    backward(task, task.loss, batch, 4, Accelerator(cpu=True))
    first, second = seen[:3], seen[3:]
    assert len(second) == 3
    for one, two in zip(first, second, strict=True):
        assert (one == 0).any()
        torch.testing.assert_close(one, two)
    assert not torch.equal(first[0] == 0, first[1] == 0)


def test_only_a_chunk_is_held_for_the_way_back(script: ModuleType) -> None:
    task, batch = script.make("hard")
    held: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(len(t) if t.ndim else 0) or t, lambda t: t):
        backward(task, task.loss, batch, 3, Accelerator(cpu=True))
    features = [rows for rows in held if rows > 0]
    assert features.count(12) < features.count(3)
