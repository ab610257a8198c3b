"""Queries block by block: the same as at once, stopped and resumed, and never mixed with another query."""

import json
import logging
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

from bleep.data.prediction import Prediction
from bleep.data.readers import annotated
from bleep.data.section import Section
from bleep.data.slides import ArraySlide, tiff, zarr
from bleep.data.tiles import Tiles
from bleep.errors import ConfigError, DataError, MismatchError, StoppedError
from bleep.predictors import Predictor
from bleep.predictors.retrieval import neighbor_table
from bleep.runs import Run
from bleep.workflows.experiment import Experiment
from bleep.workflows.fit import fit
from bleep.workflows.query import predict
from bleep.workflows.slides import open_slides
from bleep.workflows.stream import Output, Query, stream, write_query
from bleep.workflows.unseen import warn_of_trained


@pytest.fixture(scope="module")
def query(trained: dict[str, Path], toys: tuple[Section, ...]) -> Query:
    """Two sections that were not trained on, by retrieval."""
    run = Run.load(trained["contrastive"])
    experiment = Experiment.of(run, trained["contrastive"])
    predictor, reference = experiment.select(), experiment.reference
    return Query(run, predictor, reference, run.tiles(toys[2:]), {"k": None})


class Counting:
    """A predictor that counts what it was asked, and may fail."""

    name = "retrieval"

    def __init__(self, inner: Predictor, failing_at: int | None = None, error: BaseException | None = None) -> None:
        self.inner, self.calls, self.failing_at, self.error = inner, 0, failing_at, error

    def predict(self, tiles: Tiles) -> Prediction:
        self.calls += 1
        if self.calls == self.failing_at:
            assert self.error is not None
            raise self.error
        return self.inner.predict(tiles)


@pytest.mark.parametrize("task", ["contrastive", "regression"])
@pytest.mark.parametrize("rows", [1, 13, 1000])
def test_joined_blocks_are_the_prediction_at_once(
    rows: int, task: str, trained: dict[str, Path], toys: tuple[Section, ...]
) -> None:
    run = Run.load(trained[task])
    predictor = Experiment.of(run, trained[task]).select()
    tiles = run.tiles((toys[2].subset(np.arange(20)), toys[3]))
    blocks = list(stream(run, predictor, tiles, rows))
    whole = predict(run, predictor, tiles)
    assert max(len(block.spots) for block in blocks) <= rows
    found, expected = np.concatenate([block.expression for block in blocks]), whole.expression
    if whole.neighbors is not None:
        # Products of other shapes round otherwise, and may swap the last neighbour for another that is as similar.
        joined = [block.neighbors for block in blocks if block.neighbors is not None]
        similarity = np.concatenate([neighbors.similarity for neighbors in joined])
        np.testing.assert_allclose(similarity, whole.neighbors.similarity, atol=1e-5)
        same = (np.concatenate([neighbors.rows for neighbors in joined]) == whole.neighbors.rows).all(axis=1)
        assert same.mean() > 0.9
        found, expected = found[same], expected[same]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    pd.testing.assert_frame_equal(pd.concat([block.spots for block in blocks]), whole.spots)
    for block in blocks:
        assert block.facts == whole.facts
        assert block.spots["section"].nunique() == 1


