"""Ready-made features stand for a trunk: the right patch for each spot, whatever program wrote the file."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import h5py
import numpy as np
import pytest

from bleep.config import Config
from bleep.data.prediction import Prediction
from bleep.data.section import Section
from bleep.errors import BleepError, ConfigError, DataError, MismatchError
from bleep.features.ready import ReadyFolder, open_ready, peek, write_ready
from bleep.predictors.baselines import RegressionPredictor
from bleep.workflows.calibrate import cross_fit
from bleep.workflows.data import features as write_features
from bleep.workflows.fit import fit
from bleep.workflows.stream import Output, Query, stream, write_query
from bleep.workflows.tissue import load_split

WIDTH = 6


def patches(folder: Path, section: Section, shift: float = 0.0, table: str = "features", **attributes: Any) -> np.ndarray:
    """Write a file with a patch of 32 pixels at every spot, in the order of the spots turned round, and what each spot has."""
    values = np.random.default_rng(1).normal(size=(len(section), WIDTH)).astype(np.float32)
    folder.mkdir(exist_ok=True)
    with h5py.File(folder / f"{section.name}.h5", "w") as file:
        file[table] = values[::-1]
        file["coords"] = np.round(section.xy[::-1] - 16 + shift).astype(np.int64)
        file["coords"].attrs.update(attributes)
    return values


@pytest.mark.parametrize(
    ("table", "attributes"),
    [
        ("features", {"patch_size": 16, "patch_size_level0": 32, "level0_width": 256, "level0_height": 256}),
        ("features", {"patch_size": 8, "patch_level": 1, "downsample": [4.0, 4.0]}),
        ("embeddings", {"patch_size": 32, "patch_level": 0}),
    ],
    ids=["TRIDENT", "CLAM", "HEST"],
)
def test_each_spot_gets_the_patch_around_it(table: str, attributes: Any, toys: tuple[Section, ...], tmp_path: Path) -> None:
    values = patches(tmp_path / "h5", toys[0], shift=5.0, table=table, **attributes)
    found = ReadyFolder(tmp_path / "h5", WIDTH, "", None).read(toys[0])
    np.testing.assert_array_equal(found, values)


def test_the_distance_is_said_and_limited(toys: tuple[Section, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    section = toys[1]
    patches(tmp_path / "h5", section, shift=3.0, patch_size_level0=32)
    with caplog.at_level(logging.INFO):
        ReadyFolder(tmp_path / "h5", WIDTH, "", None).read(section)
    apart = 3 * np.sqrt(2) * section.mpp
    assert f"{len(section)} spots matched to {len(section)} patches of {section.name}.h5" in caplog.text
    assert f"{apart:.1f} microns apart" in caplog.text
    with pytest.raises(DataError, match=rf"{len(section)} of {len(section)} spots .* lie farther than 1 microns"):
        ReadyFolder(tmp_path / "h5", WIDTH, "", 1.0).read(section)


def test_names_of_spots_go_before_places(toys: tuple[Section, ...], tmp_path: Path) -> None:
    values = patches(tmp_path / "h5", toys[0], shift=100.0, patch_size_level0=32)
    with h5py.File(tmp_path / "h5" / f"{toys[0].name}.h5", "a") as file:
        file["barcodes"] = np.array([[name.encode()] for name in toys[0].counts.obs_names[::-1]])
    np.testing.assert_array_equal(ReadyFolder(tmp_path / "h5", WIDTH, "", None).read(toys[0]), values)


def test_what_does_not_fit_is_refused_in_a_sentence(toys: tuple[Section, ...], tmp_path: Path) -> None:
    folder, section = tmp_path / "h5", toys[0]
    with pytest.raises(DataError, match=r"holds no \.h5 file of features"):
        peek(folder)
    patches(folder, section)
    with pytest.raises(DataError, match=r"does not say how large its patches are: set data.features_limit"):
        ReadyFolder(folder, WIDTH, "", None).read(section)
    with pytest.raises(DataError, match=rf"no such file of features; .*found: {section.name}"):
        open_ready(folder, "other")
    with pytest.raises(DataError, match=rf"no such file of features; .*found: {section.name}"):
        ReadyFolder(folder, WIDTH, "", None).digest(replace(section, name="other"))
    with pytest.raises(MismatchError, match=r"holds 6 features .* trained on 7 features"):
        ReadyFolder(folder, 7, "", None).read(section)
    patches(folder, section, patch_size_level0=32, level0_width=512, level0_height=512)
    with pytest.raises(MismatchError, match="was made of a slide of 512 x 512 pixels"):
        ReadyFolder(folder, WIDTH, "", None).read(section)
    (folder / f"{section.name}.h5").write_bytes(b"no features")
    with pytest.raises(DataError, match="cannot be read as features"):
        open_ready(folder, section.name)
    with h5py.File(folder / "odd.h5", "w") as file:
        file["imgs"] = np.zeros(3)
    with pytest.raises(DataError, match="holds imgs; expected `features` and `coords`"):
        open_ready(folder, "odd")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": {"trunk": "features"}}, "data.features names no folder"),
        ({"image": {"trunk": "features", "train": "full"}, "data": {"features": "h5"}}, "image.train is full"),
        ({"image": {"trunk": "features"}, "data": {"features": "h5"}, "query": {"views": 4}}, "query.views is 4"),
    ],
)
def test_settings_that_ready_features_cannot_have_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Config.load(change)


def test_features_written_by_a_trunk_train_the_run_that_the_trunk_trains(
    recipe: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    from bleep.runs import Run
    from bleep.workflows.data import features

    tree = recipe(tmp_path / "trunk", {"loss": {"task": "regression"}})
    config = Config.load(tree)
    run = fit(config)
    assert [width for _, _, width in features(config, tmp_path / "h5")] == [run.model.trunk.width] * 4
    ready = {"image": {"trunk": "features", "weights": "hub"}, "data": {**tree["data"], "features": str(tmp_path / "h5")}}
    fit(Config.load(recipe(tmp_path / "ready", {"loss": {"task": "regression"}}, ready)))
    again = Run.load(tmp_path / "ready")
    assert again.facts.trunk.startswith(f"features:{run.model.trunk.width}:test_resnet")
    tiles = run.tiles(load_split(config).test)
    one, other = (RegressionPredictor(each).predict(tiles).expression for each in (run, again))
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_nothing_is_remembered_of_files_that_hold_others_by_now(
    recipe: Any, toys: tuple[Section, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Means of whole sections, blocks of a query and rehearsals: the trunk that stands for the files is the same for all."""
    for section in toys:
        patches(tmp_path / "h5", section, patch_size_level0=32)
    tree = recipe(tmp_path / "out")
    over = {"data": {**tree["data"], "features": str(tmp_path / "h5")}, "loss": {"task": "regression"}}
    run = fit(Config.load(tree, over, {"image": {"trunk": "features", "weights": "hub", "standardize": "section"}}))
    tiles, seen, stop = run.tiles(toys[2:3]), [], Mock(side_effect=InterruptedError)
    monkeypatch.setattr("bleep.workflows.stream.write_blocks", stop)
    monkeypatch.setattr("bleep.workflows.calibrate._left_out", stop)
    monkeypatch.setattr("bleep.workflows.calibrate.OutOfFold.load", lambda path, key: seen.append(key))
    predictor = RegressionPredictor(run)
    for time in range(2):
        whole = predictor.predict(tiles).expression
        np.testing.assert_allclose(Prediction.joined(list(stream(run, predictor, tiles, 20))).expression, whole, atol=1e-4)
        with pytest.raises(MismatchError if time else InterruptedError, match="set of tiles" if time else None):
            write_query(Query(run, predictor, None, tiles), Output(tmp_path / "out.h5ad", resume=bool(time), rows=20))
        with pytest.raises(InterruptedError):
            cross_fit(run, load_split(run.config), tmp_path)
        with h5py.File(tmp_path / "h5" / f"{toys[2].name}.h5", "r+") as file:
            file["features"][:] = 7 + 50 * file["features"][:] ** 3
        with h5py.File(tmp_path / "h5" / f"{toys[0].name}.h5", "r+") as file:
            file["features"][:] *= 2
    assert len(set(seen)) == 2


