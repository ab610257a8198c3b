"""What a measured spot is found by: its expression, its own tile, or the mean of both similarities."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bleep.cli import app
from bleep.config import Config
from bleep.data.section import Section
from bleep.errors import MismatchError
from bleep.predictors.retrieval import RetrievalPredictor, neighbor_table
from bleep.retrieval.embed import embed_keys, embed_queries, embed_spots, embed_tiles
from bleep.retrieval.reference import Reference, build
from bleep.runs import Run
from bleep.workflows.calibrate import _with_keys
from bleep.workflows.tissue import load_split


@pytest.fixture(scope="module")
def run(trained: dict[str, Path]) -> Run:
    return Run.load(trained["contrastive"])


def with_keys(run: Run, keys: str) -> Run:
    return replace(run, config=Config.load(run.config.dump(), {"index": {"keys": keys}}))


@pytest.fixture(scope="module")
def train(run: Run) -> tuple[Section, ...]:
    return load_split(run.config).train


def test_joined_keys_are_searched_by_the_mean_of_the_two_similarities(run: Run, train: tuple[Section, ...]) -> None:
    tiles = run.tiles(train[:1])
    asked = embed_tiles(run, tiles).vectors
    expected = (asked @ embed_spots(run, train).vectors.T + asked @ embed_tiles(run, run.tiles(train)).vectors.T) / 2
    found = embed_queries(run, tiles, "both") @ embed_keys(run, train, "both").T
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(embed_keys(run, train), embed_spots(run, train).vectors)
    np.testing.assert_array_equal(embed_queries(run, tiles), asked)


def test_by_its_own_image_a_training_spot_is_its_own_nearest(run: Run, train: tuple[Section, ...]) -> None:
    reference = build(with_keys(run, "image"), train)
    neighbors = reference.search(embed_queries(run, run.tiles(train), reference.keys), 1)
    np.testing.assert_allclose(neighbors.similarity[:, 0], 1, atol=1e-4)
    measured = reference.expression.rows(np.arange(len(reference)))
    np.testing.assert_allclose(reference.expression.rows(neighbors.rows[:, 0]), measured, atol=1e-6)


def test_a_reference_keeps_its_keys_through_growing_saving_and_predicting(
    run: Run, train: tuple[Section, ...], toys: tuple[Section, ...], tmp_path: Path
) -> None:
    both = build(with_keys(run, "both"), train)
    both.save(tmp_path / "reference")
    kept = Reference.load(tmp_path / "reference")
    assert kept.keys == "both"
    # The run that asks was not told of the keys: the index says them.
    tiles = run.tiles(toys[2:3])
    prediction = RetrievalPredictor(run, kept, 5).predict(tiles)
    similar = embed_queries(run, tiles, "both") @ both.vectors.T
    np.testing.assert_allclose(prediction.neighbors.similarity, -np.sort(-similar, axis=1)[:, :5], atol=1e-5)
    table = neighbor_table(prediction, kept)
    assert set(table["found_by"]) == {"both"}
    grown = kept.add(run, [replace(toys[2], name="new", patient="other")], allow_held_out=True)
    np.testing.assert_allclose(grown.vectors[-len(toys[2]) :], embed_keys(run, toys[2:3], "both"), atol=1e-5)
    assert grown.keys == "both"
    plain = build(run, train)
    assert plain.keys == "expression"
    assert "found_by" not in neighbor_table(RetrievalPredictor(run, plain, 5).predict(tiles), plain)
    with pytest.raises(MismatchError, match="finds spots by both, this one by expression"):
        plain.merge(kept)


def test_an_index_built_with_other_keys_by_a_flag_is_queried_and_calibrated_by_them(
    run_copy: Any, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = run_copy()
    assert app.main(["index", "build", "--run", str(folder), "--index.keys", "both"]) == 0
    assert app.main(["index", "info", "--run", str(folder)]) == 0
    assert "both" in capsys.readouterr().out
    assert app.main(["query", "--run", str(folder), "--images", str(files / "st2k" / "toy3"), "--out", "p.csv"]) == 0
    assert (tmp_path / "p.neighbours.csv").read_text().splitlines()[1].endswith(",both")
    run = Run.load(folder)
    assert run.config.index.keys == "expression"
    assert _with_keys(run, folder).config.index.keys == "both"