def test_a_run_that_standardises_by_section_streams_the_same(recipe: Any, toys: tuple[Section, ...], tmp_path: Path) -> None:
    from bleep.config import Config

    over = {"image": {"trunk": "test_resnet", "weights": "random", "standardize": "section"}, "loss": {"task": "regression"}}
    run = fit(Config.load(recipe(tmp_path / "run", over)))
    predictor = Experiment.of(run, tmp_path / "run").select()
    tiles = run.tiles((toys[2], toys[3]))
    whole = predictor.predict(tiles).expression
    found = np.concatenate([block.expression for block in stream(run, predictor, tiles, 9)])
    np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1e-5)
    alone = predictor.predict(tiles.subset(np.arange(9))).expression
    assert np.abs(alone - whole[:9]).max() > 1e-3


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr", ".csv", ".parquet"])
def test_the_file_and_the_table_of_neighbours_are_those_of_the_whole(suffix: str, query: Query, tmp_path: Path) -> None:
    output = Output(tmp_path / f"p{suffix}", rows=20)
    written = write_query(query, output)
    whole = predict(query.run, query.predictor, query.tiles)
    if suffix in (".h5ad", ".zarr"):
        found = (anndata.read_h5ad if suffix == ".h5ad" else anndata.read_zarr)(written[0])
        values, ids = np.asarray(found.X), list(found.obs_names)
        assert ids == list(query.tiles.ids)
        np.testing.assert_allclose(found.layers["spread"], whole.spread, rtol=1e-3, atol=1e-5)
    else:
        values = (pd.read_csv if suffix == ".csv" else pd.read_parquet)(written[0])[list(whole.genes)].to_numpy()
    np.testing.assert_allclose(values, whole.expression, rtol=1e-4, atol=1e-5)
    table = (pd.read_parquet if suffix == ".parquet" else pd.read_csv)(written[1])
    assert query.reference is not None
    expected = neighbor_table(whole, query.reference)
    assert list(table.columns) == list(expected.columns)
    assert list(table["spot"]) == list(expected["spot"])
    np.testing.assert_allclose(table["weight"], expected["weight"], rtol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written)


def test_a_stopped_query_goes_on_where_it_was_and_gives_the_same_file(query: Query, tmp_path: Path) -> None:
    failing = Counting(query.predictor, 4, KeyboardInterrupt())
    first = Output(tmp_path / "p.h5ad", rows=20)
    with pytest.raises(KeyboardInterrupt):
        write_query(replace(query, predictor=failing), first)
    assert not (tmp_path / "p.h5ad").exists()
    again = Counting(query.predictor)
    write_query(replace(query, predictor=again), replace(first, resume=True))
    blocks = sum(1 for _ in query.tiles.blocks(20))
    assert again.calls == blocks - 3
    write_query(query, Output(tmp_path / "straight.h5ad", rows=20))
    here, there = (anndata.read_h5ad(tmp_path / name) for name in ("p.h5ad", "straight.h5ad"))
    np.testing.assert_array_equal(here.X, there.X)
    pd.testing.assert_frame_equal(here.obs, there.obs)
    assert (tmp_path / "p.neighbours.csv").read_bytes() == (tmp_path / "straight.neighbours.csv").read_bytes()
    assert not [path for path in tmp_path.iterdir() if "part" in path.name]


def test_sigterm_ends_it_with_a_sentence_and_the_code_of_clusters(query: Query, tmp_path: Path) -> None:
    class Asked:
        name, calls = "retrieval", 0

        def predict(self, tiles: Tiles) -> Prediction:
            self.calls += 1
            if self.calls == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            return query.predictor.predict(tiles)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StoppedError, match="with --resume goes on") as stopped:
        write_query(replace(query, predictor=Asked()), Output(tmp_path / "p.csv", rows=20))
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    kept = tmp_path / ".p.csv.parts"
    assert sorted(path.name for path in kept.iterdir()) == ["000000.h5ad", "000001.h5ad", "query.json"]


@pytest.mark.parametrize("reading", [zarr._clear, tiff.clear, partial(annotated.clearly, what="a table")])
def test_a_file_that_is_read_when_sigterm_comes_is_not_said_to_be_damaged(reading: Any, tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match=r"^asked to stop$"), reading(tmp_path):
        raise StoppedError("asked to stop")


def stopped(query: Query, output: Output) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_query(replace(query, predictor=Counting(query.predictor, 2, KeyboardInterrupt())), output)


def test_blocks_of_another_query_are_not_mixed_in(query: Query, toys: tuple[Section, ...], tmp_path: Path) -> None:
    output = Output(tmp_path / "p.csv", rows=20)
    stopped(query, output)
    resumed = replace(output, resume=True)
    assert isinstance(toys[2].slide, ArraySlide)
    redrawn = replace(toys[2], slide=ArraySlide(toys[2].slide.pixels[::-1].copy()))
    assert query.reference is not None
    other = replace(query.reference, manifest=query.reference.manifest | {"version": "other"})
    cases = {
        "set of tiles": [replace(query, tiles=query.run.tiles((redrawn, toys[3])))],
        "reference": [replace(query, reference=other)],
        "k, weights, genes": [replace(query, flags={"k": 3})],
        "run": [replace(query, run=changed(query.run))],
    }
    for words, queries in cases.items():
        for each in queries:
            with pytest.raises(MismatchError, match=f"another {words}"):
                write_query(each, resumed)
    with pytest.raises(MismatchError, match="another k, weights, genes"):
        write_query(query, replace(resumed, genes=query.run.panel.genes[:2]))
    write_query(query, resumed)


