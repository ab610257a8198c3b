"""What training shows the encoders: jittered stains, hidden genes, and features over several views at prediction."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bleep.config import Config
from bleep.models.image import ImageTrunk
from bleep.models.models import DualEncoder
from bleep.retrieval.embed import tile_features
from bleep.runs import Run
from bleep.training.checkpoint import CheckpointLog
from bleep.workflows.evaluate import evaluate
from bleep.workflows.fit import fit
from bleep.workflows.query import build_reference
from bleep.workflows.tissue import load_split

LEARNS = {"image": {"train": "full"}, "optim": {"epochs": 2, "trunk_lr": 1e-3}}


def digest(recipe: Any, out: Path, *over: dict[str, Any]) -> str:
    return fit(Config.load(recipe(out, *over))).weights_digest()


def test_jitter_changes_a_trunk_that_learns_and_nothing_under_a_frozen_one(recipe: Any, tmp_path: Path) -> None:
    jitter = {"optim": {"stain": 0.1}}
    frozen, same = digest(recipe, tmp_path / "a"), digest(recipe, tmp_path / "b", jitter)
    learning, other = digest(recipe, tmp_path / "c", LEARNS), digest(recipe, tmp_path / "d", LEARNS, jitter)
    assert frozen == same
    assert learning != other


def test_hidden_genes_change_a_contrastive_run_and_no_regression(recipe: Any, tmp_path: Path) -> None:
    hidden, regression = {"optim": {"gene_dropout": 0.3}}, {"loss": {"task": "regression"}}
    assert digest(recipe, tmp_path / "a") != digest(recipe, tmp_path / "b", hidden)
    assert digest(recipe, tmp_path / "c", regression) == digest(recipe, tmp_path / "d", regression, hidden)


def test_hidden_genes_are_the_training_means_whatever_the_scale(recipe: Any, tmp_path: Path) -> None:
    over = {"panel": {"scale": "minmax"}, "optim": {"gene_dropout": 0.3}}
    run = fit(Config.load(recipe(tmp_path / "run", over)))
    values = np.concatenate([run.panel.apply(section) for section in load_split(run.config).train])
    assert values.mean(axis=0).min() > 0.05
    assert isinstance(run.model, DualEncoder)
    np.testing.assert_allclose(run.model.expression_encoder.hide.mean.cpu().numpy(), values.mean(axis=0), rtol=1e-4)


@pytest.mark.slow
def test_chunks_see_the_tiles_that_the_whole_step_sees(recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, seen = ImageTrunk.forward, Counter[bytes]()

    def watched(self: ImageTrunk, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            seen.update(tile.cpu().numpy().tobytes() for tile in images)
        return forward(self, images)

    monkeypatch.setattr(ImageTrunk, "forward", watched)
    over = {**LEARNS, "optim": {**LEARNS["optim"], "stain": 0.2, "epochs": 2}}
    counts = []
    for chunk in (None, 5):
        seen.clear()
        fit(Config.load(recipe(tmp_path / str(chunk), over, {"optim": {"chunk": chunk}})))
        counts.append(dict(seen))
    whole, chunked = counts
    assert len(whole) > 100
    assert chunked == {tile: 2 * times for tile, times in whole.items()}, "each chunk is encoded twice"


@pytest.mark.slow
def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = (LEARNS, {"optim": {"epochs": 4, "stain": 0.1, "gene_dropout": 0.3, "chunk": 12}})
    whole = digest(recipe, tmp_path / "whole", *over)
    broken, write = Config.load(recipe(tmp_path / "broken", *over)), CheckpointLog.write

    def stop(self: CheckpointLog, line: dict[str, float | int]) -> None:
        if line["epoch"] == 2:
            raise KeyboardInterrupt
        write(self, line)

    monkeypatch.setattr(CheckpointLog, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        fit(broken)
    monkeypatch.setattr(CheckpointLog, "write", write)
    torch.manual_seed(99)
    assert fit(broken, resume=True).weights_digest() == whole


def test_a_run_predicts_and_fits_its_floors_over_the_views_of_its_settings(recipe: Any, tmp_path: Path) -> None:
    config = Config.load(recipe(tmp_path / "run", {"query": {"views": 8}}))
    build_reference(fit(config)).save(tmp_path / "run" / "reference")
    run = Run.load(tmp_path / "run")
    test = run.tiles(load_split(config).test)
    images = torch.from_numpy(test.images(range(len(test))))
    with torch.no_grad():
        turns = [images.rot90(quarter, (3, 4)) for quarter in range(4)]
        expected = torch.stack([run.model.trunk(each) for turn in turns for each in (turn, turn.flip(4))]).mean(dim=0)
    np.testing.assert_allclose(tile_features(run, test), expected.numpy(), rtol=1e-3, atol=1e-4)
    table = evaluate([tmp_path / "run"])
    assert "mean over 8 views of a tile" in table.facts["trunk"]
    assert {"retrieval", "ridge", "image-kNN"} <= {str(name).split(",")[0] for name in table.rows.index}


def test_a_run_standardised_by_section_holds_the_training_tiles_numbers_without_using_them(recipe: Any, tmp_path: Path) -> None:
    run = fit(Config.load(recipe(tmp_path / "run", {"image": {"standardize": "section"}})))
    layer = Run.load(tmp_path / "run").model.standardize
    assert layer.fitted
    features = torch.randn(5, len(layer.mean))
    torch.testing.assert_close(layer(features), features, rtol=0, atol=0)
    torch.testing.assert_close(layer.mean, run.model.standardize.mean.cpu())