def test_a_file_that_was_written_is_read_as_it_was(toys: tuple[Section, ...], tmp_path: Path) -> None:
    values = np.arange(len(toys[0]) * 3, dtype=np.float32).reshape(-1, 3)
    write_ready(tmp_path / f"{toys[0].name}.h5", toys[0], values, 64.0, "an encoder")
    assert peek(tmp_path) == (3, "an encoder")
    np.testing.assert_array_equal(ReadyFolder(tmp_path, 3, "an encoder", None).read(toys[0]), values)
    with pytest.raises(MismatchError, match="3 features of an encoder, but the run was trained on 3 features of another"):
        ReadyFolder(tmp_path, 3, "another", None).read(toys[0])


def _shape(name: str, shape: tuple[int, ...]) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = np.zeros(shape)

    return change


def _says(name: str, value: Any) -> Callable[[h5py.File], None]:
    return lambda file: file["coords"].attrs.update({name: value})


def _group(file: h5py.File) -> None:
    del file["features"]
    file.create_group("features")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_shape("features", ()), r"features of shape \(\) and coords"),
        (_shape("features", (9, 0)), r"features of shape \(9, 0\)"),
        (_shape("features", (9, 2, 3)), r"features of shape \(9, 2, 3\)"),
        (_shape("coords", (2, 9)), r"coords of shape \(2, 9\); expected \(patches, width\) and \(patches, 2\)"),
        (_shape("coords", (9, 3)), r"coords of shape \(9, 3\)"),
        (_group, "features"),
        (_says("patch_size_level0", "large"), "could not convert string to float"),
        (_says("patch_size_level0", np.array([])), "cannot be read as features"),
        (_says("patch_size_level0", np.nan), "its patches are nan pixels wide"),
        (_says("patch_size_level0", -32), "its patches are -32 pixels wide"),
        (_says("level0_width", "wide"), "cannot be read as features"),
        (_says("level0_width", np.inf), "cannot be read as features"),
    ],
)
def test_a_file_of_odd_shapes_or_sizes_is_one_sentence(
    change: Callable[[h5py.File], None], words: str, toys: tuple[Section, ...], tmp_path: Path
) -> None:
    patches(tmp_path, toys[0], patch_size=32, patch_level=0)
    with h5py.File(tmp_path / f"{toys[0].name}.h5", "a") as file:
        change(file)
    with pytest.raises(DataError, match=words):
        peek(tmp_path)


