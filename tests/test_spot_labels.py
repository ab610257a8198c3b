"""Labels of measured spots: read from a table of their own, told by neighbours, and scored beside floors."""

import json
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
from sklearn import metrics as sk

import bleep
from bleep.cli.app import main
from bleep.config import CLASSES, Config, DataConfig, PanelConfig
from bleep.data import labels as of_sections
from bleep.data.labels import labels_of
from bleep.data.panel import GenePanel
from bleep.data.readers import read_sections
from bleep.data.toy import MORPHOLOGY
from bleep.errors import ConfigError, DataError, MismatchError
from bleep.models.losses import class_weights, label_loss
from bleep.predictors import Ensemble
from bleep.predictors.baselines import RegressionPredictor
from bleep.predictors.classifier import LabelHeadPredictor, NeighborVote
from bleep.runs import Run
from bleep.workflows.calibrate import calibrate
from bleep.workflows.data import check
from bleep.workflows.experiment import Experiment
from bleep.workflows.fit import fit
from bleep.workflows.labels import RETRIEVAL, evaluate_spot_labels
from bleep.workflows.query import build_reference
from bleep.workflows.stream import stream
from bleep.workflows.tissue import load_split

KINDS = ["sparse", "mixed", "dense"]


def tissue_table(toys: tuple[Any, ...]) -> pd.DataFrame:
    """Return what somebody would write down of toy tissue: how much of a spot is nuclei."""
    nuclei = [section.counts.obsm["morphology"][list(MORPHOLOGY[:3])].sum(axis=1) for section in toys]
    tables = [
        pd.DataFrame({"section": section.name, "spot": section.counts.obs_names, "tissue": np.array(KINDS)[kind]})
        for section, many in zip(toys, nuclei, strict=True)
        for kind in [np.searchsorted(np.quantile(pd.concat(nuclei), [1 / 3, 2 / 3]), many)]
    ]
    return pd.concat(tables)


