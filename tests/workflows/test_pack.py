"""A run sent as one file predicts the same there, and a file of a stranger writes nothing but a run."""

import hashlib
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bleep.cli.app import main
from bleep.config import Config
from bleep.data.tiles import Tiles
from bleep.errors import DataError, MismatchError
from bleep.models.factory import trunk_licence
from bleep.retrieval.reference import change
from bleep.runs import Run
from bleep.workflows.experiment import Experiment
from bleep.workflows.pack import MANIFEST, pack, portable, unpack


@pytest.fixture
def archive(trained: dict[str, Path], tmp_path: Path) -> Path:
    pack(trained["contrastive"], tmp_path / "run.bleep.zip")
    return tmp_path / "run.bleep.zip"


def changed(archive: Path, out: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Write an archive whose parts were changed, its manifest left as `change` leaves it."""
    with zipfile.ZipFile(archive) as held:
        parts = {name: held.read(name) for name in held.namelist()}
    change(parts)
    with zipfile.ZipFile(out, "w") as held:
        for name, content in parts.items():
            held.writestr(zipfile.ZipInfo(name), content)
    return out


def test_what_is_unpacked_predicts_the_same_bits(trained: dict[str, Path], archive: Path, tmp_path: Path, toys: tuple) -> None:
    files = unpack(archive, tmp_path / "there")
    assert {path.name for path in files} >= {"model.safetensors", "manifest.json", "README.md"}
    tiles = Tiles(toys[2:3], Run.load(trained["contrastive"]).spec)
    here, there = (Experiment(folder).predict(tiles).expression for folder in (trained["contrastive"], tmp_path / "there"))
    np.testing.assert_array_equal(here, there)


def test_a_run_knows_the_folder_it_is_in_and_none_it_was_in_before(
    trained: dict[str, Path], archive: Path, tmp_path: Path, toys: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # What a packed run calls its folder is that of another here.
    shutil.copytree(trained["regression"], "runs/unpacked")
    unpack(archive, tmp_path / "theirs")
    for folder in (tmp_path / "theirs", Path("theirs")):
        experiment = Experiment(folder)
        assert experiment.run.config.out == folder
        assert experiment.predict(experiment.tiles(toys[2:3])).facts["run"]["name"] == "theirs"
    monkeypatch.chdir(tmp_path / "theirs")
    assert Experiment(Path()).predict(experiment.tiles(toys[2:3])).facts["run"]["name"] == "theirs"


@pytest.mark.parametrize(
    ("change", "said", "way_out"),
    [
        ({"store": "milvus, atlas.db"}, "its index in milvus, atlas.db", "--index.store faiss --index.expression_url ''"),
        ({"expression": {"form": "dense", "url": "s3://b/a"}}, "its values at s3://b/a", "--index.expression_url ''"),
        ({"files": {"index.own": {}}}, "an index of another package, reference/index.own", "--index.kind auto"),
    ],
)
def test_an_index_that_no_file_takes_along_is_refused(
    change: dict[str, Any], said: str, way_out: str, run_copy: Callable[[str], Path], tmp_path: Path
) -> None:
    run = run_copy("contrastive")
    manifest = run / "reference" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(DataError, match="which no file of `bleep pack` takes along") as refused:
        pack(run, tmp_path / "run.zip")
    assert said in str(refused.value)
    assert way_out in str(refused.value)
    assert "--no-reference" not in str(refused.value), "this run predicts by its index alone"
    assert not (tmp_path / "run.zip").exists()


def test_the_file_names_no_folder_of_this_machine_and_the_card_says_what_is_unknown(archive: Path, tmp_path: Path) -> None:
    unpack(archive, tmp_path / "there")
    for path in (tmp_path / "there").rglob("*"):
        if path.suffix in (".md", ".yaml", ".json"):
            assert str(tmp_path.parent) not in path.read_text(encoding="utf-8"), path
    card = (tmp_path / "there/README.md").read_text(encoding="utf-8")
    assert "- organ: unknown" in card
    assert "scores: unknown; the run was not evaluated" in card
    assert "- species: unknown" in card
    assert "toy1 (" in card


def test_no_setting_that_is_a_path_tells_a_folder_of_this_machine() -> None:
    """Every setting of the kind, whichever there are; spots, URLs and names of trunks stay."""
    plain = Config.load({}).dump()
    paths = [
        (part, key)
        for part, field in Config.model_fields.items()
        for key, inner in getattr(field.annotation, "model_fields", {}).items()
        if "Path" in str(inner.annotation)
    ]
    assert {("data", "root"), ("data", "features"), ("data", "annotations"), ("panel", "list")} <= set(paths)
    for part, key in paths:
        plain[part][key] = f"/home/alice/{key}"
    plain["image"] |= {
        "weights": "/home/alice/a.safetensors",
        "also_weights": ["/home/alice/b.pth", "hub"],
        "trunk": "small/vgg5",
    }
    plain["data"] |= {"drop": ["S.1/10x12", "/home/alice/outliers.csv"], "options": {"table": "C:\\alice\\t.csv", "kind": "x"}}
    plain["index"]["uri"] = "/home/alice/atlas.db"
    shown = portable(plain)
    assert "alice" not in json.dumps(shown)
    assert shown["data"]["drop"] == ["S.1/10x12", "outliers.csv"]
    assert (shown["image"]["also_weights"], shown["image"]["trunk"]) == (["b.pth", "hub"], "small/vgg5")
    assert portable(Config.load({"index": {"uri": "http://host:19530"}}).dump())["index"]["uri"] == "http://host:19530"


def test_the_card_names_the_tissue_of_the_index_and_what_was_added_to_it(
    run_copy: Callable[..., Path], toys: tuple, tmp_path: Path
) -> None:
    folder = run_copy("contrastive")
    run = Run.load(folder)
    change(folder / "reference", lambda held: held.remove("toy1").add(run, toys[3:4], allow_held_out=True))
    pack(folder, tmp_path / "run.zip")
    unpack(tmp_path / "run.zip", tmp_path / "there")
    card = (tmp_path / "there/README.md").read_text(encoding="utf-8")
    spots = len(toys[1]) + len(toys[3])
    assert f"- index: {spots} measured spots go along, of toy2, toy4\n" in card
    assert (
        f"beyond what was trained on: toy4 ({len(toys[3])} spots, patient donor2, held out); scores may be without it" in card
    )


def test_an_evaluated_run_tells_no_folder_either(run_copy: Callable[..., Path], tmp_path: Path) -> None:
    folder = run_copy("contrastive")
    assert main(["evaluate", "--run", str(folder)]) == 0
    pack(folder, tmp_path / "run.bleep.zip")
    with zipfile.ZipFile(tmp_path / "run.bleep.zip") as held:
        assert "evaluation.json" in held.namelist()
        for name in held.namelist():
            assert str(tmp_path.parent).encode() not in held.read(name), name


@pytest.mark.parametrize(
    ("trunk", "weights", "said"),
    [
        ("tf_efficientnet_lite0.in1k", ["hub"], "tf_efficientnet_lite0.in1k: apache-2.0"),
        ("MahmoodLab/UNI", ["hub"], "MahmoodLab/UNI: CC BY-NC-ND 4.0"),
        ("resnet18.mine", ["hub"], "resnet18.mine: unknown"),
        ("features:512:uni", ["random"], "features:512:uni: unknown"),
        (
            "resnet18.a1_in1k + own-trunk",
            ["random", "own.safetensors"],
            "resnet18.a1_in1k: none, it began with random weights; own-trunk: unknown, its weights came from a file "
            "(those published by that name: unknown)",
        ),
    ],
)
def test_the_card_says_what_is_known_of_the_licence_of_the_trunk(trunk: str, weights: list[str], said: str) -> None:
    assert trunk_licence(trunk, weights) == said


def test_without_the_reference_no_measured_value_goes_along(trained: dict[str, Path], tmp_path: Path) -> None:
    pack(trained["regression"], tmp_path / "run.zip", reference=False)
    with zipfile.ZipFile(tmp_path / "run.zip") as held:
        assert not any(name.startswith(("reference/", "calibration/")) for name in held.namelist())
        assert "not included" in held.read("README.md").decode()
    with pytest.raises(DataError, match="predicts by retrieval alone"):
        pack(trained["contrastive"], tmp_path / "other.zip", reference=False)
    shutil.copytree(trained["contrastive"], tmp_path / "run", ignore=shutil.ignore_patterns("reference"))
    with pytest.raises(DataError, match="has no index to predict by; make it first with `bleep index build"):
        pack(tmp_path / "run", tmp_path / "other.zip")
    assert not (tmp_path / "other.zip").exists()


@pytest.mark.parametrize("name", ["../evil.json", "/evil.json", "reference/../../evil.json", "hook.py", "reference/.lock"])
def test_a_part_of_another_name_is_refused_and_nothing_is_written(name: str, archive: Path, tmp_path: Path) -> None:
    def change(parts: dict[str, bytes]) -> None:
        tree = json.loads(parts[MANIFEST])
        tree["files"][name] = {"bytes": 2, "sha256": "0" * 64}
        parts |= {name: b"{}", MANIFEST: json.dumps(tree).encode()}

    bad = changed(archive, tmp_path / "bad.zip", change)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match="which no run has"):
        unpack(bad, tmp_path / "there")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_changed_part_a_cut_file_and_something_else_are_refused(archive: Path, tmp_path: Path) -> None:
    def change(parts: dict[str, bytes]) -> None:
        parts["log.jsonl"] = parts["log.jsonl"].replace(b"1", b"2")

    with pytest.raises(DataError, match=r"log\.jsonl is not what the archive's manifest says"):
        unpack(changed(archive, tmp_path / "bad.zip", change), tmp_path / "there")
    (tmp_path / "cut.zip").write_bytes(archive.read_bytes()[:-500])
    (tmp_path / "text.zip").write_text("no archive")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as held:
        held.writestr("a.txt", "a")
    for name, words in (
        ("cut", "is no whole file"),
        ("text", "is no whole file"),
        ("other", "is no file of"),
        ("gone", "no such"),
    ):
        with pytest.raises(DataError, match=words):
            unpack(tmp_path / f"{name}.zip", tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_a_folder_that_is_there_is_never_written_into(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(DataError, match="is there already"):
        unpack(archive, tmp_path / "there")


def test_a_calibrated_run_of_version_0_1_travels_whole(repository: Path, tmp_path: Path) -> None:
    old = repository / "tests/data/archives/run-v0.1/run-both"
    shutil.copytree(old, tmp_path / "old")
    pack(tmp_path / "old", tmp_path / "old.zip")
    names = {path.relative_to(tmp_path / "there").as_posix() for path in unpack(tmp_path / "old.zip", tmp_path / "there")}
    assert {"calibration/calibration.safetensors", "calibration/calibration.json", "reference/manifest.json"} <= names
    assert not any("rehearsal" in name for name in names)
    by = re.search(r"- predicts by: (.*)", (tmp_path / "there/README.md").read_text(encoding="utf-8"))
    assert by is not None
    assert by[1].endswith(", combined; retrieval and regression can be asked for")


@pytest.mark.parametrize(
    ("part", "content", "words"),
    [
        (
            "config.yaml",
            b": : :",
            r"bad\.zip: holds no whole run \(its settings cannot be read: config.yaml: is not valid YAML",
        ),
        ("model.safetensors", b"x" * 100, r"bad\.zip: holds no whole run \(model.safetensors: is damaged"),
        ("model.safetensors", None, r"bad\.zip: holds no whole run \(is not a trained run"),
        ("panel.json", b"[]", r"bad\.zip: holds no whole run \(panel.json: holds a list"),
    ],
)
def test_a_run_that_is_none_is_told_by_the_file_it_came_in(
    part: str, content: bytes | None, words: str, archive: Path, tmp_path: Path
) -> None:
    def change(parts: dict[str, bytes]) -> None:
        tree = json.loads(parts[MANIFEST])
        if content is None:
            del parts[part], tree["files"][part]
        else:
            parts[part], tree["files"][part] = content, {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        parts[MANIFEST] = json.dumps(tree).encode()

    with pytest.raises(DataError, match=words) as refused:
        unpack(changed(archive, tmp_path / "bad.zip", change), tmp_path / "there")
    assert str(refused.value).endswith("; ask for it again")
    assert ".part" not in str(refused.value)
    assert not (tmp_path / "there").exists()


def test_an_archive_with_a_password_or_an_endless_part_is_one_sentence(archive: Path, tmp_path: Path) -> None:
    held = bytearray(archive.read_bytes())
    at = -1
    while (at := held.find(b"PK\x01\x02", at + 1)) >= 0:
        held[at + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(held)
    with pytest.raises(DataError, match=r"is no whole file of `bleep pack` .*encrypted"):
        unpack(tmp_path / "locked.zip", tmp_path / "there")

    def change(parts: dict[str, bytes]) -> None:
        tree = json.loads(parts[MANIFEST])
        tree["files"]["config.yaml"]["bytes"] = float("inf")
        parts[MANIFEST] = json.dumps(tree).encode()

    with pytest.raises(DataError, match="is damaged; ask for the file again"):
        unpack(changed(archive, tmp_path / "bad.zip", change), tmp_path / "there")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("reference/index.faiss", None, r"index\.faiss: is not there; make it again with `bleep index build`"),
        ("reference/manifest.json", "{}", r"manifest\.json: is damaged"),
        ("reference/manifest.json", '{"files": 3}', r"manifest\.json: is damaged"),
        ("evaluation.json", '{"predictors": [1]}', r"evaluation\.json: is damaged.* run `bleep evaluate` again"),
        ("evaluation.json", '{"predictors": {"ridge": 1}}', r"evaluation\.json: is damaged"),
    ],
)
def test_a_damaged_run_is_not_sent(
    name: str, content: str | None, words: str, run_copy: Callable[[str], Path], tmp_path: Path
) -> None:
    run = run_copy("contrastive")
    if content is None:
        (run / name).unlink()
    else:
        (run / name).write_text(content)
    with pytest.raises(DataError, match=words):
        pack(run, tmp_path / "run.zip")
    assert not (tmp_path / "run.zip").exists()


def test_an_index_of_another_run_is_not_sent(run_copy: Callable[..., Path], tmp_path: Path) -> None:
    run = run_copy("regression")
    shutil.copytree(run_copy("contrastive") / "reference", run / "reference")
    with pytest.raises(MismatchError, match="the index was built with other weights"):
        pack(run, tmp_path / "run.zip")
    pack(run, tmp_path / "run.zip", reference=False)