def test_hidden_files_are_no_features_and_two_patches_of_one_spot_are_refused(
    toys: tuple[Section, ...], tmp_path: Path
) -> None:
    patches(tmp_path, toys[0], patch_size_level0=32)
    (tmp_path / "._toy1.h5").write_bytes(b"of a Mac")
    assert peek(tmp_path) == (WIDTH, "")
    names = [name.encode() for name in toys[0].counts.obs_names]
    with h5py.File(tmp_path / f"{toys[0].name}.h5", "a") as file:
        for name in ("features", "coords"):
            held = file[name][:]
            del file[name]
            file[name] = np.concatenate([held, held[:1]])
        file["barcodes"] = np.array([*names, names[0]])
    with pytest.raises(DataError, match=f"2 patches are called '{toys[0].counts.obs_names[0]}'"):
        ReadyFolder(tmp_path, WIDTH, "", None).read(toys[0])


def test_features_that_no_trunk_reads_are_told(recipe: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    change = {"data": {"features": str(tmp_path)}, "image": {"weights": str(tmp_path / "gone")}}
    with pytest.raises(BleepError):
        fit(Config.load(recipe(tmp_path / "run", change)))
    assert "data.features is not read, as image.trunk is test_resnet: set that to features" in caplog.text


def test_ready_made_features_are_not_written_again(recipe: Any, toys: tuple[Section, ...], tmp_path: Path) -> None:
    for section in toys:
        patches(tmp_path / "h5", section, patch_size_level0=32)
    change = {"data": {"features": str(tmp_path / "h5")}, "image": {"trunk": "features", "weights": "hub"}}
    with pytest.raises(ConfigError, match=r"image\.trunk is features: they are in .*h5 already"):
        list(write_features(Config.load(recipe(tmp_path / "run", change)), tmp_path / "out"))
    assert not (tmp_path / "out").exists()