@pytest.fixture(scope="module")
def table(toys: tuple[Any, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "tissue.csv"
    # Two training spots and one test spot were left undecided.
    tissue_table(toys).reset_index(drop=True).drop([0, 60, 120]).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def labelled(recipe: Any, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "labelled"
    over = {
        "data": {"annotations": str(table), "label": "tissue"},
        "image": {"standardize": "section"},
        "optim": {"epochs": 40},
    }
    run = fit(Config.load(recipe(out, over)))
    build_reference(run).save(out / "reference")
    return out


def test_a_table_of_labels_joins_the_spots_it_names(files: Path, table: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = DataConfig(source="st2k", root=files / "st2k", annotations=table)
    sections = read_sections(data)
    written = pd.read_csv(table)
    for section in sections:
        rows = written[written["section"] == section.name].set_index("spot")["tissue"]
        told = pd.Series(labels_of(section, "tissue"), section.counts.obs_names)
        assert told[rows.index].tolist() == rows.tolist()
        assert set(told.drop(rows.index)) <= {""}
    assert "tissue.csv has a row for" in caplog.text
    plain = read_sections(data.model_copy(update={"annotations": None}))
    assert [one.digest() for one in sections] == [one.digest() for one in plain]


def test_what_loupe_exports_is_read(files: Path, toys: tuple[Any, ...], tmp_path: Path) -> None:
    own = tissue_table(toys[:1]).drop(columns="section").rename(columns={"spot": "Barcode", "tissue": "Pathology"})
    own.to_csv(tmp_path / "loupe.csv", index=False)
    data = DataConfig(source="st2k", root=files / "st2k", sections=("toy1",), annotations=tmp_path / "loupe.csv")
    (section,) = read_sections(data)
    assert dict(zip(section.counts.obs_names, labels_of(section, "Pathology"), strict=True)) == dict(own.to_numpy())


@pytest.mark.parametrize("word", ["None", "NA", "nan"])
def test_a_label_may_be_called_what_pandas_takes_for_missing(
    word: str, files: Path, toys: tuple[Any, ...], tmp_path: Path
) -> None:
    own = tissue_table(toys[:1])
    own.loc[[0, 1], "tissue"] = [word, ""]
    own.to_csv(tmp_path / "t.csv", index=False)
    data = DataConfig(source="st2k", root=files / "st2k", sections=("toy1",), annotations=tmp_path / "t.csv")
    told = dict(zip(read_sections(data)[0].counts.obs_names, labels_of(read_sections(data)[0], "tissue"), strict=True))
    assert [told[spot] for spot in own["spot"][:2]] == [word, ""]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows.drop(columns="spot"), "expected spot or Barcode"),
        (lambda rows: rows.drop(columns="tissue"), "and a column of labels beside them"),
        (lambda rows: rows.drop(columns="section"), "does not say of which section a spot is, and 4 are read"),
        (lambda rows: pd.concat([rows, rows[:1]]), "twice; expected one row a spot"),
        (lambda rows: rows.assign(spot=rows["spot"] + "-1"), "names no spot of section toy1: it has such as"),
    ],
)
def test_a_table_that_does_not_fit_is_one_sentence(
    change: Callable[[pd.DataFrame], pd.DataFrame], words: str, files: Path, toys: tuple[Any, ...], tmp_path: Path
) -> None:
    change(tissue_table(toys)).to_csv(tmp_path / "odd.csv", index=False)
    with pytest.raises(DataError, match=words) as caught:
        read_sections(DataConfig(source="st2k", root=files / "st2k", annotations=tmp_path / "odd.csv"))
    assert str(tmp_path / "odd.csv") in str(caught.value)


@pytest.mark.parametrize(("label", "words"), [("grade", "has no column 'grade'"), ("empty", "no spot of .* has a empty")])
def test_labels_that_are_not_there_are_refused_before_training(
    label: str, words: str, recipe: Any, toys: tuple[Any, ...], tmp_path: Path
) -> None:
    tissue_table(toys).assign(empty="").to_csv(tmp_path / "t.csv", index=False)
    over = {"data": {"annotations": str(tmp_path / "t.csv"), "label": label}}
    with pytest.raises(DataError, match=words):
        fit(Config.load(recipe(tmp_path / "run", over)))
    assert not (tmp_path / "run").exists()


def test_neighbours_tell_the_labels_of_test_spots_and_are_scored(
    labelled: Path, toys: tuple[Any, ...], table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scores are recomputed by scikit-learn from what `bleep query` writes of the same spots."""
    assert main(["evaluate", "--run", str(labelled), "--out", str(tmp_path)]) == 0
    assert "labels of spots, tissue" in capsys.readouterr().out
    scores = json.loads((tmp_path / "labels.json").read_text())["predictors"]
    assert set(scores) == {
        RETRIEVAL, "logistic regression", "logistic regression on colour", "image-kNN", "majority class",
    }  # fmt: skip
    assert "label retrieval" in json.loads((tmp_path / "evaluation.json").read_text())["facts"]["labels told by neighbours"]
    truth = pd.read_csv(table)
    truth = truth.set_index(truth["section"] + "/" + truth["spot"])["tissue"]
    told = {}
    for name in ("toy3", "toy4"):
        images = Config.load(labelled / "config.yaml").data.root / name
        out = tmp_path / f"{name}.h5ad"
        asked = ["query", "--run", str(labelled), "--images", str(images), "--out", str(out), "--predictor", "retrieval"]
        assert main(asked) == 0
        told |= anndata.read_h5ad(out).obs["label"].astype(str).to_dict()
    known = [spot for spot in told if spot in truth.index]
    assert len(known) < len(told)
    right = sk.balanced_accuracy_score(truth[known], [told[spot] for spot in known])
    assert scores[RETRIEVAL]["balanced_accuracy"] == pytest.approx(right, abs=1e-6)
    assert right > 0.5 > scores["majority class"]["balanced_accuracy"]


def test_folds_have_scores_of_labels_too(
    table: Path, recipe: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = {"annotations": str(table), "label": "tissue", "split": "patient", "test": [], "folds": 2}
    (tmp_path / "own.yaml").write_text(json.dumps(recipe(tmp_path / "cv", {"data": data, "optim": {"epochs": 1}})))
    assert main(["cv", "--config", "own.yaml"]) == 0
    assert "labels of spots, tissue" in capsys.readouterr().out
    told = json.loads((tmp_path / "cv" / "labels.json").read_text())
    joined = told["predictors"]["majority class"]["auc"]
    assert joined < 0.49
    assert (
        f"majority class 0.500 (AUC, mean over folds; joined, what knows shares of classes alone has {joined:.3f}"
        in (told["facts"]["each fold"])
    )
    assert main(["evaluate", "--run", "cv/fold0", "cv/fold1", "--out", "apart"]) == 0
    for name in ("labels.json", "labels.csv", "evaluation.json"):
        assert (tmp_path / "cv" / name).read_text() == (tmp_path / "apart" / name).read_text()


def test_a_run_without_labels_has_no_scores_of_them(trained: dict[str, Path]) -> None:
    assert evaluate_spot_labels([trained["contrastive"]]) is None


@pytest.mark.parametrize("kept", [[], ["low"], ["low", "high"]])
def test_a_threshold_is_chosen_where_validation_tissue_has_both_classes(
    kept: list[str], toys: tuple[Any, ...], recipe: Any, tmp_path: Path
) -> None:
    rows = tissue_table(toys).replace({"tissue": {"sparse": "high", "mixed": "low", "dense": "high"}})
    held = rows["section"] == "toy1"
    rows[~held | rows["tissue"].isin(kept)].to_csv(tmp_path / "t.csv", index=False)
    data = {"annotations": str(tmp_path / "t.csv"), "label": "tissue", "split": "section", "test": ["toy4"], "val": "group"}
    run = fit(Config.load(recipe(tmp_path / "run", {"data": data})))
    assert [section.name for section in run.facts.val] == ["toy1"]
    build_reference(run).save(tmp_path / "run" / "reference")
    scored = evaluate_spot_labels([tmp_path / "run"])
    assert scored is not None
    chosen = len(kept) == 2
    assert {one.threshold is None for one in scored.told} == {not chosen}
    assert (scored.facts["threshold"] == "likeliest class") is not chosen
    if not chosen:
        for one in scored.told:
            np.testing.assert_array_equal(one.told, one.probability.argmax(axis=1))


def test_a_tile_whose_neighbours_have_no_label_is_told_the_shares_of_all_labels(labelled: Path) -> None:
    """Not the first class of the list: of two spots that are left with a label, both have the last."""
    experiment = bleep.load(labelled)
    reference, retrieval = experiment.reference, experiment.predictors()["retrieval"]
    assert reference is not None
    spots = reference.spots.assign(label="")
    spots.loc[spots.index[:2], "label"] = KINDS[0]
    few = replace(reference, spots=spots)
    (section,) = (one for one in experiment.split.test if one.name == "toy3")
    classes = GenePanel.fit(
        of_sections.labelled(experiment.split.train, "tissue", partly=True), PanelConfig.model_validate(CLASSES)
    )
    said = NeighborVote(replace(experiment.run, panel=classes), retrieval, few, RETRIEVAL).predict(
        experiment.run.tiles((section,))
    )
    assert sorted(KINDS)[0] != KINDS[0]
    assert set(np.array(said.genes)[said.expression.argmax(axis=1)]) == {KINDS[0]}
    np.testing.assert_allclose(said.expression.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("words", [{"dense": "new"}, dict(zip(KINDS, ("0.0", "1.0", "2.0"), strict=True))])
def test_votes_for_a_class_of_the_index_alone_are_shares_too(
    words: dict[str, str], labelled: Path, table: Path, tmp_path: Path
) -> None:
    """What was added to an index may have labels that no other spot has; indexes of version 0.1 say 1.0 for 1."""
    shutil.copytree(labelled, tmp_path / "run")
    config, rows, spots = tmp_path / "run/config.yaml", pd.read_csv(table), bleep.load(labelled).reference
    assert spots is not None
    rows["tissue"] = rows["tissue"].replace({} if len(words) == 1 else dict(zip(KINDS, "012", strict=True)))
    rows.to_csv(tmp_path / "t.csv", index=False)
    config.write_text(config.read_text().replace(str(table), str(tmp_path / "t.csv")))
    told = replace(spots, spots=spots.spots.assign(label=spots.spots["label"].replace(words)))
    shutil.rmtree(tmp_path / "run/reference")
    told.save(tmp_path / "run/reference")
    found, before = evaluate_spot_labels([tmp_path / "run"]), evaluate_spot_labels([labelled])
    assert found is not None
    assert before is not None
    assert set(words.values()) <= set(found.classes)
    votes, usual = found.pooled(RETRIEVAL), before.pooled(RETRIEVAL)
    np.testing.assert_allclose(votes.probability.sum(axis=1), 1, atol=1e-5)
    places = [found.classes.index(words.get(name, name)) for name in before.classes]
    np.testing.assert_array_equal(votes.probability[:, places], usual.probability)
    own = words if len(words) > 1 else {}
    truth = [found.classes.index(own.get(name, name)) for name in before.classes]
    np.testing.assert_array_equal(votes.truth[:, truth], usual.truth)
    alone = [found.classes.index(name) for name in words.values() if name == "new"]
    assert not votes.truth[:, alone].any()


def test_a_section_without_labels_is_added_and_has_no_vote(labelled: Path, toys: tuple[Any, ...], tmp_path: Path) -> None:
    experiment = bleep.load(labelled)
    reference = experiment.reference
    assert reference is not None
    bare = [section for section in toys if section.name == "toy3"]
    grown = reference.add(experiment.run, bare, allow_held_out=True)
    assert set(grown.spots.loc[grown.spots["section"] == "toy3", "label"]) == {""}


@pytest.fixture(scope="module")
def learnt(recipe: Any, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run for retrieval, regression and labels at once."""
    out = tmp_path_factory.mktemp("learnt") / "run"
    over = {"data": {"annotations": str(table), "label": "tissue"}, "image": {"standardize": "section"}}
    loss = {"loss": {"task": "both", "labels": 1.0, "class_weights": 0.5}, "optim": {"epochs": 40, "chunk": 16}}
    run = fit(Config.load(recipe(out, over, loss)))
    build_reference(run).save(out / "reference")
    return out


def test_labels_are_learnt_beside_expression(learnt: Path, tmp_path: Path) -> None:
    """The label head is scored, written by `bleep query`, and the same when the run is loaded again."""
    scored = evaluate_spot_labels([learnt])
    assert scored is not None
    assert scored.rows.loc["classifier", "balanced_accuracy"] > 0.45 > scored.rows.loc["majority class", "balanced_accuracy"]
    own = scored.pooled("classifier")
    images = Config.load(learnt / "config.yaml").data.root / "toy4"
    assert main(["query", "--run", str(learnt), "--images", str(images), "--out", str(tmp_path / "p.h5ad")]) == 0
    written = anndata.read_h5ad(tmp_path / "p.h5ad").obs
    told = next(one for one in scored.told if one.predictor == "classifier").spots
    said = pd.Series(np.array(scored.classes)[own.told], told.index)
    both = said.index.intersection(written.index)
    assert len(both) > 50
    assert (written.loc[both, "label"].astype(str) == said[both]).all()
    assert written.loc[both, "label_share"].between(1 / 3, 1).all()


def test_labels_of_an_ensemble_are_those_of_all_its_runs_in_any_order(learnt: Path) -> None:
    """Here the second run knows the classes by each other's names, and the third learnt none."""
    one = Run.load(learnt)
    turned = replace(one, facts=replace(one.facts, classes=one.facts.classes[::-1]))
    silent = replace(one, facts=replace(one.facts, classes=()))
    tiles, names = one.tiles(load_split(one.config).test[:1]), sorted(KINDS)
    heads = [LabelHeadPredictor(run, names).predict(tiles).expression for run in (one, turned)]
    expected = np.average(heads, axis=0, weights=[1, 3])
    for order in ((silent, one, turned), (turned, silent, one)):
        weights = [{id(one): 1.0, id(turned): 3.0, id(silent): 4.0}[id(run)] for run in order]
        whole = Ensemble(order, [RegressionPredictor(run) for run in order], weights)
        obs = next(stream(order[0], whole, tiles)).adata.obs
        np.testing.assert_allclose(obs["label_share"], expected.max(axis=1), atol=1e-6)
        assert obs["label"].tolist() == [names[at] for at in expected.argmax(axis=1)]


@pytest.mark.parametrize("train", ["frozen", "last"])
def test_a_rehearsal_may_leave_out_all_that_have_a_label(train: str, recipe: Any, table: Path, tmp_path: Path) -> None:
    labels = pd.read_csv(table)
    labels[labels["section"] == "toy1"].to_csv(tmp_path / "one.csv", index=False)
    over = {
        "data": {"annotations": str(tmp_path / "one.csv"), "label": "tissue"},
        "image": {"train": train},
        "loss": {"labels": 1.0, "class_weights": 0.5},
        "optim": {"epochs": 1},
        "query": {"members": ["retrieval", "ridge"]},
    }
    run = fit(Config.load(recipe(tmp_path / "run", over)))
    report = calibrate(Experiment.of(run, tmp_path / "run")).report
    assert report["left out"] == ["toy1", "toy2"]
    assert np.isfinite(list(report["scores"].values())).all()


def test_spots_without_a_label_have_no_part_in_its_loss() -> None:
    """The mean is over labelled spots: leaving the others out gives the same loss."""
    torch.manual_seed(0)
    logits, label = torch.randn(6, 3), torch.eye(3).repeat(2, 1)
    label[[1, 5]] = 0
    has = label.any(dim=1)
    whole, part = (
        label_loss(logits[rows], label[rows], class_weights(1.0, label[rows].mean(dim=0)))
        for rows in (torch.ones(6, dtype=torch.bool), has)
    )
    torch.testing.assert_close(whole, part)


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"loss": {"labels": 1.0}}, "data.label names no column"),
        ({"loss": {"labels": 1.0, "task": "regression"}, "data": {"label": "tissue"}}, "set loss.task to both"),
    ],
)
def test_settings_that_cannot_learn_labels_are_refused(over: Any, words: str, recipe: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        Config.load(recipe(tmp_path / "run", over))


def test_a_column_of_measures_is_no_label(recipe: Any, toys: tuple[Any, ...], files: Path, tmp_path: Path) -> None:
    rows = tissue_table(toys)
    rows.assign(tissue=np.random.default_rng(0).normal(size=len(rows))).to_csv(tmp_path / "measures.csv", index=False)
    over = {"data": {"annotations": str(tmp_path / "measures.csv"), "label": "tissue"}, "loss": {"labels": 0.5}}
    with pytest.raises(DataError, match=r"different values in .* spots, so it is no label; name another column in data\.label"):
        fit(Config.load(recipe(tmp_path / "run", over)))
    assert not (tmp_path / "run" / "model.safetensors").exists()
    found = check(Config.load(recipe(tmp_path / "run", over))).findings
    assert any(one.kind == "no-labels" and "so it is no label" in one.message for one in found)


def test_other_labels_than_were_learnt_are_noticed(recipe: Any, table: Path, tmp_path: Path) -> None:
    """Neither an index nor the rest of a training is made of labels that have changed; those of test tissue may."""
    own = tmp_path / "tissue.csv"
    own.write_text(table.read_text())
    over = {"data": {"annotations": str(own), "label": "tissue"}, "loss": {"task": "both", "labels": 1.0}}
    config = Config.load(recipe(tmp_path / "run", over))
    run = fit(config)
    build_reference(run)
    rows = pd.read_csv(table)
    held_out = rows["section"].isin(["toy3", "toy4"])
    rows.assign(tissue=rows["tissue"].where(~held_out, "mixed")).to_csv(own, index=False)
    build_reference(run)
    rows.loc[0, "tissue"] = KINDS[(KINDS.index(rows.loc[0, "tissue"]) + 1) % 3]
    rows.to_csv(own, index=False)
    with pytest.raises(MismatchError, match=r"section toy1: its labels \(column tissue\) are not those the run learnt"):
        build_reference(run)
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(MismatchError, match=r"began with other labels of section toy1 than its column tissue holds now"):
        fit(config, resume=True)
    own.write_text(table.read_text())
    assert fit(config, resume=True).weights_digest() == run.weights_digest()
