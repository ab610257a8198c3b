"""Parts of other packages: found by name, used like bleep's own, and named where they are missing.

A small package with a part of each kind (tests/plugin) is installed by pip into a folder of its own, once a session.
"""

import csv
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import bleep
from bleep import registry
from bleep.config import Config, DataConfig
from bleep.data.readers import read_sections
from bleep.errors import ConfigError, DataError, MismatchError

Tree = dict[str, Any]


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """Where the example package is installed."""
    root = tmp_path_factory.mktemp("package")
    shutil.copytree(repository / "tests" / "plugin", root / "source")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index",
         "--disable-pip-version-check", "--target", str(root / "site"), str(root / "source")],
        check=True,
    )  # fmt: skip
    return root / "site"


@pytest.fixture
def installed(package: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(package))
    registry._points.cache_clear()
    yield package
    registry._points.cache_clear()


@pytest.fixture(scope="session")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sections in the example package's own form, 64 spots each; the genes follow the brightness."""
    root = tmp_path_factory.mktemp("stripes")
    for number in range(3):
        rng = np.random.default_rng(number)
        darkness = rng.integers(20, 230, size=64)
        np.save(
            root / f"s{number}.npy", rng.poisson(np.stack([darkness, 250 - darkness, 0.3 * darkness + 20, np.full(64, 50)], 1))
        )
    return root


def tree(stripes: Path, out: Path, **over: Tree) -> Tree:
    base: Tree = {
        "data": {"source": "stripes", "root": str(stripes), "mpp": 1.0, "test": ["s2"], "options": {"prefix": "GENE"}},
        "tiles": {"pixels": 16, "microns": [24.0]},
        "panel": {"choice": "all"},
        "image": {"trunk": "colours", "weights": "random"},
        "head": {"dim": 8},
        "optim": {"epochs": 2, "batch": 32},
        "index": {"kind": "plain"},
        "query": {"k": 5},
        "out": str(out),
        "cache": str(out.parent / "cache"),
    }
    return {key: {**base.get(key, {}), **over.get(key, {})} if isinstance(base[key], dict) else base[key] for key in base} | {
        key: value for key, value in over.items() if key not in base
    }


def test_names_are_checked_against_what_is_there_which_is_listed(installed: Path) -> None:
    assert registry.names("trunks") == ("colours",)
    assert Config.load({"data": {"source": "stripes"}}).data.source == "stripes"
    with pytest.raises(ConfigError, match=r"data.source: input should be 'folder', .* 'toy' or 'stripes', but found 'strips'"):
        Config.load({"data": {"source": "strips"}})
    with pytest.raises(ConfigError, match=r"loss.more: no package lists a loss 'abs' .* found: absolute, pull"):
        Config.load({"loss": {"more": {"abs": 1.0}}})


def test_a_name_of_no_package_is_refused_where_none_is_installed() -> None:
    with pytest.raises(ConfigError, match=r"data.source: input should be .* but found 'stripes'"):
        Config.load({"data": {"source": "stripes"}})
    with pytest.raises(ConfigError, match="none is installed"):
        registry.load("metrics", "sign")


