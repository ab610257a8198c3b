"""A run, reference, calibration and feature cache made by version 0.1 load and predict what they predicted then."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bleep.features import FeatureReader
from bleep.predictors.calibration import calibration_of, predictors_of
from bleep.retrieval.reference import Reference, verify
from bleep.runs import Run
from bleep.workflows.tissue import load_split

ARCHIVE = Path(__file__).parent / "archives" / "run-v0.1"


@pytest.fixture
def archived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The archive where it may be written to, as the working folder: its settings name tissue and cache relative to it."""
    shutil.copytree(ARCHIVE, tmp_path / "v0.1")
    monkeypatch.chdir(tmp_path / "v0.1")
    return tmp_path / "v0.1" / "run-both"


def test_an_archived_run_has_the_panel_and_the_sections_it_had(archived: Path) -> None:
    expected = json.loads((ARCHIVE / "expected.json").read_text())
    run = Run.load(archived)
    assert run.panel.digest() == expected["panel"]
    assert [section.digest() for section in load_split(run.config).test] == expected["sections"]


def test_the_features_kept_by_version_0_1_are_found_under_the_same_keys(
    archived: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("features were computed again")

    monkeypatch.setattr(FeatureReader, "_compute", refuse)
    run = Run.load(archived)
    divided = load_split(run.config)
    features = FeatureReader.of(run.model.trunk, run.model.standardize, run.config)
    found = features.read(run.tiles(divided.train))
    assert len(found) == sum(len(section) for section in divided.train)
    assert np.isfinite(found).all()


def test_every_predictor_of_an_archived_run_predicts_what_it_predicted(archived: Path) -> None:
    expected = np.load(ARCHIVE / "expected.npz")
    run = Run.load(archived)
    reference = Reference.load(archived / "reference")
    verify(archived / "reference")
    tiles = run.tiles(load_split(run.config).test)
    predictors = predictors_of(run, reference, calibration_of(run, archived))
    names = {name for name in expected.files if "/" not in name}
    assert names <= set(predictors)
    for name in names:
        prediction = predictors[name].predict(tiles)
        # The same bits on the same processor; others round the last digit of a float32 otherwise. What the version of the
        # archive let fall below 0, which no logarithm of counts does, is 0 today.
        np.testing.assert_allclose(prediction.expression, np.maximum(expected[name], 0), atol=2e-6, err_msg=name)
        for bound in ("lower", "upper"):
            if f"{name}/{bound}" in expected.files:
                np.testing.assert_allclose(
                    getattr(prediction, bound), np.maximum(expected[f"{name}/{bound}"], 0), atol=2e-6, err_msg=name
                )
