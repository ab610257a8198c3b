"""A run is opened once: counted, and the same answer for "the run's predictor" everywhere."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest

import bleep
from bleep.cli import app
from bleep.config import Config
from bleep.data.readers import st2k
from bleep.errors import ConfigError
from bleep.predictors.baselines import RegressionPredictor
from bleep.predictors.retrieval import RetrievalPredictor
from bleep.runs import Run
from bleep.workflows.experiment import Experiment
from bleep.workflows.fit import fit
from bleep.workflows.opened import opened
from bleep.workflows.query import build_reference
from bleep.workflows.report import HELD_OUT, held_out_sections
from bleep.workflows.unseen import check_sections, check_tiles


@pytest.fixture(scope="module")
def both(recipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run for both tasks with its index."""
    folder = tmp_path_factory.mktemp("both") / "run"
    run = fit(Config.load(recipe(folder, {"loss": {"task": "both"}})))
    build_reference(run).save(folder / "reference")
    return folder


def test_predictors_of_a_run_of_both_tasks_are_compared_and_retrieval_is_known_as_such(both: Path) -> None:
    experiment = bleep.load(both)
    tiles = experiment.tiles(experiment.split.test[:1])
    found = bleep.compare(experiment.predictors(), tiles, experiment.run)
    assert {"mean of both", "retrieval", "regression"} == set(found.rows.index)
    assert isinstance(experiment.select("retrieval"), RetrievalPredictor)
    assert np.isfinite(experiment.evaluate(all_scores=True).rows.loc["retrieval", "recall_10"])