def test_a_part_that_cannot_be_imported_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = tmp_path / "broken-0.1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 0.1\n")
    (facts / "entry_points.txt").write_text("[bleep.metrics]\nlost = no_such_module_at_all:metric\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._points.cache_clear()
    try:
        with pytest.raises(
            ConfigError, match=r"lost: .* of the package broken, which cannot be loaded .*no_such_module_at_all"
        ):
            registry.load("metrics", "lost")
    finally:
        registry._points.cache_clear()


def test_a_run_of_own_parts_trains_answers_and_loads_again(
    installed: Path,
    stripes: Path,
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from bleep.retrieval.reference import Reference
    from bleep.runs import Run
    from bleep.workflows.fit import fit
    from bleep.workflows.query import build_reference

    run = fit(Config.load(tree(stripes, tmp_path / "run", loss={"form": "pull"})))
    assert {(part.kind, part.name, part.package) for part in run.facts.parts} == {
        (kind, name, "bleep-example")
        for kind, name in (("readers", "stripes"), ("trunks", "colours"), ("losses", "pull"), ("indexes", "plain"))
    }
    assert run.panel.genes[0].startswith("GENE")
    reader = bleep.open_tiles(stripes, run).sections
    assert [section.name for section in reader] == ["s0", "s1", "s2"]
    cut = bleep.open_tiles(files / "folder" / "test.csv", run, mpp=1.0)  # other forms are known as before
    assert cut.sections[0].tile_side
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no \.npy file"):
        bleep.open_tiles(tmp_path / "empty", run)
    build_reference(run).save(tmp_path / "run" / "reference")
    again, reference = Run.load(tmp_path / "run"), Reference.load(tmp_path / "run" / "reference")
    assert again.weights_digest() == run.weights_digest()
    assert reference.index.kind == "plain"
    vectors = np.asarray(reference.vectors[:7])
    found = reference.search(vectors, 3)
    np.testing.assert_array_equal(
        found.rows, np.argsort(-(vectors @ np.asarray(reference.vectors).T), axis=1, kind="stable")[:, :3]
    )
    import bleep_example.models  # pyright: ignore

    monkeypatch.setattr(registry, "_package", lambda point: ("bleep-example", "1.3.0"))
    with caplog.at_level("INFO", logger="bleep"):
        Run.load(tmp_path / "run")
    assert "colours is of bleep-example 1.3.0, and still does what that of bleep-example 1.2.0 did" in caplog.text
    monkeypatch.setattr(
        bleep_example.models.Colours, "forward", lambda self, x: self.mix(self.cells(x).flatten(1).repeat(1, 2)[:, :15])
    )
    with pytest.raises(
        MismatchError,
        match=r"trained on colours of bleep-example 1.2.0, and colours of bleep-example 1.3.0, .*"
        r"other features .*; pip install bleep-example==1.2.0, or train again",
    ):
        Run.load(tmp_path / "run")
    with pytest.raises(MismatchError, match="began with a trunk colours of other weights or other code"):
        fit(Config.load(tree(stripes, tmp_path / "run", loss={"form": "pull"})), resume=True)


def test_a_predictor_and_a_metric_of_another_package_stand_beside_the_others(
    installed: Path, stripes: Path, tmp_path: Path
) -> None:
    from bleep.evaluation.report import write_table
    from bleep.predictors.calibration import Calibration
    from bleep.workflows.calibrate import calibrate
    from bleep.workflows.evaluate import evaluate
    from bleep.workflows.experiment import load
    from bleep.workflows.fit import fit

    run = tmp_path / "run"
    fit(Config.load(tree(stripes, run, loss={"task": "regression", "more": {"absolute": 0.5}})))
    calibrate(run, members=["nearest-colour"])
    found = Calibration.load(run / "calibration")
    assert found.stacker.members == ("regression", "ridge", "nearest-colour")
    assert found.origins[0].package == "bleep-example"
    table = evaluate([run], predictors=["nearest-colour"], metrics=["sign"])
    assert {"combined", "nearest-colour", "ridge"} <= set(table.rows.index)
    experiment = load(run)
    predicted = experiment.predictors()["combined"].predict(experiment.tiles(experiment.split.test))
    assert predicted.predictor == "combined of regression, ridge, nearest-colour"
    measured = experiment.run.panel.values(experiment.split.test[0])
    middle = measured.mean(axis=0)
    right = (np.sign(predicted.expression - middle) == np.sign(measured - middle)).mean()
    assert table.rows.loc["combined", "metric:sign"] == pytest.approx(right)
    words = write_table(table, tmp_path / "table.csv").read_text().splitlines()
    assert next(csv.reader(words))[:5] == ["protocol", "predictor", "floor", "sections", "pcc"]
    rows = {row["predictor"]: row for row in csv.DictReader(words)}
    assert (rows["ridge"]["floor"], rows["combined"]["floor"], rows["combined"]["sections"]) == ("yes", "no", "1")
    assert float(rows["combined"]["pcc"]) == pytest.approx(float(table.rows.loc["combined", "pcc"]), rel=1e-5)
    latex = write_table(table, tmp_path / "table.tex").read_text()
    assert latex.index("nearest-colour &") < latex.index("ridge on colour &")
    assert latex.count(r"\midrule") == 2
    with pytest.raises(ConfigError, match=r"--table .*\.xlsx: is neither \.csv nor \.tex"):
        write_table(table, tmp_path / "table.xlsx")
    with pytest.raises(ConfigError, match="ridge: is joined already"):
        calibrate(run, members=["ridge"])


def test_a_run_says_which_package_it_needs(
    package: Path, stripes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bleep.runs import Run
    from bleep.workflows.fit import fit

    with monkeypatch.context() as there:
        there.syspath_prepend(str(package))
        registry._points.cache_clear()
        fit(Config.load(tree(stripes, tmp_path / "run", optim={"epochs": 1})))
    registry._points.cache_clear()
    with pytest.raises(
        DataError, match=r"its part stripes \(bleep.readers\) is of the package bleep-example 1.2.0, .* pip install"
    ):
        Run.load(tmp_path / "run")


def test_a_loss_of_another_package_is_what_is_made_small(known: Callable[..., None], toys: tuple[Any, ...]) -> None:
    from bleep.config import LossConfig
    from bleep.training.tasks import Terms

    predicted, measured = torch.randn(6, 4, requires_grad=True), torch.randn(6, 4)
    known("losses", "cubed", lambda p, m: ((p - m).abs() ** 3).mean())
    both = Terms(LossConfig.model_validate({"task": "regression", "mse": 0.5, "more": {"cubed": 2.0}}))(predicted, measured)
    expected = 0.5 * (predicted - measured).square().mean() + 2 * ((predicted - measured).abs() ** 3).mean()
    torch.testing.assert_close(both, expected)
    known("losses", "loose", lambda p, m: (p.detach() - m).mean())
    terms = Terms(LossConfig.model_validate({"task": "regression", "more": {"loose": 1.0}}))
    with pytest.raises(ConfigError, match="does not depend on the model"):
        terms(predicted, measured)
    known("losses", "wide", lambda p, m: p - m)
    terms = Terms(LossConfig.model_validate({"task": "regression", "more": {"wide": 1.0}}))
    with pytest.raises(ConfigError, match=r"returned a tensor of shape \(6, 4\); expected one number"):
        terms(predicted, measured)


class Means(nn.Module):
    """A trunk given in Python."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(3, 5)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        assert pixels.min() >= 0
        assert pixels.max() <= 1
        return self.mix(pixels.mean(dim=(2, 3)))


def test_fit_takes_a_module_and_a_loss_as_they_are(recipe: Callable[..., Tree], tmp_path: Path) -> None:
    from bleep.runs import Run
    from bleep.workflows.calibrate import calibrate
    from bleep.workflows.experiment import Experiment
    from bleep.workflows.fit import fit

    seen: list[tuple[int, ...]] = []

    def largest(predicted: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(predicted.shape))
        return (predicted - measured).abs().amax(dim=1).mean()

    settings = recipe(tmp_path / "run", {"loss": {"task": "regression"}, "image": {"train": "full"}, "optim": {"epochs": 2}})
    trunk = Means()
    before = trunk.mix.weight.detach().clone()
    run = fit(Config.load(settings), trunk=trunk, loss=largest)
    assert seen
    learnt = run.model.trunk.model.mix.weight
    assert not torch.equal(before, learnt.cpu())
    again = Run.load(tmp_path / "run", trunk=trunk)
    assert torch.equal(before, trunk.mix.weight), "the network given stays as it is, so that it can be given again"
    assert again.weights_digest() == run.weights_digest()
    with pytest.raises(DataError, match=r"its trunk is a .*Means that was given in Python: load it there by bleep.Run.load"):
        Run.load(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"was trained by largest .*, a loss given in Python"):
        calibrate(Experiment.of(run, tmp_path / "run"))


class _Gives:
    """A predictor of whatever it was made with."""

    name = "mine"

    def __init__(self, given: Any) -> None:
        self.given = given

    def predict(self, tiles: Any) -> Any:
        return self.given


@pytest.mark.parametrize(("given", "words"), [(None, "gave a NoneType"), (np.zeros((3, 3)), "gave a ndarray")])
def test_a_predictor_that_gives_no_prediction_is_named(given: Any, words: str, trained: dict[str, Path]) -> None:
    experiment = bleep.load(trained["regression"])
    tiles = experiment.tiles(experiment.split.test)
    with pytest.raises(MismatchError, match=f"mine: predict {words}; expected a bleep.Prediction"):
        bleep.compare({"mine": _Gives(given)}, tiles, experiment.run)
    with pytest.raises(MismatchError, match=r"mine: predicted \d+ tiles; expected \d+"):
        bleep.compare({"mine": _Gives(experiment.predict(experiment.tiles(experiment.split.train)))}, tiles, experiment.run)


@pytest.mark.parametrize("given", [None, 3, [], ["section"]])
def test_a_reader_that_gives_no_sections_is_named(given: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._registered, ("readers", "mine"), lambda data: given)
    with pytest.raises(DataError, match=r"the reader mine gave (nothing|a NoneType|a int|a str); expected a sequence of"):
        read_sections(DataConfig.model_validate({"source": "mine", "root": tmp_path}))


def test_a_reader_that_fails_is_named(known: Callable[..., None], tmp_path: Path) -> None:
    for read in (lambda data: {}["counts"], lambda data: (1 / 0 for _ in range(2)), lambda: ()):
        known("readers", "mine", read)
        with pytest.raises(
            DataError, match=r"the reader mine of .*test_registry failed \((KeyError|ZeroDiv|TypeError).*mend it"
        ):
            read_sections(DataConfig.model_validate({"source": "mine", "root": tmp_path}))


def test_a_trunk_of_another_shape_is_named(recipe: Callable[..., Tree], tmp_path: Path) -> None:
    from bleep.workflows.fit import fit

    class Flat(Means):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return super().forward(pixels)[0]

    with pytest.raises(ConfigError, match=r"gave \(\d+,\) for a picture|cannot take tiles of 32"):
        fit(Config.load(recipe(tmp_path / "run")), trunk=Flat())
    assert not (tmp_path / "run").exists()


def test_a_contrastive_loss_given_in_python_sees_both_sides(recipe: Callable[..., Tree], tmp_path: Path) -> None:
    from bleep.workflows.fit import fit

    widths = set()

    def apart(sides: Any, scale: torch.Tensor) -> torch.Tensor:
        widths.add((sides.image.shape[1], sides.expression.shape[1], len(sides.image) == len(sides.values)))
        return -(sides.image * sides.expression).sum(dim=1).mean() * scale.detach()

    fit(Config.load(recipe(tmp_path / "run", {"optim": {"epochs": 1}})), loss=apart)
    assert widths == {(16, 16, True)}


@pytest.mark.slow
def test_the_commands_use_an_installed_package(package: Path, stripes: Path, tmp_path: Path, repository: Path) -> None:
    import os

    import yaml

    settings = {
        key: value for key, value in tree(stripes, tmp_path / "run").items() if key in ("tiles", "optim", "index", "out")
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(settings | {"data": {"test": ["s2"]}}))
    page = (repository / "docs" / "how-to" / "extend.md").read_text(encoding="utf-8")
    (printed,) = (line.split()[2:] for line in page.splitlines() if line.startswith("bleep train --data.source stripes"))
    path = os.pathsep.join([str(package), str(repository)])

    def bleep(*words: str, code: int = 0, path: str = path) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *words],  # a Python of its own, as what is installed is looked up once
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    shutil.copytree(stripes, tmp_path / "mine")
    bleep("bleep.train", "--config", "own.yaml", *printed)
    bleep("bleep", "index", "build", "--run", "run")
    assert "plain" in bleep("bleep", "index", "info", "--run", "run")
    table = bleep("bleep", "evaluate", "--run", "run")
    assert "retrieval" in table
    alone = bleep("bleep", "index", "info", "--run", "run", code=2, path=str(repository))
    assert "bleep-example 1.2.0" in alone
