"""A deliberate leak of each kind is found and named; nothing is found where there is none."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import bleep
from bleep.config import Config, DataConfig, PanelConfig
from bleep.data.panel import GenePanel
from bleep.data.readers import read_sections
from bleep.data.section import Section
from bleep.data.slides import ArraySlide
from bleep.data.splits import Split
from bleep.errors import MismatchError
from bleep.evaluation import leakage
from bleep.evaluation.report import as_text, save
from bleep.files import read_json, write_json
from bleep.records import Fitted, Leak, LeakReport
from bleep.retrieval.reference import build
from bleep.runs import Run
from bleep.workflows.audit import audit

NONE = Leak("none", "nothing shared")


def kinds(report: LeakReport) -> dict[str, str]:
    return {finding.kind: finding.severity for finding in report.findings}


def report(divided: Split, *fitted: Fitted) -> LeakReport:
    return leakage.report("run", divided, fitted, ())


@pytest.fixture
def divided(toys: tuple[Section, ...]) -> Split:
    return Split(toys[:2], (), toys[2:], "patient", NONE)


def test_patients_apart_and_all_fitted_on_training_sections_is_no_finding(divided: Split) -> None:
    assert report(divided, Fitted("panel", ("toy1", "toy2"))).findings == ()


@pytest.mark.parametrize(
    ("by", "kind", "severity"), [("random", "random split", "leak"), ("block", "neighbouring tissue", "caution")]
)
def test_a_split_inside_sections_is_named(toys: tuple[Section, ...], by: Any, kind: str, severity: str) -> None:
    train, test = toys[0].subset(np.arange(0, 40)), toys[0].subset(np.arange(40, len(toys[0])))
    assert kinds(report(Split((train,), (), (test,), by, NONE))) == {kind: severity}


def test_another_section_of_the_same_patient_is_named_whatever_was_noted_before(toys: tuple[Section, ...]) -> None:
    found = report(Split(toys[:1], (), toys[1:2], "section", NONE))
    assert kinds(found) == {"same patient": "caution"}
    assert "donor1" in found.findings[0].detail


def test_a_section_without_a_patient_is_named(toys: tuple[Section, ...]) -> None:
    nobody = replace(toys[2], patient=toys[2].name)
    assert kinds(report(Split(toys[:1], (), (nobody,), "section", NONE))) == {"unknown patient": "unknown"}


def test_a_section_doubled_under_another_name_and_picture_is_named(toys: tuple[Section, ...]) -> None:
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(len(toys[0]))
    picture = ArraySlide(rng.integers(0, 255, (300, 300, 3), dtype=np.uint8))
    double = replace(toys[0].subset(shuffled), name="new", patient="someone", slide=picture)
    found = report(Split(toys[:2], (), (double,), "patient", NONE))
    assert kinds(found) == {"duplicate": "leak"}
    assert (
        f"{len(double)} of {len(double)} spots of test section new have the counts of spots of section toy1"
        in found.findings[0].detail
    )


def test_a_doubled_section_whose_genes_stand_in_another_order_is_named(toys: tuple[Section, ...]) -> None:
    turned = toys[0].counts[:, ::-1].copy()
    double = replace(toys[0], name="new", patient="someone", counts=turned)
    assert kinds(report(Split(toys[:2], (), (double,), "patient", NONE))) == {"duplicate": "leak"}


def test_a_section_on_a_picture_that_was_trained_on_is_named(toys: tuple[Section, ...]) -> None:
    other = replace(toys[2], slide=toys[0].slide)
    assert kinds(report(Split(toys[:2], (), (other,), "patient", NONE))) == {"same picture": "caution"}


def test_ready_cut_tiles_on_both_sides_are_named_whatever_their_names_and_counts(files: Path, tmp_path: Path) -> None:
    table = pd.read_csv(files / "folder" / "train.csv")
    own = table[table["section"] == "toy1"].sample(frac=1.0, random_state=0)
    genes = [name for name in table if name not in ("ID", "path", "section", "patient")]
    noisy = own.assign(section="new", patient="someone", ID=[f"z{i}" for i in range(len(own))])
    noisy[genes] = own[genes] * 1.25 + 1
    paths = [f"z{i}.png" for i in range(len(own))]
    for old, new in zip(own["path"], paths, strict=True):
        shutil.copy(files / "folder" / old, tmp_path / new)
    noisy.assign(path=paths).to_csv(tmp_path / "new.csv", index=False)
    trained = read_sections(DataConfig(root=files / "folder" / "train.csv"))
    whole = read_sections(DataConfig(root=tmp_path / "new.csv"))[0]
    copy = whole.subset(np.arange(5, len(own)))
    assert leakage.copied(copy, trained[0])
    assert not leakage.copied(*trained[:2])
    found = report(Split(trained, (), (copy,), "patient", NONE))
    assert kinds(found) == {"duplicate": "leak"}
    assert f"{len(own) - 5} ready-cut pictures of test section new are those of section toy1" in found.findings[0].detail
    # Only tiles of spots that are there count, not those of spots that were left out.
    names = list(trained[0].slide.paths)
    rest = trained[0].subset(np.array([names.index(files / "folder" / path) for path in own["path"][:20]]))
    assert not leakage.copied(whole.subset(np.arange(20, len(own))), rest)


def test_different_tissue_is_no_duplicate(toys: tuple[Section, ...]) -> None:
    assert len({tuple(leakage.spot_codes(section)[0]) for section in toys}) == len(toys)
    for section in toys:
        codes, seen = leakage.spot_codes(section)
        assert len(np.unique(codes)) == len(section)
        assert (seen == (section.counts.X > 0).sum(axis=1).ravel()).all()


def test_spots_are_counted_as_doubled_beyond_what_chance_may_explain(toys: tuple[Section, ...]) -> None:
    test, many = toys[2], len(toys[2])
    few = int(max(2, 0.01 * many))
    for doubled, told in ((few, 0), (few + 1, few + 1), (many // 2, many // 2)):
        rows = np.arange(doubled)
        other = replace(toys[0], counts=anndata.concat([toys[0].counts[doubled:], test.counts[rows]]))
        assert leakage.repeated(test, other) == told
        mine, others = (section.counts.X.toarray() for section in (test, other))
        assert leakage.repeated_values(mine, [others[:50], others[50:]]) == told
    # Of a spot with few genes seen, the like may stand anywhere.
    sparse = test.counts.copy()
    sparse.X = sparse.X.copy()
    sparse.X[:, min(leakage.ENOUGH, leakage.FEW + 1) - 1 :] = 0
    assert leakage.repeated(replace(test, counts=sparse), replace(test, counts=sparse)) == 0
    assert leakage.repeated_values(sparse.X.toarray(), [sparse.X.toarray()]) == 0


def test_looking_for_duplicates_leaves_counts_as_they_are(toys: tuple[Section, ...]) -> None:
    """Zeros that a file stores are no counts; what is scored, or added to an index, afterwards is what was read."""
    counts = toys[0].counts.copy()
    counts.X.data[::7] = 0
    stored, plain = replace(toys[0], counts=counts), counts.X.toarray()
    codes, seen = leakage.spot_codes(stored)
    np.testing.assert_array_equal(counts.X.toarray(), plain)
    counts.X = sparse.csr_matrix(plain)
    np.testing.assert_array_equal(codes, leakage.spot_codes(replace(toys[0], counts=counts))[0])
    np.testing.assert_array_equal(seen, (plain > 0).sum(axis=1))


def test_a_test_section_among_those_something_was_fitted_on_is_named_by_that_thing(divided: Split) -> None:
    for what in ("panel", "corrector", "index"):
        found = report(divided, Fitted(what, ("toy1", "toy3")))
        assert kinds(found) == {what: "leak"}
        assert "toy3" in found.findings[0].detail


def test_test_spots_in_a_correction_are_named(divided: Split) -> None:
    found = list(leakage.of_spots("batch correction", [*divided.train[0].ids, divided.test[0].ids[5]], divided))
    assert [finding.kind for finding in found] == ["batch correction"]
    assert divided.test[0].ids[5] in found[0].detail


PANEL = PanelConfig(choice="variance", size=12)


def test_a_panel_fitted_with_a_test_section_is_found_though_it_says_otherwise(
    divided: Split, toys: tuple[Section, ...]
) -> None:
    honest = GenePanel.fit(toys[:2], PANEL)
    assert list(leakage.of_panel(honest, PANEL, divided)) == []
    leaking = replace(GenePanel.fit(toys, PANEL), sections=honest.sections)
    found = {finding.kind: finding.detail for finding in leakage.of_panel(leaking, PANEL, divided)}
    assert "training and test sections give together" in found["panel"]
    other = replace(GenePanel.fit(toys[1:2], PANEL), sections=honest.sections)
    found = {finding.kind: finding.detail for finding in leakage.of_panel(other, PANEL, divided)}
    assert "fitted on other sections" in found["panel"]


def test_a_scaler_fitted_with_a_test_section_is_found_by_itself(divided: Split, toys: tuple[Section, ...]) -> None:
    every = PanelConfig(choice="all")
    honest, leaking = GenePanel.fit(toys[:2], every), GenePanel.fit(toys, every)
    scaled = replace(honest, shift=leaking.shift, factor=leaking.factor)
    assert [finding.kind for finding in leakage.of_panel(scaled, every, divided)] == ["scaling"]


def test_features_standardised_by_other_tiles_are_found() -> None:
    features = np.random.default_rng(0).normal(2, 3, (50, 4)).astype(np.float32)
    assert list(leakage.of_standardiser(features.mean(axis=0), features)) == []
    assert [f.kind for f in leakage.of_standardiser(features.mean(axis=0) + 0.5, features)] == ["standardising"]
    # What is off is told in spreads, so features of another unit are off by as much.
    (found,) = leakage.of_standardiser(1e3 * features.mean(axis=0) + 1e3 * 0.3 * features.std(axis=0), 1e3 * features)
    assert "up to 0.30 spreads" in found.detail


def test_a_trained_run_is_clean_and_the_table_says_so(trained: dict[str, Path], tmp_path: Path) -> None:
    table = bleep.evaluate([trained["contrastive"]])
    (found,) = table.leaks
    assert [finding for finding in found.findings if finding.severity != "unknown"] == []
    assert {"panel", "scaling", "index", "heads", "floors"} <= {fitted.what for fitted in found.fitted}
    assert "fitted on training sections alone: panel, scaling" in as_text(table)
    assert read_json(save(table, tmp_path)[0], "it")["leak_report"][0]["fitted"][0]["sections"] == ["toy1", "toy2"]


def test_leaks_planted_in_a_runs_folder_are_named_in_the_table(
    run_copy: Callable[..., Path], toys: tuple[Section, ...]
) -> None:
    folder = run_copy("contrastive")
    run = Run.load(folder)
    test = bleep.load_split(run.config).test
    panel = GenePanel.fit((*bleep.load_split(run.config).train, *test), run.config.panel)
    write_json(folder / "panel.json", replace(panel, sections=run.panel.sections).to_dict())
    write_json(folder / "calibration" / "calibration.json", {"sections": [{"name": test[0].name}]})
    leaking = Run.load(folder)
    reference = build(leaking, bleep.load_split(run.config).train).add(leaking, (test[1],), allow_held_out=True)
    found = audit(leaking, bleep.load_split(run.config), reference, folder)
    assert {"panel": "leak", "corrector": "leak", "index": "leak", "same patient": "caution"}.items() <= kinds(found).items()
    said = "\n".join(leakage.lines([found]))
    assert "LEAK, corrector: test section toy3" in said
    assert "LEAK, index: " in said


def test_a_scaler_of_features_fitted_with_test_tiles_is_named(run_copy: Callable[..., Path]) -> None:
    run = Run.load(run_copy("regression"))
    divided = bleep.load_split(run.config)
    assert "standardising" not in kinds(audit(run, divided, None, Path("x")))
    with torch.no_grad():
        run.model.standardize.mean += 0.5 * run.model.standardize.spread
    assert kinds(audit(run, divided, None, Path("x")))["standardising"] == "leak"


def test_a_random_split_is_named_in_the_table(recipe: Any, tmp_path: Path) -> None:
    over = {"data": {"split": "random", "test": []}, "loss": {"task": "regression"}, "optim": {"epochs": 1}}
    bleep.fit(Config.load(recipe(tmp_path / "run", over)))
    assert "LEAK, random split: " in as_text(bleep.evaluate([tmp_path / "run"]))


def test_a_test_section_trained_on_is_refused_before_anything_is_scored(run_copy: Callable[..., Path]) -> None:
    folder = run_copy("regression")
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("- donor2", "- donor1"))
    with pytest.raises(MismatchError, match="trained on"):
        bleep.evaluate([folder])
