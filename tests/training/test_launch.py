"""The command users type."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
QUICK = ["--image.trunk", "test_resnet", "--image.train", "frozen", "--tiles.pixels", "32", "--optim.epochs", "1"]


@pytest.mark.slow
def test_accelerate_launches_the_training_by_path_and_the_other_two_commands_follow(tmp_path: Path) -> None:
    tools = Path(sys.executable).parent
    quiet = os.environ | {"ACCELERATE_USE_CPU": "1", "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}

    def do(*command: object) -> str:
        words = [str(word) for word in command]
        return subprocess.run(words, cwd=tmp_path, env=quiet, capture_output=True, text=True, check=True).stdout

    said = do("accelerate", "launch", REPOSITORY / "bleep/train.py", "--config", REPOSITORY / "configs/toy.yaml", *QUICK)
    assert "runs/toy: trained on 650 spots" in said
    do("bleep", "data", "toy", "made")
    assert "runs/toy/reference: 650 spots" in do("bleep", "index", "build")
    assert "predictions.h5ad: 436 tiles x 60 genes" in do("bleep", "query", "--images", "made/folder/test/", "--mpp", "1")
    assert (tmp_path / "predictions.h5ad").is_file()
    assert (tmp_path / "predictions.neighbours.csv").is_file()
