"""Precision is chosen by what the machine has and how fast that is, and kept with the run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from bleep.config import Config, ImageConfig
from bleep.data.panel import GenePanel
from bleep.data.readers import read_sections
from bleep.data.tiles import Tiles, TileSpec
from bleep.evaluation.metrics import pearson
from bleep.features import FeatureReader
from bleep.models import factory as precision
from bleep.models.factory import build_trunk, resolve_precision
from bleep.runs import Run
from bleep.workflows import fit as fitting
from bleep.workflows.fit import fit

WEIGHTS = "vit_small_patch14_saliency.fp16.safetensors"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _measured_anew() -> None:
    precision.fast_bf16.cache_clear()


@pytest.mark.parametrize(("units", "ratio", "chosen"), [(True, 3.0, "bf16"), (True, 1.2, "float32"), (False, 3.0, "float32")])
def test_bfloat16_is_taken_where_it_has_units_and_is_much_faster(
    monkeypatch: pytest.MonkeyPatch, *, units: bool, ratio: float, chosen: str
) -> None:
    monkeypatch.setattr(precision, "_has_units", lambda device: units)
    monkeypatch.setattr(precision, "_seconds", lambda device, dtype: ratio if dtype == torch.float32 else 1.0)
    assert resolve_precision(ImageConfig(), CPU) == chosen


@pytest.mark.parametrize(("ratio", "chosen"), [(3.0, "bf16"), (1.2, "float32")])
def test_where_torch_does_not_tell_its_units_the_measurement_decides(
    monkeypatch: pytest.MonkeyPatch, ratio: float, chosen: str
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(precision, "_seconds", lambda device, dtype: ratio if dtype == torch.float32 else 1.0)
    assert resolve_precision(ImageConfig(), CPU) == chosen


def test_what_was_asked_for_stays_and_a_trunk_that_learns_is_left_to_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "fast_bf16", lambda device: True)
    assert resolve_precision(ImageConfig(precision="float32"), CPU) == "float32"
    assert resolve_precision(ImageConfig(train="full"), CPU) == "float32"


def test_a_measurement_gives_a_time_of_each_precision() -> None:
    assert all(0 < precision._seconds("cpu", dtype) < 60 for dtype in (torch.float32, torch.bfloat16))


def test_a_run_keeps_its_precision_on_another_machine(
    recipe: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.load(recipe(tmp_path / "run", {"image": {"precision": "auto"}, "optim": {"epochs": 1}}))
    monkeypatch.setattr(fitting, "resolve_precision", lambda image, device: "bf16")
    fit(config)
    monkeypatch.setattr(fitting, "resolve_precision", lambda image, device: "float32")
    assert Run.load(tmp_path / "run").config.image.precision == "bf16"
    assert fit(config, resume=True).config.image.precision == "bf16"


def test_a_run_that_notes_no_precision_computed_in_float32(run_copy: Callable[..., Path]) -> None:
    folder = run_copy()
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("  precision: float32\n", ""))
    assert Run.load(folder).config.image.precision == "float32"


@pytest.mark.data
@pytest.mark.slow
def test_bfloat16_gives_the_same_scores_on_real_tissue(shared: Path) -> None:
    config = Config.load("configs/her2st-c.yaml", {"data": {"root": str(shared / "data" / "her2st"), "sections": ["C2"]}})
    (section,) = read_sections(config.data, config.cache)
    panel = GenePanel.fit((section,), config.panel)
    tiles, values = Tiles((section,), TileSpec(224, (154.56,))), panel.values(section)
    fitted = np.arange(len(section)) % 2 == 0
    image = {"trunk": config.image.trunk, "layer": 5, "weights": str(shared / "weights" / WEIGHTS)}
    scores = []
    for name in ("float32", "bf16"):
        trunk, _ = build_trunk(ImageConfig.model_validate(image | {"precision": name}), 224)
        features = FeatureReader(trunk, None).read(tiles)
        seen = (features - features[fitted].mean(axis=0)) / features[fitted].std(axis=0)
        predicted = Ridge(alpha=1000.0).fit(seen[fitted], values[fitted]).predict(seen[~fitted])
        scores.append(float(np.nanmean(pearson(predicted, values[~fitted]))))
    assert scores[0] > 0.1
    assert abs(scores[0] - scores[1]) < 0.002
