"""The files under configs/accelerate are what accelerate reads."""

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file

from bleep.training.loop import EpochBatches

KINDS = {"cpu": (1, 1), "one-gpu": (1, 1), "multi-gpu": (4, 1), "multi-node": (8, 2)}
"""Processes and machines."""


def test_each_file_is_listed_here(repository: Path) -> None:
    assert {path.stem for path in (repository / "configs" / "accelerate").glob("*.yaml")} == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_accelerate_reads_them_and_the_default_step_can_be_shared(name: str, repository: Path) -> None:
    found = load_config_from_file(str(repository / "configs" / "accelerate" / f"{name}.yaml"))
    assert (found.num_processes, found.num_machines) == KINDS[name]
    assert found.use_cpu == (name == "cpu")
    assert found.mixed_precision == ("no" if name == "cpu" else "bf16")
    EpochBatches(1000, 256, 0, found.num_processes - 1, found.num_processes)
