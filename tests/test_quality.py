"""What the whole is good for: toy tissue up to its ceiling, real tissue above its floors."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bleep.config import Config
from bleep.data.toy import noise_ceiling
from bleep.runs import REFERENCE
from bleep.workflows.evaluate import evaluate
from bleep.workflows.fit import fit
from bleep.workflows.query import build_reference
from bleep.workflows.tissue import load_split


@pytest.mark.slow
def test_toy_tissue_is_predicted_up_to_its_ceiling(warm: Path, tmp_path: Path) -> None:
    # In a process of its own: as users run it, and without the shape checks that cost several minutes here.
    done = subprocess.run([warm / "bleep", "demo"], cwd=tmp_path, capture_output=True, text=True, check=True)
    found = json.loads((tmp_path / "runs/demo/evaluation.json").read_text())["predictors"]
    pcc = {name: scores["pcc"] for name, scores in found.items()}
    ceiling = float(re.search(r"ceiling: (\S+)", done.stdout).group(1))  # type: ignore[union-attr]
    assert pcc["retrieval"] > 0.87 * ceiling
    assert pcc["regression"] > 0.80 * ceiling
    assert pcc["ridge on colour"] < 0.6 * ceiling
    assert abs(pcc["mean"]) < 1e-9
    kept = json.loads((Path(__file__).parent / "data/archives/scores.json").read_text())["toy"]
    # The trunk learns, so that another order of sums is another trunk; six numbers of colour do not.
    assert pcc == pytest.approx(pcc | kept, abs=0.02)
    assert pcc["ridge on colour"] == pytest.approx(kept["ridge on colour"], abs=0.001)
    assert max(pcc.values()) < ceiling + 0.02, "nothing beats the oracle: if it does, the test tissue leaked"
    assert (tmp_path / "runs/demo/predictions.h5ad").exists()


def test_the_ceiling_is_of_the_noise_alone() -> None:
    (toy4,) = load_split(Config.load("toy")).test
    assert 0.6 < np.mean(noise_ceiling(toy4)) < 0.9


@pytest.mark.slow
@pytest.mark.data
def test_real_bulbs_of_another_mouse_are_predicted_better_than_by_the_floors(shared: Path, tmp_path: Path) -> None:
    config = Config.load(
        Path(__file__).parents[1] / "configs/mob-mouse.yaml",
        Path(__file__).parents[1] / "configs/backbones/efficientnet-lite0.yaml",
        {
            "data": {"root": str(shared / "data/mob_st2k")},
            "image": {"weights": str(shared / "weights/tf_efficientnet_lite0.safetensors"), "layer": 3},
            "tiles": {"pixels": 96},
            "out": str(tmp_path / "run"),
            "cache": str(tmp_path / "cache"),
        },
    )
    run = fit(config)
    build_reference(run).save(tmp_path / "run" / REFERENCE)
    table = evaluate([tmp_path / "run"])
    assert table.leak.status == "none"
    assert table.rows.loc["retrieval", "pcc"] > 0.24
    assert table.rows.loc["retrieval", "pcc"] > table.rows.loc["image-kNN", "pcc"]
    assert table.rows.loc["ridge", "pcc"] > 0.2
