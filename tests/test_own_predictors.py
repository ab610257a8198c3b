"""Predictors and metrics of others: what they give is looked at before it is scored, joined or kept."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bleep
from bleep import registry
from bleep.config import Config
from bleep.errors import ConfigError, DataError, MismatchError

Tree = dict[str, Any]


class _Changed:
    """What an inner predictor says, changed before it is handed on."""

    name = "mine"

    def __init__(self, inner: Any, change: Callable[[Any, Any], Any], fitted_on: Any = None) -> None:
        self.inner, self.change, self.fitted_on = inner, change, fitted_on

    def predict(self, tiles: Any) -> Any:
        return self.change(self.inner.predict(tiles), tiles)


def _of(found: Any, tiles: Any, **over: Any) -> bleep.Prediction:
    parts = {"expression": found.expression, "genes": found.genes, "scale": found.scale} | over
    return bleep.Prediction(tiles=tiles, predictor="mine", **parts)


def _first(found: Any, value: Any) -> np.ndarray:
    changed = found.expression.copy()
    changed[0, 0] = float(value)
    return changed


CHANGES: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "order of genes": (
        lambda found, tiles: found[:, list(found.genes)[::-1]],
        r"mine: predicted the genes in another order, number 1 being \w+ where \w+ was expected: predict run.panel.genes",
    ),
    "other genes": (
        lambda found, tiles: _of(found, tiles, genes=tuple(f"X{gene}" for gene in found.genes)),
        "mine: predicted other genes, number 1 being X",
    ),
    "fewer genes": (lambda found, tiles: found[:, :5], "mine: predicted 5 genes; expected 12"),
    "order of tiles": (lambda found, tiles: found[np.arange(len(tiles))[::-1]], "mine: predicted the tiles in another order"),
    "scale": (
        lambda found, tiles: _of(found, tiles, scale="raw counts"),
        "mine: predicted values on the scale 'raw counts'; expected 'log1p of counts per",
    ),
    "not a number": (
        lambda found, tiles: _of(found, tiles, expression=found.expression * np.float32("nan")),
        "mine: predicted values that are not numbers",
    ),
    "a spread that is none": (
        lambda found, tiles: _of(found, tiles, spread=_first(found, "nan")),
        r"mine: gave spread values that are not numbers for 1 of \d+ tiles; give numbers, or leave spread out",
    ),
    "a spread below 0": (
        lambda found, tiles: _of(found, tiles, spread=_first(found, -1)),
        r"mine: gave a spread below 0 \(-1\)",
    ),
    "an end that is none": (
        lambda found, tiles: _of(found, tiles, lower=found.expression, upper=_first(found, "nan")),
        r"mine: gave upper values that are not numbers for 1 of \d+ tiles",
    ),
    "one end": (
        lambda found, tiles: _of(found, tiles, upper=found.expression),
        "mine: gave upper ends of intervals and no lower",
    ),
    "crossed ends": (
        lambda found, tiles: _of(found, tiles, lower=_first(found, 9), upper=np.minimum(found.expression, 8)),
        r"mine: gave an interval whose lower end lies above its upper end, .* for gene \w+ of tile toy3",
    ),
    "in place": (
        lambda found, tiles: found.expression.fill(0) or found,
        r"mine: wrote into values that can only be read \(.*read-only\).* change a copy, such as",
    ),
}


@pytest.fixture(scope="module")
def opened(trained: dict[str, Path]) -> Any:
    return bleep.load(trained["regression"], device="cpu")


@pytest.mark.parametrize("change", CHANGES)
def test_a_prediction_of_other_genes_tiles_or_scale_is_never_scored(change: str, opened: Any) -> None:
    tiles, inner = opened.tiles(opened.split.test), opened.predictors()["regression"]
    before = inner.predict(opened.tiles(opened.split.test[:1])).expression.copy()
    changed, words = CHANGES[change]
    with pytest.raises((MismatchError, DataError), match=words):
        bleep.compare({"mine": _Changed(inner, changed), "regression": inner}, tiles, opened.run)
    np.testing.assert_array_equal(inner.predict(opened.tiles(opened.split.test[:1])).expression, before)


def test_the_leak_of_a_comparison_is_that_of_what_is_compared(opened: Any, recipe: Callable[..., Tree], tmp_path: Path) -> None:
    run, inner = opened.run, opened.predictors()["regression"]
    tiles, train = opened.tiles(opened.split.test), opened.tiles(opened.split.train)
    as_it_is = lambda found, tiles: found  # noqa: E731
    assert (
        bleep.compare({"regression": inner, "ridge": bleep.RidgePredictor.fit(run, train)}, tiles, run).leak == run.facts.leak
    )
    unknown = bleep.compare({"mine": _Changed(inner, as_it_is)}, tiles, run).leak
    assert (unknown.status, run.facts.leak.status) == ("unknown", "none")
    assert unknown.detail.endswith("; what mine was fitted on is not known")
    told = {"mine": _Changed(inner, as_it_is, run.facts.train)}
    assert bleep.compare(told, tiles, run).leak == run.facts.leak
    with pytest.raises(MismatchError, match="the run: test section toy1 is tissue it was trained on; choose another to test"):
        bleep.compare({"regression": inner}, train, run)
    for leaky in (bleep.RidgePredictor.fit(run, tiles), bleep.ImageKnnPredictor.fit(run, tiles)):
        with pytest.raises(MismatchError, match="leaky: test section toy3 is tissue it was trained on"):
            bleep.compare({"leaky": leaky}, tiles, run)
    with pytest.raises(MismatchError, match="mine: test section toy3 is tissue it was trained on"):
        bleep.compare({"mine": _Changed(inner, as_it_is, tiles.sections)}, tiles, run)
    part = opened.split.train[0].subset(np.arange(20))
    assert bleep.compare({"regression": inner}, opened.tiles((part,)), run).leak.status == "random spots"
    other = bleep.fit(Config.load(recipe(tmp_path / "other", {"data": {"test": ["donor1"]}, "loss": {"task": "regression"}})))
    with pytest.raises(MismatchError, match="other: test section toy3 is tissue its run was trained on"):
        bleep.compare({"other": bleep.RegressionPredictor(other)}, tiles, run)


def test_what_cannot_be_compared_is_told(opened: Any) -> None:
    from bleep.predictors.foreign import answered
    from bleep.workflows.unseen import check_asked

    tiles, inner = opened.tiles(opened.split.test), opened.predictors()["regression"]
    for given, words in (
        (({}, tiles, opened.run), "predictors: found none; expected a mapping of names to predictors"),
        (([inner], tiles, opened.run), "predictors: found a list; expected a mapping"),
        (({"a": inner}, opened.split.test, opened.run), "tiles: found a tuple; expected the tiles of measured sections"),
        (({"a": inner}, opened.tiles(()), opened.run), "tiles: found none"),
        (({"a": inner}, tiles, opened), "run: found a Experiment; expected a bleep.Run"),
    ):
        with pytest.raises(ConfigError, match=words):
            check_asked(*given)
    with pytest.raises(MismatchError, match="mine: is no predictor, as its type object has no predict"):
        answered.__wrapped__(object(), tiles, opened.run, "mine")


def test_values_that_are_no_array_of_numbers_are_told() -> None:
    import pandas as pd

    make: Any = bleep.Prediction.__init__
    values = np.zeros((2, 3), np.float32)
    for given, words in (
        (torch.zeros(2, 3), "a Tensor"), (values.tolist(), "a list"), (pd.DataFrame(values), "a DataFrame"),
        (values.astype(object), "an array of object"), (values.astype(complex), "an array of complex128"),
    ):  # fmt: skip
        with pytest.raises(MismatchError, match=f"mine: the values of a prediction are {words}; expected a NumPy array"):
            make.__wrapped__(object.__new__(bleep.Prediction), given, pd.DataFrame(index=range(2)), ("a", "b", "c"), "", "mine")


def test_a_metric_that_works_in_place_changes_no_other_score(known: Callable[..., None], opened: Any, tmp_path: Path) -> None:
    import json

    from bleep.evaluation import report

    def centred(predicted: np.ndarray, measured: np.ndarray) -> float:
        predicted -= predicted.mean()
        measured -= measured.mean()
        return float("inf")

    known("metrics", "centred", centred)
    alone, beside = opened.evaluate().rows, opened.evaluate(metrics=["centred"])
    assert np.isinf(beside.rows["metric:centred"]).all()
    assert (beside.rows[alone.columns] == alone).where(alone.notna(), True).all(axis=None)
    strict = json.loads(report.save(beside, tmp_path)[0].read_text(), parse_constant=pytest.fail)
    assert strict["predictors"]["ridge"]["metric:centred"] is None


class _Level:
    """A predictor of one number, as a package would bring it."""

    name, level = "level", 1.0

    def __init__(self, run: Any, given: Any) -> None:
        self.run, self.given = run, given

    @classmethod
    def fit(cls, run: Any, tiles: Any) -> Any:
        return cls(run, {"level": np.array(cls.level)})

    @classmethod
    def restore(cls, run: Any, arrays: Any) -> Any:
        return cls(run, arrays)

    def arrays(self) -> Any:
        return self.given

    def predict(self, tiles: Any) -> Any:
        values = np.full((len(tiles), len(self.run.panel.genes)), float(self.given["level"]), np.float32)
        values += np.arange(len(tiles), dtype=np.float32)[:, None] % 7 / 7
        return bleep.Prediction(values, tiles, self.run.panel.genes, self.run.panel.describe(), self.name)


def _made(**over: Any) -> type:
    return type("Made", (_Level,), over)


def test_a_predictor_that_cannot_be_used_is_told_before_anything_is_computed(known: Callable[..., None], opened: Any) -> None:
    nothing = classmethod(lambda cls, run, tiles: None)
    for part, words in (
        (type("NoFit", (), {}), "mine: is the class NoFit without fit; expected a class with fit"),
        (lambda run, tiles: None, "mine: is a function without fit"),
        (None, "mine: is a NoneType without fit"),
        (_made(fit=lambda self, run, tiles: self), "mine: fit of Made is a method of an instance; make it a @classmethod, fit"),
        (_made(fit=nothing), "mine: fit gave nothing; expected it to return the fitted predictor"),
        (_made(arrays=None), "mine: is no predictor that bleep can use, since it lacks arrays"),
    ):
        known("predictors", "mine", part)
        with pytest.raises(ConfigError, match=words):
            opened.evaluate(predictors=["mine"])


def test_a_part_that_fails_is_named_and_a_metric_is_looked_at_before_anything_is_computed(
    known: Callable[..., None], opened: Any, run_copy: Callable[..., Path]
) -> None:
    def fails(*given: Any) -> Any:
        raise RuntimeError("no luck\nat all")

    for over, words in (
        ({"fit": classmethod(fails)}, "mine: fit of .* failed .RuntimeError: no luck.; mend it there"),
        ({"predict": fails}, "mine: predict of .* failed .RuntimeError: no luck."),
    ):
        known("predictors", "mine", _made(**over))
        with pytest.raises(ConfigError, match=words) as said:
            opened.evaluate(predictors=["mine"])
        assert isinstance(said.value.__cause__, RuntimeError)
    known("predictors", "mine", _made(restore=classmethod(fails)))
    with pytest.raises(ConfigError, match=r"mine: restore of .* failed"):
        bleep.calibrate(run_copy("regression"), members=["mine"])
    for metric, part, words in (
        ("fails", fails, "--metrics fails: the metric of .* failed .RuntimeError: no luck."),
        ("made", _Level, "--metrics made: is the class _Level; expected a function metric"),
        ("number", 3, "--metrics number: is a int; expected a function"),
        ("error_sd", lambda predicted, measured: 1.0, "--metrics error_sd: ends in _sd, _low, _high as columns of spread do"),
    ):
        known("metrics", metric, part)
        with pytest.raises(ConfigError, match=words):
            opened.evaluate(metrics=[metric])


def test_a_member_of_another_package_or_version_than_calibrated_is_told(
    known: Callable[..., None], opened: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from bleep.predictors.foreign import restore_other

    def restored(then: tuple[str, str], now: tuple[str, str]) -> str:
        caplog.clear()
        monkeypatch.setattr(registry, "origin", lambda kind, name: registry.Origin(kind, name, *now))
        restore_other("level", opened.run, {"level": np.ones(())}, registry.Origin("predictors", "level", *then))
        return caplog.text

    known("predictors", "level", _Level)
    assert not restored(("tools", "1.0"), ("tools", "1.0"))
    assert "joins the predictor level of tools 1.0, and here it is of tools 2.0: if it" in restored(
        ("tools", "1.0"), ("tools", "2.0")
    )
    assert "of notebook, and here it is of tools 2.0" in restored(("notebook", ""), ("tools", "2.0"))
    with pytest.raises(
        MismatchError, match=r"joins the predictor level of the package tools 1.0, and here level is of others 1"
    ):
        restored(("tools", "1.0"), ("others", "1.0"))


def test_a_member_is_weighed_by_what_is_kept_of_it(known: Callable[..., None], run_copy: Callable[..., Path]) -> None:
    class Forgets(_Level):
        """Predicts with something that its arrays lack."""

        name, more = "forgets", 0.0

        @classmethod
        def fit(cls, run: Any, tiles: Any) -> Any:
            found = super().fit(run, tiles)
            found.more = 5.0
            return found

        def predict(self, tiles: Any) -> Any:
            found = super().predict(tiles)
            pattern = np.arange(len(tiles), dtype=np.float32)[:, None] % 3
            return _of(found, tiles, expression=found.expression + np.float32(self.more) * pattern)

    scores = {}
    for name, part in (("forgets", Forgets), ("level", _made(name="level"))):
        known("predictors", name, part)
        found = bleep.calibrate(run_copy("regression", name), members=[name])
        # One subject was trained on, so that nothing was learnt of whom to believe: who is named counts all the same.
        assert name in found.stacker.counted
        scores[name] = found.stacker.weights
    np.testing.assert_array_equal(scores["forgets"], scores["level"])


def test_own_predictors_and_metrics_stand_in_every_table(known: Callable[..., None], opened: Any, tmp_path: Path) -> None:
    from bleep.evaluation import report
    from bleep.workflows.report import evaluation_page
    from bleep.workflows.scoring import Scorer

    known("predictors", "most", _made(name="most"))
    known("metrics", "largest", lambda predicted, measured: float(np.abs(predicted - measured).max()))
    table = opened.evaluate(predictors=["most"], metrics=["largest"])
    genes = report.by_gene(table)
    assert genes.columns.is_unique
    assert genes["most (predictor)"].notna().any()
    assert (genes["most"] >= genes["least"]).all()
    tested = opened.tiles(opened.split.test[:1])
    found, scorer = opened.predictor.predict(tested), Scorer(metrics=("largest",))
    lacking = opened.run.panel.values(tested.sections[0])
    lacking[:, 2] = np.nan
    rest = np.delete(np.abs(found.expression - lacking), 2, axis=1)
    assert scorer._metric("largest", found, lacking) == pytest.approx(float(rest.max()))
    grid = evaluation_page([opened], table).table
    assert grid is not None
    at = [column.heading for column in grid.columns].index("largest")
    shown = {row[0].text: row[at].value for row in grid.rows}
    assert shown["ridge"] == pytest.approx(table.rows.loc["ridge", "metric:largest"], abs=1e-5)


def test_what_a_predictor_learnt_is_kept_as_it_is_or_refused(known: Callable[..., None], opened: Any, tmp_path: Path) -> None:
    from bleep.files import write_tensors
    from bleep.predictors.foreign import learnt

    for given, words in (
        (None, r"mine: arrays\(\) gave a NoneType; expected a mapping"),
        ([np.ones(2)], "gave a list; expected a mapping"),
        ({1: np.ones(2)}, "gave the name 1, a int"),
        ({"a": np.array([{}], object)}, "gave 'a' as an array of object; expected"),
        ({"a": np.array(["x"])}, "gave 'a' as an array of <U1"),
    ):
        with pytest.raises(ConfigError, match=words):
            learnt(_Level(opened.run, given), "mine")
    odd = {"scalar": np.array(2.5), "turned": np.arange(6.0).reshape(2, 3).T, "big": np.arange(3, dtype=">f4")}
    write_tensors(tmp_path / "a", learnt(_Level(opened.run, odd), "mine"))
    from safetensors.numpy import load_file

    back = load_file(tmp_path / "a")
    for name, array in odd.items():
        assert back[name].shape == array.shape
        np.testing.assert_array_equal(back[name], array)
    with pytest.raises(DataError, match=r"cannot be written \(.*\)$"):
        write_tensors(tmp_path / "b", {"a": np.array(["x"])})


def test_a_changed_predictor_is_rehearsed_again_and_dotted_names_stay_apart(
    known: Callable[..., None], run_copy: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bleep.predictors.calibration import Calibration
    from bleep.workflows import calibrate as rehearsing
    from bleep.workflows.calibrate import calibrate

    left_out = rehearsing._left_out
    run = run_copy("regression")
    known("predictors", "a", _made(name="a"))
    known("predictors", "a.b", _made(name="a.b", level=2.0))
    calibrate(run, members=["a", "a.b"])
    found = Calibration.load(run / "calibration")
    assert {name: {key: float(value) for key, value in one.items()} for name, one in found.others.items()} == {
        "a": {"level": 1.0}, "a.b": {"level": 2.0}
    }  # fmt: skip
    experiment = bleep.load(run)
    assert np.isfinite(experiment.predict(experiment.tiles(experiment.split.test)).expression).all()
    # Nothing tells whether a class made inside of a function is still the same.
    again: list[Any] = []
    monkeypatch.setattr(rehearsing, "_left_out", lambda *given: again.append(given) or left_out(*given))
    known("predictors", "a", _made(name="a", level=3.0))
    calibrate(run, members=["a", "a.b"])
    assert again
    assert float(Calibration.load(run / "calibration").others["a"]["level"]) == 3.0
    # One of an older version, which told no member by its number.
    older = {name.replace("other/1.", "other.v1.2."): array for name, array in found._arrays().items()}
    named = [registry.Origin("predictors", name, "here") for name in ("a", "v1.2")]
    old = replace(found, others={"a": found.others["a"], "v1.2": found.others["a.b"]}, origins=tuple(named))
    monkeypatch.setattr(Calibration, "_arrays", lambda self: older)
    old.save(tmp_path / "old")
    assert float(Calibration.load(tmp_path / "old").others["v1.2"]["level"]) == 2.0


def test_the_source_of_a_part_decides_whether_it_is_the_same(
    known: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    digests = []
    for text in ("class Mine:\n    level = 1\n", "class Mine:\n    level = 1\n", "class Mine:\n    level = 250\n"):
        (tmp_path / "a_part_of_mine.py").write_text(text)
        sys.modules.pop("a_part_of_mine", None)
        importlib.invalidate_caches()
        known("metrics", "mine", importlib.import_module("a_part_of_mine").Mine)
        digests.append(registry.source_digest("metrics", "mine"))
    assert digests[0] == digests[1] != digests[2]
    assert all(digests)
    known("metrics", "mine", _made())
    assert registry.source_digest("metrics", "mine") == ""


def test_names_of_own_parts_are_taken(known: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typing import get_args

    from bleep.config import data, model, training
    from bleep.evaluation.report import FLOORS
    from bleep.models.backbones import textures
    from bleep.predictors.cross_fitting import MEMBERS
    from bleep.workflows.fit import fit
    from bleep.workflows.opened import ORDER

    own = {kind: set(names) for kind, names in registry.OWN.items()}
    assert own["readers"] == set(get_args(data.SourceName))
    assert own["losses"] == {*get_args(training.FormName), *get_args(training.TermName)}
    assert own["indexes"] == set(get_args(model.KindName))
    assert own["trunks"] == {"features", *textures.NAMES}
    assert own["predictors"] == {*FLOORS, *MEMBERS, *ORDER, "ensemble", "plain mean"}
    for kind, name in (("predictors", "combined"), ("readers", "toy"), ("losses", "clip"), ("indexes", "flat")):
        with pytest.raises(ConfigError, match=f"{name}: is the name of one of bleep's own {kind}; register yours by another"):
            registry.register(kind, name)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="' ' is no name for a part"):
        registry.register("metrics", " ")
    facts = tmp_path / "clash-0.1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: clash\nVersion: 0.1\n")
    (facts / "entry_points.txt").write_text(
        "[bleep.predictors]\nridge = a:b\n[bleep.readers]\ntoy = a:b\n[bleep.trunks]\nresnet10t = a:b\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._points.cache_clear()
    try:
        with pytest.raises(ConfigError, match="ridge: is the name of one of bleep's own predictors, and clash brings another"):
            registry.load("predictors", "ridge")
        settings: Tree = {"data": {"source": "toy"}, "out": str(tmp_path / "run")}
        with pytest.raises(ConfigError, match=r"toy: .* own readers, and clash brings another of that name; give that one"):
            fit(Config.load(settings))
        with pytest.raises(ConfigError, match=r"resnet10t: .* own trunks, and clash brings another"):
            fit(Config.load(settings | {"data": {"source": "folder", "root": "."}, "image": {"trunk": "resnet10t"}}))
        assert not (tmp_path / "run").exists()
    finally:
        registry._points.cache_clear()
