"""The floors that are asked for: stains, and a trunk whose weights are random."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import bleep
from bleep.cli import app
from bleep.evaluation.report import FLOORS
from bleep.models.stored import StoredTrunk
from bleep.predictors.baselines import RidgePredictor
from bleep.workflows.experiment import Experiment

MORE = {"ridge on stains", "robust ridge on textures", "ridge on random trunk"}


def test_all_floors_are_scored_beside_the_others(run_copy: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_copy()
    assert app.main(["evaluate", "--run", str(folder), "--all-floors"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in FLOORS)
    table = bleep.evaluate([folder])
    assert not MORE & set(table.rows.index)


def test_a_trunk_of_random_weights_is_drawn_by_the_runs_seed_and_is_not_its_own(run_copy: Callable[..., Path]) -> None:
    experiment = Experiment(run_copy())
    train, test = experiment.tiles(experiment.split.train), experiment.tiles(experiment.split.test)
    found = [RidgePredictor.fit_random(experiment.run, train).predict(test).expression for _ in range(2)]
    own = RidgePredictor.fit(experiment.run, train).predict(test).expression
    np.testing.assert_array_equal(*found)
    assert not np.allclose(found[0], own)
    assert isinstance(experiment.run.model.trunk, StoredTrunk)


def test_labels_have_no_such_floors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["evaluate", "--run", str(tmp_path), "--all-floors", "--protocol", "dacon"]) == 2
    assert "--all-floors" in capsys.readouterr().err
