"""Conditions on the spots that may answer: read, refused in a sentence, and as good as a reference built of those spots."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bleep.cli.app import main
from bleep.config import IndexConfig
from bleep.errors import ConfigError
from bleep.predictors import Ensemble, MeanOfPredictors
from bleep.predictors.baselines import RegressionPredictor
from bleep.predictors.calibration import CombinedPredictor
from bleep.predictors.retrieval import RetrievalPredictor
from bleep.predictors.stacking import Stacker
from bleep.retrieval.index import Where, build_index, select
from bleep.retrieval.reference import Reference
from bleep.runs import Run
from bleep.workflows.experiment import Experiment

from .test_search import APPROXIMATE, KINDS, drawn, truth

SPOTS = pd.DataFrame(
    {
        "section": ["a", "a", "b", "c"],
        "patient": ["P1", "P1", "P2", "it's"],
        "organ": ["liver", "lung", None, "liver"],
        "x": [1.0, 2.0, 3.5, -4.0],
    }
)


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("patient != 'P1'", [2, 3]),
        ("patient != 'P1' and organ == 'liver'", [3]),
        ("organ == ''", [2]),
        ("organ in ['liver', 'lung'] and not section == 'c'", [0, 1]),
        ("section not in ['a']", [2, 3]),
        ('patient == "it\'s" or x >= 3.5', [2, 3]),
        ("x < -1 or (x > 1 and x <= 2)", [1, 3]),
    ],
)
def test_a_condition_selects_rows(condition: str, rows: list[int]) -> None:
    assert select(condition, SPOTS).rows.tolist() == rows


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("", "cannot be read"),
        ("patient = 'P1'", "cannot be read"),
        ("__import__('os').system('true')", "cannot be read"),
        ("patient.str.len() > 1", "cannot be read"),
        ("'P1' == patient", "cannot be read"),
        ("1 < x < 3", "cannot be read"),
        ("patient is 'P1'", "cannot be read"),
        ("patient in 'P1'", "takes a list"),
        ("patient == ['P1']", "takes a list"),
        ("patient == P1", "write text in quotes"),
        ("tissue == 'liver'", "names a column 'tissue'; the index has section, patient, organ, x"),
        ("patient == 3", "compares 'patient', which holds text, with 3, which is a number"),
        ("x == 'P1'", "compares 'x', which holds numbers, with 'P1', which is text"),
        ("x == True", "expected text in quotes or a number"),
        ("patient == 'P9'", "none of the 4 reference spots meets it; patient is 'P1', 'P2', \"it's\""),
        ("not " * 3000 + "x > 1", "cannot be read"),
        ("not " * 900 + "x > 1", "cannot be read"),
        ("(" * 3000 + "x > 1" + ")" * 3000, "cannot be read"),
        ("x < 1e999", "a number beyond 9,007,199,254,740,992, which no column holds"),
        ("x < 99999999999999999999999999", "a number beyond"),
        ("x not in [1, -1e999]", "a number beyond"),
        ("patient != 'a\\x00b'", "holds a character that no text has"),
        ("patient not in ['a', '\\ud800']", "holds a character that no text has"),
        ("x > 9", "none of the 4 reference spots meets it; x is -4 to 3.5"),
    ],
)
def test_what_is_no_condition_is_refused_in_a_sentence(condition: str, said: str) -> None:
    with pytest.raises(ConfigError, match="--where") as refused:
        select(condition, SPOTS)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 700


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=30))
def test_no_text_gets_further_than_a_sentence(text: str) -> None:
    with pytest.raises(ConfigError):
        select(text, SPOTS)


@pytest.mark.parametrize("share", [0.5, 0.02])
@pytest.mark.parametrize("kind", KINDS)
def test_only_chosen_rows_answer_and_most_of_the_nearest_are_found(kind: Any, share: float) -> None:
    vectors, queries = drawn(2000, 0), drawn(100, 1)
    rows = np.sort(np.random.default_rng(2).permutation(2000)[: int(2000 * share)])
    index = build_index(vectors, IndexConfig(kind=kind), 3)
    found = index.search(queries, 10, Where("", rows))
    similarity, places = truth(vectors[rows], queries, 10)
    assert np.isin(found.rows, rows).all()
    if kind == "flat":
        np.testing.assert_array_equal(found.rows, rows[places])
        np.testing.assert_array_equal(found.similarity, similarity)
    reached = np.take_along_axis(queries @ vectors.T, found.rows, axis=1) >= similarity[:, -1:] - 1e-6
    assert reached.mean() > (0.85 if kind in APPROXIMATE else 0.999)


@pytest.mark.parametrize("kind", KINDS)
def test_more_neighbours_than_chosen_rows_are_all_of_them(kind: Any) -> None:
    rows = np.array([3, 77, 400])
    found = build_index(drawn(500, 0), IndexConfig(kind=kind), 3).search(drawn(20, 1), 10, Where("", rows))
    np.testing.assert_array_equal(np.sort(found.rows, axis=1), np.tile(rows, (20, 1)))


def test_leaving_a_section_out_is_a_reference_without_it(trained: dict[str, Path]) -> None:
    run, reference = Run.load(trained["contrastive"]), Reference.load(trained["contrastive"] / "reference")
    tiles = run.tiles(_test_sections(run))
    left = RetrievalPredictor(run, reference.only("section != 'toy1'")).predict(tiles)
    rebuilt, without = (
        RetrievalPredictor(run, reference.remove(section="toy1")).predict(tiles),
        reference.remove(section="toy1"),
    )
    np.testing.assert_array_equal(left.expression, rebuilt.expression)
    ids = reference.spots.index.to_numpy()
    np.testing.assert_array_equal(ids[left.neighbors.rows], without.spots.index.to_numpy()[rebuilt.neighbors.rows])


def test_the_command_restricts_the_spots_that_answer(run_copy: Callable[..., Path], files: Path, tmp_path: Path) -> None:
    folder = run_copy()
    asked = ["query", "--images", str(files / "st2k"), "--run", str(folder), "--out", str(tmp_path / "out.csv")]
    assert main([*asked, "--where", "section == 'toy2'"]) == 0
    used = pd.read_csv(tmp_path / "out.neighbours.csv")["spot"]
    assert set(used.str.split("/").str[0]) == {"toy2"}


@pytest.mark.parametrize(
    ("asked", "part"), [("regression", "none"), ("mean", "part"), ("combined", "none"), ("ensemble", "part"), (None, "all")]
)
def test_it_is_said_how_far_a_condition_reaches(
    asked: str | None,
    part: str,
    trained: dict[str, Path],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A predictor that takes no value from the reference is refused, one that takes a part of them is spoken of."""
    experiment = Experiment(trained["contrastive"], where="section == 'toy2'")
    weights = np.zeros((4, 3))
    weights[[1, 3]] = 0.5  # Of retrieval and ridge, ridge alone counts.
    stacker = Stacker(("retrieval", "ridge"), np.zeros(3), np.ones(3), np.zeros((0, 3)), weights)
    assert stacker.counted == ("ridge",)
    combined = object.__new__(CombinedPredictor)
    combined.calibration = SimpleNamespace(stacker=stacker)  # type: ignore[assignment]
    retrieval, regression = experiment.predictor, object.__new__(RegressionPredictor)
    regression.run = experiment.run
    chosen = {
        "regression": regression,
        "combined": combined,
        "mean": MeanOfPredictors([retrieval, regression]),
        "ensemble": Ensemble([experiment.run] * 2, [retrieval, MeanOfPredictors([regression])], [0.5, 0.5]),
    }
    if asked:
        monkeypatch.setattr(Experiment, "_selected", lambda *_: chosen[asked])
    if part == "none":
        with pytest.raises(ConfigError, match="takes no value from them"):
            experiment.select()
        return
    experiment.select()
    assert ("restricts what retrieval finds" in caplog.text) == (part == "part")


def test_too_many_neighbours_are_told_when_they_are_asked_for(
    trained: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    run, reference = Run.load(trained["contrastive"]), Reference.load(trained["contrastive"] / "reference")
    tiles = run.tiles(_test_sections(run)[:1])
    RetrievalPredictor(run, reference, k=100_000)
    assert "may answer" not in caplog.text
    predictor = RetrievalPredictor(run, reference, k=100_000)
    predictor.predict(tiles)
    predictor.predict(tiles)
    assert caplog.text.count("may answer") == 1


def test_a_wrong_condition_or_a_run_without_spots_ends_in_a_sentence(
    run_copy: Callable[..., Path], files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for task, said in (("contrastive", "names a column 'organ'"), ("regression", "was trained by regression")):
        asked = ["query", "--images", str(files / "st2k"), "--run", str(run_copy(task)), "--out", str(tmp_path / "out.csv")]
        assert main([*asked, "--where", "organ == 'liver'"]) == 2
        assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("*out*"))


def _test_sections(run: Run) -> Any:
    from bleep.workflows.tissue import load_split

    return load_split(run.config).test