def changed(run: Run) -> Run:
    import copy

    import torch

    model = copy.deepcopy(run.model)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    return replace(run, model=model)


def test_without_resume_it_is_started_anew_and_that_is_said(
    query: Query, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = Output(tmp_path / "p.csv", rows=20)
    stopped(query, output)
    counting = Counting(query.predictor)
    with caplog.at_level(logging.INFO):
        write_query(replace(query, predictor=counting), output)
    assert "started anew; --resume would have gone on" in caplog.text
    assert counting.calls == sum(1 for _ in query.tiles.blocks(20))


def test_some_genes_alone_in_the_order_asked_for(query: Query, tmp_path: Path) -> None:
    genes = query.run.panel.genes
    write_query(query, Output(tmp_path / "p.h5ad", genes=(genes[5], genes[1]), dtype="float16", rows=20))
    found, whole = anndata.read_h5ad(tmp_path / "p.h5ad"), query.predictor.predict(query.tiles)
    assert list(found.var_names) == [genes[5], genes[1]]
    assert whole.spread is not None
    for here, there in ((found.X, whole.expression), (found.layers["spread"], whole.spread)):
        np.testing.assert_allclose(np.asarray(here, np.float32), there[:, [5, 1]], rtol=2e-3, atol=1e-3)
    with pytest.raises(ConfigError, match="no 'NOGENE'"):
        write_query(query, Output(tmp_path / "q.h5ad", genes=("NOGENE",)))


def test_as_many_neighbours_as_genes_are_not_cut_with_them(
    trained: dict[str, Path], toys: tuple[Section, ...], tmp_path: Path
) -> None:
    run = Run.load(trained["contrastive"])
    experiment = Experiment.of(run, trained["contrastive"])
    predictor, reference = experiment.select(k=len(run.panel.genes)), experiment.reference
    query = Query(run, predictor, reference, run.tiles(toys[2:3]))
    written = write_query(query, Output(tmp_path / "p.csv", genes=run.panel.genes[:1]))
    assert len(pd.read_csv(written[1])) == len(query.tiles) * len(run.panel.genes)


def test_places_that_cannot_be_written_to_are_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "mine.zarr").mkdir()
    (tmp_path / "mine.zarr" / "thesis.txt").write_text("x")
    for name, words in (("file/p.csv", "is a file"), ("folder.csv", "a folder is there"), ("mine.zarr", "no zarr")):
        with pytest.raises(DataError, match=words):
            Output(tmp_path / name)
    with pytest.raises(ConfigError, match="expected a name ending in"):
        Output(tmp_path / "p.txt")
    assert (tmp_path / "mine.zarr" / "thesis.txt").exists()


def test_the_picture_of_a_trained_section_is_recognised_without_its_spots(
    trained: dict[str, Path], files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run.load(trained["contrastive"])
    name = run.facts.train[0].name
    known, other = (open_slides([files / "st2k" / each / f"{each}.jpg"], run, 1.0, 60.0) for each in (name, "toy3"))
    warn_of_trained([run], other)
    assert caplog.text == ""
    warn_of_trained([run], known)
    assert f"is the picture of section {name}, which was trained on" in caplog.text


def test_runs_of_before_pictures_were_noted_still_load(run_copy: Any) -> None:
    folder = run_copy()
    facts = json.loads((folder / "run.json").read_text())
    for section in (*facts["train"], *facts["val"]):
        assert len(section.pop("picture")) == 64
    (folder / "run.json").write_text(json.dumps(facts))
    assert all(section.picture == "" for section in Run.load(folder).facts.train)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "1")
