"""A run: saved, loaded, used."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bleep.config import Config
from bleep.data.tiles import Tiles
from bleep.errors import DataError, MismatchError
from bleep.predictors.baselines import baselines_of
from bleep.retrieval.reference import Reference
from bleep.runs import Run, newest_run
from bleep.workflows.evaluate import evaluate
from bleep.workflows.experiment import Experiment
from bleep.workflows.fit import fit
from bleep.workflows.query import build_reference
from bleep.workflows.tissue import load_split


@pytest.mark.parametrize("task", ["contrastive", "regression"])
def test_a_saved_and_loaded_run_predicts_the_same_bits(task: str, recipe: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    config = Config.load(recipe(out, {"loss": {"task": task}, "tiles": {"microns": [64.0, 48.0]}, "image": {"layer": 2}}))
    fresh = fit(config)
    if task == "contrastive":
        build_reference(fresh).save(out / "reference")
    loaded = Run.load(out)
    assert loaded.weights_digest() == fresh.weights_digest()
    assert loaded.panel.digest() == fresh.panel.digest()
    assert loaded.facts == fresh.facts
    assert loaded.config == fresh.config
    fresh.model.to(loaded.device)
    tiles = Tiles(load_split(config).test, fresh.spec)
    one, other = (Experiment.of(run, out).predict(tiles) for run in (fresh, loaded))
    np.testing.assert_array_equal(one.expression, other.expression)
    assert np.ptp(one.expression, axis=0).max() > 0


def test_a_moved_run_still_predicts(run_copy: Any, trained: dict[str, Path], recipe: Any) -> None:
    moved = run_copy(name="elsewhere")
    run = Run.load(moved)
    tiles = Tiles(load_split(run.config).test, run.spec)
    here = Experiment.of(run, moved).predict(tiles)
    there = Experiment(trained["contrastive"]).predict(tiles)
    np.testing.assert_array_equal(here.expression, there.expression)


def test_a_run_remembers_where_it_comes_from(trained: dict[str, Path]) -> None:
    facts = Run.load(trained["contrastive"]).facts
    assert [section.name for section in facts.train] == ["toy1", "toy2"]
    assert facts.test == ("toy3", "toy4")
    assert (facts.by, facts.leak.status, facts.epoch) == ("patient", "none", 2)
    assert facts.trunk.startswith("test_resnet")
    assert {section.tile_side for section in facts.train} == {0}


def test_the_newest_run_is_found_and_nothing_is_said_to_be_nothing(tmp_path: Path, run_copy: Any) -> None:
    import os

    with pytest.raises(DataError, match="holds no trained run"):
        newest_run(tmp_path / "runs")
    old, new = run_copy(name="runs/a/old"), run_copy(name="runs/new")
    (tmp_path / "runs" / "unfinished").mkdir()
    os.utime(old / "model.safetensors", (1, 1))
    assert newest_run(tmp_path / "runs") == new
    os.utime(new / "model.safetensors", (0, 0))
    assert newest_run(tmp_path / "runs") == old


def test_a_reference_of_other_weights_panel_or_tiles_is_refused(trained: dict[str, Path]) -> None:
    run, reference = Run.load(trained["contrastive"]), Reference.load(trained["contrastive"] / "reference")
    reference.check(run)
    for words, other in {
        "tile size": replace(
            run, config=run.config.model_copy(update={"tiles": Config.load({"tiles": {"microns": [70]}}).tiles})
        ),
        "panel": replace(run, panel=replace(run.panel, mean=run.panel.mean + 1)),
        "weights": Run.load(trained["regression"]),
    }.items():
        if words == "weights":
            other = replace(other, panel=run.panel)
        with pytest.raises(MismatchError, match=f"built with other {words}"):
            reference.check(other)


def test_training_on_files_changed_since_is_not_indexed(recipe: Any, copies: Any, tmp_path: Path) -> None:
    root = copies("st2k")
    config = Config.load(recipe(tmp_path / "run", {"data": {"root": str(root)}}))
    run = fit(config)
    table = root / "toy1" / "alignment_table_toy1.tsv"
    lines = table.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.endswith("\t1"))
    lines[first] = lines[first][:-1] + "0"
    table.write_text("\n".join(lines) + "\n")
    with pytest.raises(MismatchError, match="toy1: its files are not those the run was trained on"):
        build_reference(run)
    with pytest.raises(MismatchError, match="not those the run was trained on"):
        evaluate([tmp_path / "run"])


@pytest.mark.parametrize("batch", ["center", "harmony"])
def test_a_batch_corrected_run_is_kept_whole_and_answers_with_corrected_values(batch: str, recipe: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    config = Config.load(recipe(out, {"panel": {"batch": batch}}))
    fresh = fit(config)
    divided = load_split(config)
    build_reference(fresh).save(out / "reference")
    loaded, reference = Run.load(out), Reference.load(out / "reference")
    assert loaded.panel.digest() == fresh.panel.digest()
    reference.check(loaded)
    corrected = np.concatenate([loaded.panel.training_values(section) for section in divided.train])
    measured = np.concatenate([loaded.panel.values(section) for section in divided.train])
    np.testing.assert_array_equal(reference.expression.rows(np.arange(len(reference))), corrected)
    assert np.abs(corrected - measured).max() > 0.05
    tiles = loaded.tiles(divided.test)
    one, other = (Experiment.of(run, out).predict(tiles) for run in (fresh, loaded))
    np.testing.assert_array_equal(one.expression, other.expression)
    assert f"corrected by {batch}" in one.scale
    floors = baselines_of(loaded, loaded.tiles(divided.train))
    np.testing.assert_allclose(floors["mean"].predict(tiles).expression[0], corrected.mean(axis=0), atol=1e-4)
    np.testing.assert_array_equal(floors["image-kNN"].values, corrected)
    table = evaluate([out])
    assert f"corrected by {batch}" in table.facts["values"]
    with pytest.raises(MismatchError, match="were not trained on"):
        baselines_of(loaded, tiles)


def test_the_expression_encoder_is_trained_on_corrected_spots(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    def dataset(run: Run, reader: Any, tiles: Tiles, values: np.ndarray) -> None:
        seen["values"] = values
        raise KeyboardInterrupt

    config = Config.load(recipe(tmp_path / "run", {"panel": {"batch": "center"}}))
    monkeypatch.setattr("bleep.workflows.fit._dataset", dataset)
    with pytest.raises(KeyboardInterrupt):
        fit(config)
    half = len(load_split(config).train[0])
    np.testing.assert_allclose(seen["values"][:half].mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(seen["values"][half:].mean(axis=0), 0, atol=1e-4)


def test_a_correction_that_is_gone_damaged_or_of_another_run_is_refused(recipe: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit(Config.load(recipe(out, {"panel": {"batch": "center"}})))
    path = out / "batch.safetensors"
    whole = path.read_bytes()
    for bytes_, words in ((whole[:-9], "is damaged"), (whole[:-9] + b"\x00" * 9, "not the one it was fitted with")):
        path.write_bytes(bytes_)
        with pytest.raises(DataError, match=words):
            Run.load(out)
    path.unlink()
    with pytest.raises(DataError, match=r"batch\.safetensors: no such file"):
        Run.load(out)


def test_overwriting_leaves_no_correction_behind(recipe: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit(Config.load(recipe(out, {"panel": {"batch": "center"}})))
    assert (out / "batch.safetensors").exists()
    fit(Config.load(recipe(out)), overwrite=True)
    assert not (out / "batch.safetensors").exists()
    assert Run.load(out).panel.batch is None


def test_nothing_is_written_when_one_training_section_is_to_be_corrected(recipe: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    config = Config.load(recipe(out, {"panel": {"batch": "center"}, "data": {"sections": ["toy1", "toy3"]}}))
    with pytest.raises(DataError, match=r"panel\.batch is center.*toy1 is the only one"):
        fit(config)
    assert not out.exists()


def test_a_run_of_a_version_without_other_names_or_correction_still_answers(run_copy: Any) -> None:
    """Such a panel.json has neither key, and the index of such a run names its digest."""
    from bleep.files import read_json, write_json

    folder = run_copy()
    plain = read_json(folder / "panel.json", "a panel")
    write_json(folder / "panel.json", {key: value for key, value in plain.items() if key not in ("others", "batch")})
    run = Run.load(folder)
    assert (set(run.panel.others), run.panel.batch) == ({""}, None)
    Reference.load(folder / "reference").check(run)
    Experiment.of(run, folder).predict(Tiles(load_split(run.config).test, run.spec))


@pytest.mark.parametrize("inside", ["tune/trials/0003", "real/epochs/2"])
def test_trials_of_a_tuning_and_earlier_states_of_a_run_are_never_the_newest(inside: str, tmp_path: Path) -> None:
    for number, name in enumerate(("real", inside)):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "model.safetensors").write_bytes(b"")
        os.utime(tmp_path / name / "model.safetensors", (number + 1, number + 1))
    if inside.startswith("tune"):
        assert newest_run(tmp_path) == tmp_path / inside
        (tmp_path / "tune" / "study.db").write_bytes(b"")
    assert newest_run(tmp_path) == tmp_path / "real"