def test_what_is_no_section_and_no_tiles_is_a_sentence(toys: tuple[Any, ...]) -> None:
    section = toys[0]
    for check, given, words in (
        (check_sections, section, r"found a Section; expected a list of bleep.Section, such as \[section\]$"),
        (check_sections, [section.counts], "found a AnnData; .* bleep.from_anndata makes them of an AnnData"),
        (check_tiles, [section], "tiles: found a list; expected the tiles of sections"),
        (check_tiles, section.counts, "tiles: found a AnnData"),
        (check_tiles, bleep.Tiles((), bleep.TileSpec(32, (64.0,))), "tiles: found none"),
    ):
        with pytest.raises(ConfigError, match=words):
            check(given)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often runs are loaded, files read, and tiles of a section predicted, by what."""
    found: Counter[str] = Counter()
    load, read = Run.load.__func__, st2k.read  # type: ignore[attr-defined]

    def loaded(cls: type[Run], folder: Path) -> Run:
        found[f"load {folder}"] += 1
        return load(cls, folder)

    def sections(data: Any) -> Any:
        found["read"] += 1
        return read(data)

    monkeypatch.setattr(Run, "load", classmethod(loaded))
    monkeypatch.setattr(st2k, "read", sections)
    for kind in (RetrievalPredictor, RegressionPredictor):
        monkeypatch.setattr(kind, "predict", _counted(kind, kind.predict, found))
    return found


def _counted(kind: Any, predict: Callable[..., Any], found: Counter[str]) -> Callable[..., Any]:
    def predicted(self: Any, tiles: Any) -> Any:
        found[f"predict {kind.name} {self.run.config.out} {tiles.ids[0]}"] += 1
        return predict(self, tiles)

    return predicted


def test_an_evaluation_with_page_and_figures_opens_reads_and_predicts_once(
    trained: dict[str, Path], both: Path, counts: Counter[str], tmp_path: Path
) -> None:
    gene = Run.load(both).panel.genes[0]
    counts.clear()
    argv = ["evaluate", "--run", trained["regression"], both, "--out", tmp_path, "--report", tmp_path / "page.html"]
    argv += ["--figures", tmp_path / "figures", "--genes", gene]
    # The two runs differ in what they are trained for alone, so that their lines cannot be averaged: each by itself.
    assert app.main([str(word) for word in ["evaluate", "--run", both, *argv[4:]]]) == 0
    assert counts["read"] == 1
    assert {name: count for name, count in counts.items() if count > 1} == {}
    assert any(name.startswith("predict retrieval") for name in counts)


def test_two_runs_on_the_same_files_read_them_once(trained: dict[str, Path], counts: Counter[str], tmp_path: Path) -> None:
    argv = ["evaluate", "--run", trained["contrastive"], trained["regression"], "--out", tmp_path]
    assert app.main([str(word) for word in [*argv, "--report", tmp_path / "page.html"]]) == 0
    assert {name: count for name, count in counts.items() if count > 1} == {}
    assert counts["read"] == 1
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    titles = dict.fromkeys(re.findall(r'"title":"([^"]*)"', page))
    assert list(titles)[:5] == [
        "measured", "predicted (retrieval)", "uncertainty", "regression of regression", "ridge of contrastive",
    ]  # fmt: skip


def test_a_query_with_page_and_explanation_predicts_once(both: Path, counts: Counter[str], files: Path, tmp_path: Path) -> None:
    argv = ["query", "--images", files / "st2k" / "toy3", "--mpp", 1, "--run", both, "--out", tmp_path / "p.h5ad"]
    assert app.main([str(word) for word in [*argv, "--report", tmp_path / "page.html", "--explain", 2]]) == 0
    predicted = {name: count for name, count in counts.items() if name.startswith("predict")}
    assert set(predicted.values()) == {1}
    assert len(predicted) == 2  # The two members of their mean.


def test_command_page_and_python_give_one_answer_and_name_it(both: Path, files: Path, tmp_path: Path) -> None:
    experiment = bleep.load(both, device="cpu")
    (section,) = (one for one in experiment.split.test if one.name == "toy3")
    mine = experiment.predict(experiment.tiles((section,)))
    argv = ["query", "--images", files / "st2k" / "toy3", "--mpp", 1, "--run", both, "--out", tmp_path / "p.h5ad"]
    assert app.main([str(word) for word in argv]) == 0
    written = anndata.read_h5ad(tmp_path / "p.h5ad")
    np.testing.assert_allclose(written.X, mine.expression, atol=1e-6)
    page = next(one for one in held_out_sections(opened([both])) if one.section.name == "toy3")
    np.testing.assert_allclose(page.prediction.expression, mine.expression, atol=1e-6)
    assert {written.uns["bleep"]["predictor"], page.prediction.predictor, mine.predictor} == {"mean of both"}


def test_a_predictor_can_be_asked_for_by_name(
    both: Path, trained: dict[str, Path], files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["query", "--images", files / "st2k" / "toy3", "--mpp", 1, "--out", tmp_path / "p.h5ad"]
    assert app.main([str(word) for word in [*argv, "--run", both, "--predictor", "regression"]]) == 0
    assert anndata.read_h5ad(tmp_path / "p.h5ad").uns["bleep"]["predictor"] == "regression"
    assert "by regression" in capsys.readouterr().out
    wrong = [*argv, "--run", trained["contrastive"], "--predictor", "combined"]
    assert app.main([str(word) for word in wrong]) == 2
    assert "has no such predictor; it has retrieval; run `bleep calibrate` first" in capsys.readouterr().err
    assert app.main([str(word) for word in [*argv, "--run", both, "--predictor", "regression", "--k", 5]]) == 2
    assert "k and weights are of retrieval" in capsys.readouterr().err


def test_a_run_in_memory_is_not_read_again(trained: dict[str, Path], counts: Counter[str]) -> None:
    run = Run.load(trained["regression"])
    counts.clear()
    experiment = Experiment.of(run, trained["regression"])
    assert (experiment.run, experiment.is_ensemble, experiment.members[0].folder) == (run, False, trained["regression"])
    assert experiment.predictor.name == RegressionPredictor.name
    assert not counts


def test_loading_reads_nothing_before_it_is_asked(trained: dict[str, Path], counts: Counter[str]) -> None:
    experiment = bleep.load(trained["contrastive"])
    assert not counts
    assert experiment.reference is experiment.reference
    assert experiment.predictor is experiment.predictor
    assert counts == Counter({f"load {trained['contrastive']}": 1})
    assert isinstance(experiment, Experiment)
    assert len(repr(experiment)) < 200
    with pytest.raises(bleep.DataError, match="no such folder"):
        bleep.load("nowhere")


def test_what_a_predictor_returns_in_python_can_be_exported(both: Path, tmp_path: Path) -> None:
    """The file that `to_anndata` of any predictor writes is one that `bleep export` takes; so the README's example does."""
    experiment = bleep.load(both, device="cpu")
    tiles, gene = experiment.tiles(experiment.split.test[:1]), experiment.run.panel.genes[0]
    found = {name: one.predict(tiles) for name, one in (experiment.predictors() | experiment.baselines()).items()}
    found["ensemble"] = bleep.Ensemble([experiment.run], [experiment.predictor], [1.0]).predict(tiles)
    found["readme"] = experiment.predict(tiles)
    assert {"mean of both", "retrieval", "regression", "mean", "image-kNN"} < set(found)
    for name, prediction in found.items():
        prediction.to_anndata().write_h5ad(tmp_path / f"{name}.h5ad")
        argv = ["export", tmp_path / f"{name}.h5ad", "--geojson", tmp_path / f"{name}.geojson", "--genes", gene]
        assert app.main([str(word) for word in argv]) == 0
        assert len(json.loads((tmp_path / f"{name}.geojson").read_text())["features"]) == len(tiles)


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ({"split": "patient"}, "of patients that training did not see"),
        ({"split": "section", "test": ["toy3"]}, "which training did not see"),
        ({"split": "block", "test": [], "blocks": 2, "folds": 2}, "of which training saw the other blocks"),
        ({"split": "random", "test": [], "folds": 2}, "of which training saw other spots, between those shown"),
    ],
)
def test_the_page_says_of_each_split_what_training_saw(split: Any, said: str, recipe: Any, tmp_path: Path) -> None:
    over = {"data": split, "loss": {"task": "regression"}, "optim": {"epochs": 1}}
    fit(Config.load(recipe(tmp_path / "run", over)))
    assert app.main(["evaluate", "--run", str(tmp_path / "run"), "--report", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert [words for words in HELD_OUT.values() if f", {words}, as " in page] == [said]
