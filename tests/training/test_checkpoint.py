"""What a training leaves on disk."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from bleep.config import OptimConfig
from bleep.errors import DataError
from bleep.training.checkpoint import CheckpointLog, Progress
from bleep.training.optimizers import build_optimizer


def stepped(seed: int = 0) -> tuple[nn.Module, torch.optim.AdamW]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    optimizer = build_optimizer(model, OptimConfig())
    for _ in range(3):
        model(torch.randn(5, 4)).pow(2).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def test_weights_optimizer_and_progress_come_back(tmp_path: Path) -> None:
    journal = CheckpointLog(tmp_path / "log.jsonl", tmp_path / "state")
    model, optimizer = stepped()
    journal.save(model, optimizer, Progress(4, 2, 0.123456789))
    other, fresh = stepped(1)
    assert journal.resume(other, fresh) == Progress(4, 2, 0.123456789)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    for mine, its in zip(model.parameters(), other.parameters(), strict=True):
        for key, value in optimizer.state[mine].items():
            assert torch.equal(fresh.state[its][key], value)


def test_without_a_state_training_starts(tmp_path: Path) -> None:
    assert CheckpointLog(tmp_path / "log", tmp_path / "state").resume(*stepped()) == Progress.start()


def test_a_state_of_another_model_or_damaged_is_refused(tmp_path: Path) -> None:
    journal = CheckpointLog(tmp_path / "log", tmp_path / "state")
    journal.save(*stepped(), Progress(0, 0, 0.0))
    other = nn.Linear(4, 3)
    with pytest.raises(DataError, match="cannot be resumed from"):
        journal.resume(other, build_optimizer(other, OptimConfig()))
    path = tmp_path / "state" / "last.safetensors"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be resumed from"):
        journal.resume(*stepped())


def test_lines_after_the_state_and_a_last_line_cut_short_are_dropped(tmp_path: Path) -> None:
    journal = CheckpointLog(tmp_path / "log.jsonl", tmp_path / "state")
    for epoch in range(4):
        journal.write({"epoch": epoch, "loss": 1.5})
    with journal.log.open("a") as file:
        file.write('{"epoch": 4, "lo')
    journal.forget_after(2)
    assert [json.loads(line)["epoch"] for line in journal.log.read_text().splitlines()] == [0, 1, 2]
    journal.forget_after(-1)
    assert journal.log.read_text() == ""
