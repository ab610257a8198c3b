"""Rehearsals on training tissue, what they teach, and predictions made with it."""

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest

import bleep
from bleep.cli import app
from bleep.config import Config
from bleep.data.section import Section
from bleep.data.tiles import Tiles
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.features import FeatureReader
from bleep.models.backbones import textures
from bleep.predictors.calibration import Calibration, CombinedPredictor, calibration_of
from bleep.predictors.conformal import SHIFT
from bleep.predictors.cross_fitting import mean_over_parts
from bleep.predictors.members import FITS, TRAVEL
from bleep.runs import Run
from bleep.workflows import calibrate as rehearsing
from bleep.workflows.calibrate import agreement, calibrate, cross_fitted_on
from bleep.workflows.experiment import Experiment
from bleep.workflows.fit import fit
from bleep.workflows.pack import pack
from bleep.workflows.query import build_reference, share_features
from bleep.workflows.tissue import load_split


@pytest.fixture(scope="module")
def calibrated(recipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated run for both tasks with its index; read it, or copy it."""
    out = tmp_path_factory.mktemp("calibrated") / "run"
    run = fit(Config.load(recipe(out, {"loss": {"task": "both"}, "head": {"hidden": 8}})))
    build_reference(run).save(out / "reference")
    calibrate(Experiment.of(run, out))
    return out


@pytest.fixture
def copied(calibrated: Path, tmp_path: Path) -> Path:
    shutil.copytree(calibrated, tmp_path / "run")
    return tmp_path / "run"


def test_an_index_with_other_keys_than_were_calibrated_is_refused(copied: Path, tmp_path: Path) -> None:
    assert app.main(["index", "build", "--run", str(copied), "--index.keys", "image"]) == 0
    words = "fitted on spots found by expression .*the index finds them by image: run `bleep calibrate` again"
    with pytest.raises(MismatchError, match=words):
        _ = Experiment(copied).predictor
    with pytest.raises(MismatchError, match=words):
        pack(copied, tmp_path / "run.zip")
    calibrate(copied)
    assert Experiment(copied).predictor.name == "combined"


def test_the_card_of_a_packed_run_says_how_sure_it_is(calibrated: Path, tmp_path: Path) -> None:
    pack(calibrated, tmp_path / "run.zip")
    with zipfile.ZipFile(tmp_path / "run.zip") as held:
        card = held.read("README.md").decode()
    report = Calibration.load(calibrated / "calibration").report
    assert f"- rehearsed on: {report['rehearsed on']}" in card
    assert f"held {report['coverage']['mean']:.1%} of the values of parts that they were not fitted on" in card
    assert f"- genes graded high: {report['confidence']['high']}" in card
    assert "with random weights" in card


def test_a_calibration_of_another_run_is_not_packed(calibrated: Path, run_copy: Any, tmp_path: Path) -> None:
    folder = run_copy()
    shutil.copytree(calibrated / "calibration", folder / "calibration")
    with pytest.raises(MismatchError):
        pack(folder, tmp_path / "run.zip")
    assert not (tmp_path / "run.zip").exists()


def test_parts_are_left_out_once_each_with_nothing_of_them_in_the_rest(calibrated: Path, toys: tuple[Section, ...]) -> None:
    run = Run.load(calibrated)
    for sections, folds in ((toys[:2], None), (toys[:3], 2), (toys[:1], None)):
        parts = rehearsing.parts_of(run, sections, folds)
        held = np.concatenate([part.held for part in parts])
        assert sorted(held) == list(range(sum(map(len, sections))))
        assert all(not set(part.held) & set(part.rest) for part in parts)
    with pytest.raises(ConfigError, match="expected 2 or more"):
        rehearsing.parts_of(run, toys, 1)


def test_parts_that_leave_a_single_spot_to_train_on_are_refused_before_anything_is_trained(
    calibrated: Path, toys: tuple[Section, ...]
) -> None:
    run, lone = Run.load(calibrated), toys[0].subset(np.array([3]))
    with pytest.raises(DataError, match=r"leaving out donor2 leaves 1 of \d+ training spots, too few to rehearse on"):
        rehearsing.parts_of(run, (lone, toys[2]))
    with pytest.raises(DataError, match=r"its 2 spots cannot .*; train with a lower data\.margin, or on more tissue"):
        rehearsing.parts_of(run, (toys[0].subset(np.array([3, 40])),))


def test_blocks_of_a_single_section_keep_a_margin(calibrated: Path, toys: tuple[Section, ...]) -> None:
    section = toys[0]
    for part in rehearsing.parts_of(Run.load(calibrated), (section,)):
        gap = np.linalg.norm(section.xy[part.held][:, None] - section.xy[part.rest][None], axis=2)
        assert gap.min() > 1.2 * section.pitch()


def test_several_patients_are_left_out_one_by_one(calibrated: Path, toys: tuple[Section, ...]) -> None:
    assert [part.name for part in rehearsing.parts_of(Run.load(calibrated), toys)] == ["donor1", "donor2"]


def test_what_was_measured_in_left_out_tissue_does_not_reach_its_prediction(calibrated: Path, tmp_path: Path) -> None:
    run = Run.load(calibrated)
    divided = load_split(run.config)
    before = rehearsing.cross_fit(run, divided, tmp_path / "a")[1]
    first, second = divided.train
    counts = second.counts.copy()
    counts.X = counts.X[::-1].copy()
    changed = replace(divided, train=(first, replace(second, counts=counts)))
    after = rehearsing.cross_fit(run, changed, tmp_path / "b")
    assert after[1].name == second.name
    assert before.neighbors is not None
    assert after[1].neighbors is not None
    np.testing.assert_array_equal(before.neighbors.rows, after[1].neighbors.rows)
    for name, values in before.predictions.items():
        np.testing.assert_allclose(values, after[1].predictions[name], rtol=1e-5, atol=1e-6)


def test_neighbours_of_left_out_spots_are_of_the_rest_alone(calibrated: Path, tmp_path: Path) -> None:
    run = Run.load(calibrated)
    divided = load_split(run.config)
    for part in rehearsing.cross_fit(run, divided, tmp_path):
        assert part.neighbors is not None
        assert not set(part.rows) & set(part.neighbors.rows.ravel())


def test_finished_rehearsals_are_used_again_and_damaged_ones_made_again(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, kept = Run.load(copied), copied / "calibration" / "rehearsal"
    before = Calibration.load(copied / "calibration").digest()
    trained: list[int] = []
    refit = rehearsing.refit
    monkeypatch.setattr(rehearsing, "refit", lambda *words: trained.append(1) or refit(*words))
    assert calibrate(Experiment.of(run, copied)).digest() == before
    assert not trained
    path = kept / "001.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert calibrate(Experiment.of(run, copied)).digest() == before
    assert len(trained) == 1


def test_the_combined_predictor_gives_intervals_and_familiarity(calibrated: Path) -> None:
    run, reference = Run.load(calibrated), bleep.Reference.load(calibrated / "reference")
    calibration = Calibration.load(calibrated / "calibration")
    assert calibration.stacker.members == ("retrieval", "regression", "ridge", *FITS)
    combined = CombinedPredictor(run, reference, calibration, abstain=0.5)
    tiles = run.tiles(bleep.load_split(run.config).test)
    prediction = combined.predict(tiles)
    assert prediction.lower is not None
    assert prediction.upper is not None
    assert (prediction.lower < prediction.expression).all()
    assert (prediction.expression < prediction.upper).all()
    data = prediction.to_anndata()
    assert set(data.layers) - {None} == {"spread", "lower", "upper"}
    assert data.obs["familiarity"].between(0, 1).all()
    assert set(data.var["confidence"]) <= {"high", "medium", "low"}
    assert (data.var["least_pcc"] <= data.var["most_pcc"]).all()
    np.testing.assert_array_equal(data.obs["abstain"], data.obs["familiarity"] < 0.5)
    blocks = [combined.predict(block) for block in tiles.blocks(20)]
    np.testing.assert_allclose(np.concatenate([b.expression for b in blocks]), prediction.expression, rtol=1e-4, atol=1e-5)


def test_a_run_that_holds_out_subjects_combines_simple_members_and_keeps_predictions_in_bounds(calibrated: Path) -> None:
    run, reference = Run.load(calibrated), bleep.Reference.load(calibrated / "reference")
    calibration = Calibration.load(calibrated / "calibration")
    # Both training sections are of one animal, so nothing that was fitted on them counts.
    assert calibration.report["trust"] == 0
    assert 1.05 < calibration.report["widened"] < np.sqrt(1 + SHIFT)
    assert calibration.report["rehearsed on"].startswith("2 sections of one subject: scores on another subject are lower")
    combined = CombinedPredictor(run, reference, calibration)
    tiles = run.tiles(load_split(run.config).test)
    prediction = combined.predict(tiles)
    assert list(combined.members) == list(calibration.stacker.members)
    by_member = calibration.stacker.weights.reshape(2, len(combined.members), -1).sum(axis=(0, 2))
    assert {name for name, weight in zip(combined.members, by_member, strict=True) if weight > 0} == set(TRAVEL)
    assert calibration.bounds is not None
    assert (prediction.expression >= calibration.bounds[0] - 1e-6).all()
    assert (prediction.expression <= calibration.bounds[1] + 1e-6).all()
    assert not prediction.spots["bounded"].any()
    tight = replace(calibration, bounds=np.zeros_like(calibration.bounds))
    bounded = CombinedPredictor(run, reference, tight).predict(tiles)
    assert (bounded.expression == 0).all()
    assert bounded.spots["bounded"].all()


def test_what_members_see_is_shared_before_and_those_without_a_weight_are_left_out(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.load(copied)
    run = replace(run, config=run.config.model_copy(update={"cache": tmp_path / "cache"}))
    combined = CombinedPredictor(run, bleep.Reference.load(copied / "reference"), Calibration.load(copied / "calibration"))
    tiles = run.tiles(load_split(run.config).test)
    passed: list[int] = []
    compute = FeatureReader._compute
    monkeypatch.setattr(FeatureReader, "_compute", lambda self, *rest: passed.append(len(rest[1])) or compute(self, *rest))
    share_features(run, tiles, combined)
    # The trunk and the textures.
    assert sum(passed) == 2 * len(tiles)
    for name in set(combined.members) - {"retrieval", *TRAVEL}:
        monkeypatch.setattr(combined.members[name], "predict", lambda tiles: pytest.fail("has no weight"), raising=False)
    assert np.isfinite(combined.predict(tiles).expression).all()
    assert sum(passed) == 2 * len(tiles)
    # A process that is not the main one has no predictor, and does its part all the same.
    others = replace(run, config=run.config.model_copy(update={"cache": tmp_path / "other"}))
    monkeypatch.setattr("bleep.workflows.query.of_main", lambda mine: textures.CENTRED)
    share_features(others, tiles)
    assert sum(passed) == 4 * len(tiles)


def test_a_calibration_says_what_its_scores_are_of(calibrated: Path, toys: tuple[Section, ...]) -> None:
    run = Run.load(calibrated)
    assert cross_fitted_on(run, toys[:1]).startswith(
        "blocks of one section of one subject: scores on another subject are lower"
    )
    two = [replace(section, patient=name) for section, name in zip(toys[:2], "ab", strict=True)]
    assert cross_fitted_on(run, two).startswith(
        "2 subjects, each left out in turn: these are scores on a subject not trained on"
    )


def test_members_that_are_named_are_combined_alone(calibrated: Path) -> None:
    run = Run.load(calibrated)
    named = Config.load(run.config.dump(), {"query": {"members": ["ridge", "ridge on stains"]}})
    assert rehearsing.simple_members(replace(run, config=named)) == ["ridge on stains"]
    assert rehearsing.members_that_travel(replace(run, config=named)) == ()
    alike = Config.load(run.config.dump(), {"image": {"standardize": "section"}})
    assert set(rehearsing.members_that_travel(replace(run, config=alike))) == {*TRAVEL, "retrieval", "regression"}
    by_section = Config.load(run.config.dump(), {"data": {"split": "section", "test": ["toy3"]}})
    assert rehearsing.simple_members(replace(run, config=by_section)) == []


def test_a_calibrated_run_stands_in_the_table_as_combined(calibrated: Path) -> None:
    table = bleep.evaluate([calibrated])
    assert {"retrieval", "regression", "mean of both", "combined", "ridge"} <= set(table.rows.index)
    fitted = {one.what: one.sections for one in table.leaks[0].fitted}
    assert fitted["corrector"] == ("toy1", "toy2")


def test_a_regression_run_is_calibrated_without_neighbours(run_copy: Callable[..., Path]) -> None:
    folder = run_copy("regression")
    run = Run.load(folder)
    calibration = calibrate(Experiment.of(run, folder), folds=2)
    assert calibration.stacker.members == ("regression", "ridge", *FITS)
    experiment = Experiment.of(run, folder)
    predictor, reference = experiment.select(), experiment.reference
    assert reference is None
    prediction = predictor.predict(run.tiles(bleep.load_split(run.config).test))
    assert prediction.spread is None
    assert prediction.lower is not None
    assert np.isfinite(prediction.lower).all()


def test_a_calibration_of_another_run_is_refused(copied: Path, run_copy: Callable[..., Path]) -> None:
    other = run_copy("regression")
    shutil.copytree(copied / "calibration", other / "calibration")
    with pytest.raises(MismatchError, match="the calibration was fitted for a run of other"):
        calibration_of(Run.load(other), other)


@pytest.mark.parametrize("name", ["calibration.safetensors", "calibration.json"])
def test_damaged_files_are_refused(copied: Path, name: str) -> None:
    path = copied / "calibration" / name
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises((DataError, MismatchError), match="calibrate"):
        calibration_of(Run.load(copied), copied)


def test_an_uncalibrated_run_has_no_calibration(trained: dict[str, Path]) -> None:
    assert calibration_of(Run.load(trained["contrastive"]), trained["contrastive"]) is None


def test_the_commands_calibrate_and_mark_tiles(
    copied: Path, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["calibrate", "--run", str(copied)]) == 0
    assert "intervals of 90%" in capsys.readouterr().out
    out = tmp_path / "out.h5ad"
    words = ["query", "--run", str(copied), "--images", str(files / "st2k" / "toy3"), "--mpp", "1", "--out", str(out)]
    assert app.main([*words, "--abstain"]) == 0
    data = anndata.read_h5ad(out)
    assert {"lower", "upper", "spread"} <= set(data.layers)
    assert data.obs["abstain"].dtype == bool
    graded = data.var["confidence"] == "high"
    assert app.main([*words, "--min-confidence", "high"]) == 0
    assert list(anndata.read_h5ad(out).var_names) == list(data.var_names[graded])
    assert 0 < graded.sum() < len(graded)
    slides = ["--slides", str(next((files / "st2k").rglob("*toy3*.*g"))), "--mpp", "1", "--step", "300", "--engine", "here"]
    many = [*words[:3], *slides, "--min-confidence", "high", "--out", str(tmp_path / "archive")]
    assert app.main(many) == 0
    (one,) = (tmp_path / "archive").glob("*.h5ad")
    assert list(anndata.read_h5ad(one).var_names) == list(data.var_names[graded])
    assert app.main([*many[:-3], "medium", *many[-2:]]) == 2
    assert "another run, index or question" in capsys.readouterr().err
    low = data.var_names[~graded][0]
    assert app.main([*words, "--min-confidence", "high", "--genes", low]) == 2
    assert "no gene asked for is graded so" in capsys.readouterr().err
    assert app.main([*words, "--min-confidence", "high", "--predictor", "retrieval"]) == 2
    assert "leave --predictor, --k and --weights out" in capsys.readouterr().err
    assert app.main([*words, "--abstain", "--k", "5"]) == 2
    assert "takes no k, weights or other predictor" in capsys.readouterr().err
    assert app.main([*words, "--abstain", "3"]) == 2
    shutil.rmtree(copied / "calibration")
    assert app.main([*words, "--out-dir", str(tmp_path / "many")]) == 2
    assert "give one of them" in capsys.readouterr().err
    for flags in (["--abstain"], ["--min-confidence", "high"]):
        assert app.main([*words, *flags]) == 2
        assert "bleep calibrate" in capsys.readouterr().err


def test_tissue_that_has_changed_is_not_calibrated_on(copied: Path, files: Path, tmp_path: Path) -> None:
    run = Run.load(copied)
    moved = run.config.data.model_copy(update={"test": ("donor1",)})
    changed = replace(run, config=run.config.model_copy(update={"data": moved}))
    with pytest.raises(MismatchError, match="its files are not those the run was trained on"):
        calibrate(Experiment.of(changed, tmp_path))


def test_tissue_that_is_gone_is_missed(copied: Path, tmp_path: Path) -> None:
    run = Run.load(copied)
    fewer = replace(run, config=run.config.model_copy(update={"data": run.config.data.model_copy(update={"sections": REST})}))
    for work in (lambda: calibrate(Experiment.of(fewer, tmp_path)), lambda: build_reference(fewer)):
        with pytest.raises(MismatchError, match="section toy2, which the run was trained on, is not there"):
            work()


REST = ("toy1", "toy3", "toy4")


def test_validation_has_no_spot_of_a_section_that_is_left_out(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = recipe(tmp_path / "run", {"data": {"val": "random"}, "loss": {"task": "regression"}, "optim": {"epochs": 1}})
    run = fit(Config.load(tree))
    refit, seen = rehearsing.refit, []
    monkeypatch.setattr(rehearsing, "refit", lambda *words: seen.append(words[1]) or refit(*words))
    calibrate(Experiment.of(run, tmp_path / "run"))
    assert len(seen) == 2
    for split in seen:
        assert split.val
        assert not {section.name for section in split.val} & {section.name for section in split.test}


def test_one_section_of_ready_cut_tiles_cannot_be_divided(recipe: Any, files: Path, tmp_path: Path) -> None:
    data = {"source": "folder", "root": str(files / "folder" / "train.csv"), "split": "section", "test": ["toy2"], "mpp": 1.0}
    tree = recipe(tmp_path / "run", {"data": data, "loss": {"task": "regression"}, "optim": {"epochs": 1}})
    run = fit(Config.load(tree))
    with pytest.raises(DataError, match="toy1: is the only one that was trained on, and ready-cut tiles have no places"):
        calibrate(Experiment.of(run, tmp_path / "run"))


def test_parts_in_which_no_gene_varies_have_no_say() -> None:
    assert mean_over_parts([0.2, float("nan"), 0.4]) == pytest.approx(0.3)
    with pytest.raises(DataError, match="no gene varies"):
        mean_over_parts([float("nan")])
    assert np.isnan(agreement(np.ones((1, 3), np.float32), np.ones((1, 3), np.float32)))


def test_tiles_of_the_test_tissue_are_not_needed(calibrated: Path) -> None:
    run = Run.load(calibrated)
    names = {name for part in Calibration.load(calibrated / "calibration").report["left out"] for name in part.split(", ")}
    assert names == {section.name for section in bleep.load_split(run.config).train}
    assert isinstance(run.tiles(()), Tiles)


def test_the_page_of_a_query_has_the_genes_of_its_file(
    calibrated: Path, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page showed the whole panel beside a file of some genes, and called it that of the file."""
    out, page = tmp_path / "out.h5ad", tmp_path / "page.html"
    section, explained = files / "st2k" / "toy3", ["--explain", "1", "--predictor", "retrieval"]
    paths = ["--out", str(out), "--report", str(page)]
    words = ["query", "--run", str(calibrated), "--images", str(section), "--mpp", "1", *paths]
    run = Run.load(calibrated)
    chosen = [run.panel.genes[column] for column in (5, 2, 9)]
    for flags in (["--min-confidence", "high"], ["--genes", ",".join(chosen)], ["--genes", ",".join(chosen), *explained]):
        capsys.readouterr()
        assert app.main([*words, *flags]) == 0
        data, shown = anndata.read_h5ad(out), page_data(page)
        written = len(data.var_names)
        assert set(shown["genes"]) == set(data.var_names)
        assert len(shown["genes"]) == written < len(run.panel.genes)
        assert f"a page of {written} genes" in capsys.readouterr().out
        text = page.read_text(encoding="utf-8")
        assert f"{len(data)} tiles, {written} of the {len(run.panel.genes)} genes of the run, by " in text
        assert f"All {written} genes that were asked for can be shown." in text
        # What was measured stands beside the same gene.
        measured = run.panel.values(bleep.open_tiles(section, run, 1.0).sections[0])
        for at, gene in enumerate(shown["genes"]):
            here, column = shown["sections"][0]["layers"], run.panel.genes.index(gene)
            for layer, values in (("measured", measured[:, column]), ("predicted", data[:, gene].X[:, 0])):
                ends = [here[layer]["low"][at], here[layer]["high"][at]]
                np.testing.assert_allclose(ends, [values.min(), values.max()], rtol=1e-4, atol=1e-4)
    assert (tmp_path / "out.explained").is_dir()


def page_data(path: Path) -> Any:
    """Return what a page holds for its script."""
    return json.loads(path.read_text(encoding="utf-8").split('id="data">')[1].split("</script>")[0])
