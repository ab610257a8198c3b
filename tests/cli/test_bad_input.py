"""Bad input ends in one clear sentence and exit code 2, with nothing written."""

import argparse
import gzip
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import yaml
from pyarrow import csv

from bleep.cli import app, overrides
from bleep.cli import training as train_command
from bleep.data.slides import save_png

Fails = Callable[..., str]


def of_csv(path: Path, **over: Any) -> dict[str, Any]:
    return {"data": {"source": "folder", "root": str(path), "split": "section", "test": ["toy2"], **over}}


def of(form: str, root: Path, **over: Any) -> dict[str, Any]:
    return {"data": {"source": form, "root": str(root), "split": "section", "test": ["toy4"], **over}}


def edit(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], separator: str = ",", index: int | None = None) -> None:
    table = pd.read_csv(path, sep=separator, index_col=index)
    change(table).to_csv(path, sep=separator, index=index is not None)


CSV: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], tuple[str, ...]]] = {
    "no ID": (lambda t: t.drop(columns="ID"), ("has no column 'ID'", "expected ID, path")),
    "no path": (lambda t: t.drop(columns="path"), ("has no column 'path'",)),
    "ID twice": (lambda t: t.assign(ID=[t["ID"][0], t["ID"][0], *t["ID"][2:]]), ("stands more than once", "toy1_")),
    "empty ID": (lambda t: t.assign(ID=[None, *t["ID"][1:]]), ("line 2 has no ID",)),
    "column twice": (lambda t: pd.concat([t, t[["TOY05"]]], axis=1), ("column 'TOY05' stands more than once",)),
    "text for a count": (lambda t: t.assign(TOY03=["many", *t["TOY03"][1:]]), ("'TOY03' holds 'many'", "expected numbers")),
    "a missing count": (
        lambda t: t.assign(TOY03=[None, *t["TOY03"][1:]]),
        ("train.csv: section toy1", "spot 'toy1_", "gene 'TOY03'"),
    ),
    "an infinite count": (lambda t: t.assign(TOY03=[float("inf"), *t["TOY03"][1:]]), ("not numbers",)),
    "a negative count": (lambda t: t.assign(TOY03=[-4, *t["TOY03"][1:]]), ("negative values (least -4)",)),
    "no rows": (lambda t: t.iloc[:0], ("has a header but no rows",)),
    "no genes": (lambda t: t[["ID", "path", "section"]], ("has no genes", "can only be queried")),
    "a tile that is not there": (lambda t: t.assign(path=["gone.png", *t["path"][1:]]), ("gone.png", "no such image")),
    "a folder for a tile": (lambda t: t.assign(path=["train", *t["path"][1:]]), ("cannot be read as an image",)),
    "no section": (lambda t: t.assign(section=[None, *t["section"][1:]]), ("line 2 has no section",)),
}


@pytest.mark.parametrize("kind", CSV)
def test_a_bad_csv(kind: str, fails: Fails, train: Any, copies: Any) -> None:
    path = copies("folder") / "train.csv"
    change, words = CSV[kind]
    table = change(pd.read_csv(path))
    table.to_csv(path, index=False)
    said = fails(train(of_csv(path)))
    assert all(word in said for word in words), said


def test_an_empty_or_binary_csv(fails: Fails, train: Any, tmp_path: Path) -> None:
    for content in (b"", b"\xff\xfe\x00\x01", b'ID,path\n"a,b\n'):
        (tmp_path / "bad.csv").write_bytes(content)
        assert "bad.csv" in fails(train(of_csv(tmp_path / "bad.csv")))


def test_a_tile_cut_short_leaves_no_half_run(fails: Fails, train: Any, copies: Any) -> None:
    assert "damaged or cut short" in fails(train(of_csv(_cut_tile(copies("folder")))))


def test_a_tile_cut_short(fails: Fails, run_copy: Any, copies: Any) -> None:
    root = copies("folder")
    _cut_tile(root, "test")
    said = fails(["query", "--images", root / "test", "--mpp", "1", "--run", run_copy()], ".png")
    assert "damaged or cut short" in said


def test_a_tile_cut_short_that_a_worker_reads(fails: Fails, run_copy: Any, copies: Any) -> None:
    root, run = copies("folder"), run_copy()
    _cut_tile(root, "test")
    text = (run / "config.yaml").read_text()
    assert "workers: null" in text
    (run / "config.yaml").write_text(text.replace("workers: null", "workers: 1"))
    fails(["query", "--images", root / "test", "--mpp", "1", "--run", run], "damaged or cut short", ".png")


def _cut_tile(root: Path, part: str = "train") -> Path:
    tile = sorted((root / part).glob("*.png"))[3]
    tile.write_bytes(tile.read_bytes()[:600])
    return root / "train.csv"


def test_a_tile_that_is_no_picture(fails: Fails, train: Any, copies: Any) -> None:
    root = copies("folder")
    sorted((root / "train").glob("*.png"))[3].write_text("not a picture")
    fails(train(of_csv(root / "train.csv")), "cannot be read as an image")


@pytest.mark.parametrize(("height", "width", "words"), [(64, 60, "60 x 64"), (48, 48, "48 x 48")])
def test_a_tile_of_another_shape(height: int, width: int, words: str, fails: Fails, train: Any, copies: Any) -> None:
    import numpy as np

    root = copies("folder")
    save_png(np.zeros((height, width, 3), np.uint8), sorted((root / "train").glob("*.png"))[3])
    fails(train(of_csv(root / "train.csv")), words, "expected a square tile of 64")


def test_an_empty_or_missing_folder(fails: Fails, train: Any, run_copy: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    run = run_copy()
    for form in ("st2k", "her2st"):
        fails(train(of(form, tmp_path / "empty")), f"no section of the form {form} is there")
    fails(train(of_csv(tmp_path / "empty")), "holds neither a CSV nor tiles")
    fails(train(of_csv(tmp_path / "gone")), "no such file or folder")
    fails(["query", "--images", tmp_path / "empty", "--run", run], "holds neither a CSV nor tiles")
    fails(["query", "--images", tmp_path / "gone", "--run", run], "no such file or folder")


POSITIONS = {"st2k": "toy1/alignment_table_toy1.tsv", "her2st": "toy1/toy1_selection.tsv"}
SLIDES: dict[str, tuple[str, Callable[[pd.DataFrame], pd.DataFrame], tuple[str, ...]]] = {
    "spots of another array": ("counts", lambda t: t.rename(index=lambda i: f"ACGT-{i}"), ("both counts and a position",)),
    "spot twice in the counts": (
        "counts", lambda t: t.rename(index={t.index[3]: t.index[2]}), ("stands more than once in the counts",),
    ),
    "spot twice in the positions": (
        "positions", lambda t: pd.concat([t, t[t["selected"] == 1].iloc[:1]]), ("stands more than once in the positions",),
    ),
    "text for a count": ("counts", lambda t: t.assign(TOY02=["x", *t["TOY02"][1:]]), ("'TOY02' holds 'x'",)),
    "a negative count": ("counts", lambda t: t.assign(TOY02=[-1, *t["TOY02"][1:]]), ("negative",)),
    "a spot outside the slide": (
        "positions", lambda t: t.assign(pixel_x=t["pixel_x"].where(t["x"] != 3, 999)), ("lie outside the slide of 256 x 256",),
    ),
    "positions of a larger picture": (
        "positions", lambda t: t.assign(pixel_x=t["pixel_x"] * 3), ("lie outside", "another resolution"),
    ),
    "text for a position": (
        "positions", lambda t: t.assign(pixel_y=t["pixel_y"].astype(str).where(t["x"] != 3, "here")),
        ("'pixel_y' holds 'here'",),
    ),
    "a missing position": (
        "positions", lambda t: t.assign(pixel_y=t["pixel_y"].where(t["x"] != 3)), ("is not a number",),
    ),
    "no pixel column": ("positions", lambda t: t.drop(columns="pixel_x"), ("has no column 'pixel_x'",)),
}  # fmt: skip


@pytest.mark.parametrize("form", ["st2k", "her2st"])
@pytest.mark.parametrize("kind", SLIDES)
def test_a_bad_section(kind: str, form: str, fails: Fails, train: Any, copies: Any) -> None:
    root = copies(form)
    side, change, words = SLIDES[kind]
    path = root / ("toy1/toy1.tsv.gz" if side == "counts" else POSITIONS[form])
    edit(path, change, "\t", 0 if side == "counts" else None)
    fails(train(of(form, root)), *words)


def test_x_and_y_swapped(fails: Fails, train: Any, copies: Any) -> None:
    import numpy as np
    from PIL import Image

    root = copies("st2k")
    with Image.open(root / "toy1" / "toy1.jpg") as image:
        wide = np.concatenate([np.asarray(image)] * 2, axis=1)
    Image.fromarray(wide).save(root / "toy1" / "toy1.jpg")
    edit(root / POSITIONS["st2k"], lambda t: t.assign(pixel_x=t["pixel_y"], pixel_y=t["pixel_x"] + 200), "\t")
    fails(train(of("st2k", root)), "are x and y swapped")


def test_an_alignment_table_with_nothing_selected(fails: Fails, train: Any, copies: Any) -> None:
    root = copies("st2k")
    edit(root / POSITIONS["st2k"], lambda t: t.assign(selected=0), "\t")
    fails(train(of("st2k", root)), "no row has selected = 1")


def test_a_selection_with_nothing_selected(fails: Fails, train: Any, copies: Any) -> None:
    root = copies("her2st")
    edit(root / POSITIONS["her2st"], lambda t: t.assign(selected=0), "\t")
    fails(train(of("her2st", root)), "no row has selected = 1")


@pytest.mark.parametrize("damage", ["cut", "garbled", "not packed"])
def test_a_damaged_gz(damage: str, fails: Fails, train: Any, copies: Any) -> None:
    root = copies("st2k")
    path = root / "toy1" / "toy1.tsv.gz"
    packed = path.read_bytes()
    middle = len(packed) // 2
    garbled = packed[:middle] + bytes(255 - byte for byte in packed[middle : middle + 40]) + packed[middle + 40 :]
    path.write_bytes({"cut": packed[:middle], "garbled": garbled, "not packed": gzip.decompress(packed)}[damage])
    fails(train(of("st2k", root)), "toy1.tsv.gz: cannot be read as a table", "is the file whole?")


@pytest.mark.parametrize("form", ["st2k", "her2st"])
def test_no_picture_no_counts_or_two_pictures(form: str, fails: Fails, train: Any, copies: Any, tmp_path: Path) -> None:
    root = copies(form)
    (picture,) = (root / "toy1").glob("*.jpg")
    kept = picture.read_bytes()
    picture.unlink()
    fails(train(of(form, root)), "has no picture of section toy1", "expected a file named")
    picture.write_bytes(kept)
    (root / "toy1" / ("toy1.jpeg" if form == "st2k" else "other.jpg")).write_bytes(kept)
    fails(train(of(form, root)), "several files that could be the picture of section toy1", "keep one")
    (root / "toy1" / "toy1.tsv.gz").unlink()
    fails(train(of(form, root)), "has no counts of section toy1")


def test_a_slide_cut_short_leaves_no_half_run(fails: Fails, train: Any, copies: Any) -> None:
    root = copies("st2k")
    path = root / "toy1" / "toy1.jpg"
    path.write_bytes(path.read_bytes()[:3000])
    fails(train(of("st2k", root)), "damaged or cut short")


SETTINGS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "unknown setting": ({"optim": {"learning_rate": 1}}, ("optim.learning_rate: unknown setting", "recipe.yaml")),
    "misspelt setting": ({"optim": {"epoch": 3}}, ("optim.epoch: unknown setting", "did you mean optim.epochs?")),
    "unknown part": ({"optimizer": {"lr": 1}}, ("optimizer: unknown setting",)),
    "text for a number": ({"optim": {"lr": "fast"}}, ("optim.lr:", "'fast'")),
    "a number for a part": ({"optim": 3}, ("optim:",)),
    "a whole number wanted": ({"optim": {"epochs": 2.5}}, ("optim.epochs:", "2.5")),
    "out of range": ({"head": {"dropout": 1.5}}, ("head.dropout:", "1.5")),
    "below zero": ({"optim": {"lr": -1}}, ("optim.lr:", "-1")),
    "not one of the choices": ({"loss": {"task": "guess"}}, ("loss.task:", "'contrastive'", "'guess'")),
    "no window": ({"tiles": {"microns": []}}, ("tiles.microns",)),
    "fold beyond folds": ({"data": {"fold": 4, "test": []}}, ("data.fold is 4, but data.folds is 4", "use 0 to 3")),
    "a list without a file": ({"panel": {"choice": "list"}}, ("panel.list names no file",)),
    "a file without a list": ({"panel": {"list": "genes.txt"}}, ("set panel.choice to list",)),
    "names for blocks": ({"data": {"split": "block"}}, ("takes the part that data.fold says",)),
    "per section, learning": (
        {"image": {"standardize": "section", "train": "full"}}, ("image.standardize is section, which needs",),
    ),
    "unknown section": ({"data": {"sections": ["toy1", "toy9"]}}, ("has no section 'toy9'", "toy1, toy2, toy3, toy4")),
    "section twice": ({"data": {"sections": ["toy1", "toy1"]}}, ("more than once",)),
    "a patient of no section": (
        {"data": {"patients": {"toy9": "donor1"}}}, ("data.patients names section 'toy9', which is not there; found toy1",),
    ),
    "unknown test group": ({"data": {"test": ["donor7"]}}, ("data.test names patient 'donor7'", "found donor1, donor2")),
    "too few groups": ({"data": {"test": [], "folds": 3}}, ("data.folds is 3, but there are only 2",)),
    "nothing to train on": ({"data": {"test": ["donor1", "donor2"]}}, ("leaves nothing to train on",)),
    "no group to validate on": (
        {"data": {"val": "group"}}, ("only one patient is left to train on; set data.val to block, or to none where",),
    ),
    "a schedule without validation": (
        {"optim": {"schedule": "plateau"}}, ("data.val is none: set data.val to group", "or set optim.schedule to cosine"),
    ),
    "more genes than there are": ({"panel": {"size": 61}}, ("panel.size asks for 61 genes, but only 60",)),
    "no gene list": ({"panel": {"choice": "list", "list": "gone.txt"}}, ("gone.txt: no such file",)),
    "unknown trunk": ({"image": {"trunk": "resnet_of_mine"}}, ("timm knows no model 'resnet_of_mine'", "near it:")),
    "no such layer": ({"image": {"layer": 30}}, ("image.layer: test_resnet has no layer 30",)),
    "no weights": ({"image": {"weights": "gone.safetensors"}}, ("gone.safetensors: no such file",)),
    "no weights, before data are read": (
        {"image": {"weights": "gone.safetensors"}, "data": {"root": "nowhere"}}, ("image.weights: gone.safetensors",),
    ),
    "no weights of another trunk": (
        {"image": {"also": ["test_vit"], "also_weights": ["gone.safetensors"]}}, ("image.also_weights: gone.safetensors",),
    ),
    "no hub for another trunk": ({"image": {"also": ["test_vit"]}}, ("set image.also_weights to a local",)),
    "no hub": ({"image": {"weights": "hub"}}, ("could not be fetched from the model hub",)),
    "no such tile size": ({"image": {"trunk": "test_vit"}, "tiles": {"pixels": 33}}, ("cannot take tiles of 33 pixels",)),
    "a window wider than any slide": (
        {"tiles": {"microns": [155.0, 1e9]}}, ("tiles.microns.1: input should be less than or equal to 1000000"),
    ),
    "a window without length": ({"tiles": {"microns": [0.0]}}, ("tiles.microns.0: input should be greater than 0",)),
    "a tile of more pixels than memory": (
        {"tiles": {"pixels": 10**9}}, ("tiles.pixels: input should be less than or equal to 8192"),
    ),
    "a step wider than any slide": ({"data": {"step": 1e9}}, ("data.step: input should be less than or equal to 1000000",)),
    "a pixel of a kilometre": ({"data": {"mpp": 1e9}}, ("data.mpp: input should be less than or equal to 10000",)),
    "a pixel of nothing": ({"data": {"mpp": 1e-9}}, ("data.mpp: input should be greater than or equal to 0.0001",)),
    "one spot a step": ({"optim": {"batch": 1}}, ("leave nothing to compare",)),
    "a step on too few": ({"data": {"split": "block", "test": [], "margin": 50.0}}, ("leaves nothing to train on",)),
}  # fmt: skip


@pytest.mark.parametrize("kind", SETTINGS)
def test_bad_settings(
    kind: str, fails: Fails, train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    over, words = SETTINGS[kind]
    fails(train(over), *words)


@pytest.mark.parametrize("text", ["[2001-99-99]", "[toy1"])
def test_a_list_that_yaml_cannot_read_is_named(text: str, fails: Fails) -> None:
    fails(["train", "--data.sections", text], "--data.sections: found", "values apart by spaces")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"data: [unclosed", ("is not valid YAML", "line")),
        (b"data:\n\t- tab", ("is not valid YAML",)),
        (b"- a\n- b", ("holds a list", "mapping")),
        (b"\xff\xfe\x00", ("bad.yaml",)),
        (b"just words", ("holds a str",)),
        (b"out: !!python/object:os.system {}", ("is not valid YAML",)),
        (b"1: 2", ("keys should be strings",)),
    ],
)
def test_unreadable_yaml(content: bytes, words: tuple[str, ...], fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_bytes(content)
    fails(["train", "--config", tmp_path / "bad.yaml"], *words)
    fails(["config", "show", "--config", tmp_path / "bad.yaml"], *words)


def test_no_yaml_or_a_folder_for_it(fails: Fails, tmp_path: Path) -> None:
    fails(["train", "--config", tmp_path / "gone.yaml"], "gone.yaml: no such configuration file")
    fails(["train", "--config", tmp_path], "cannot be read as a configuration file")


def test_a_bad_flag_says_which(fails: Fails, train: Any) -> None:
    fails([*train(), "--optim.lr", "quick"], "optim.lr:", "'quick'")
    fails([*train(), "--data.patients", "toy1:a"], "SECTION=PATIENT")
    fails([*train(), "--data.patients", '"toy1=a'], "--data.patients", "double quotes around one that holds a comma")


def test_a_section_whose_name_holds_a_comma_can_be_given_a_patient() -> None:
    asked = argparse.Namespace(**{"set:data.patients": '"slide 1, left=donor1", B=donor2'})
    assert overrides(asked) == {"data": {"patients": {"slide 1, left": "donor1", "B": "donor2"}}}


@pytest.mark.parametrize(
    ("genes", "words"),
    [
        ("TOY01\nBRCA1\nTOY02", ("1 of 3 genes are not measured", "BRCA1")),
        ("TOY01\nTOY01", ("'TOY01' stands more than once",)),
        ("", ("genes.txt: is empty, so that no gene is left",)),
    ],
)
def test_a_bad_list_of_genes(genes: str, words: tuple[str, ...], fails: Fails, train: Any, tmp_path: Path) -> None:
    (tmp_path / "genes.txt").write_text(genes)
    fails(train({"panel": {"choice": "list", "list": str(tmp_path / "genes.txt")}}), *words)


def test_a_wrong_scale_of_ready_cut_tiles(fails: Fails, train: Any, files: Path) -> None:
    fails(train(of_csv(files / "folder" / "train.csv", mpp=0.5)), "show 32 microns", "tiles.microns asks for 64")


def test_weights_that_do_not_fit(fails: Fails, train: Any, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"nothing of weights")
    fails(train({"image": {"weights": str(tmp_path / "w.safetensors")}}), "w.safetensors: cannot be read as weights")


def test_a_run_that_is_already_there(fails: Fails, train: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    fails(train(), "already holds files", "--resume", "--overwrite")
    fails([*train(), "--overwrite"], "holds files but no run")


def test_a_file_in_the_place_of_a_run(fails: Fails, train: Any, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    fails(train(), "out")


def test_overwriting_with_bad_input_keeps_the_old_run(fails: Fails, train: Any, run_copy: Any, tmp_path: Path) -> None:
    run_copy(name="out")
    fails([*train({"data": {"root": str(tmp_path / "gone")}}), "--overwrite"], "no such file or folder")


def test_resuming_with_other_settings_or_other_files(
    fails: Fails, train: Any, run_copy: Any, copies: Any, trained: dict[str, Path], tmp_path: Path
) -> None:
    out = run_copy(name="out")
    (out / "model.safetensors").unlink()
    config = out / "config.yaml"
    config.write_text(
        config.read_text().replace(str(trained["contrastive"].parent), str(tmp_path)).replace("/contrastive", "/out")
    )
    fails([*train({"optim": {"lr": 0.5}}), "--resume"], "began with optim.lr = 0.001, now it is 0.5")
    root = copies("st2k")
    tree = yaml.safe_load(config.read_text())
    tree["data"]["root"] = str(root)
    config.write_text(yaml.safe_dump(tree))
    edit(root / "toy1" / "toy1.tsv.gz", lambda t: t + 1, "\t", 0)
    fails([*train({"data": {"root": str(root)}}), "--resume"], "began on other files than data.root holds now")


def test_resuming_where_nothing_began(fails: Fails, train: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    fails([*train(), "--resume"], "config.yaml")


def test_no_run_or_one_that_has_not_finished(fails: Fails, run_copy: Any, files: Path, tmp_path: Path) -> None:
    for command in (["index", "build"], ["query", "--images", files / "folder" / "test"], ["evaluate"]):
        fails(command, "holds no trained run", "--run")
        fails([*command, "--run", tmp_path / "gone"], "no such folder")
    run = run_copy()
    (run / "model.safetensors").unlink()
    for command in (["index", "build"], ["query", "--images", files / "folder" / "test"], ["evaluate"]):
        fails([*command, "--run", run], "has not finished", "--resume")


RUN: dict[str, tuple[str, bytes | None, tuple[str, ...]]] = {
    "weights cut short": ("model.safetensors", None, ("model.safetensors: is damaged",)),
    "weights emptied": ("model.safetensors", b"", ("model.safetensors: is damaged",)),
    "panel cut short": ("panel.json", None, ("panel.json: is damaged",)),
    "panel without genes": ("panel.json", b"{}", ("genes", "damaged")),
    "facts cut short": ("run.json", None, ("run.json: is damaged",)),
    "facts without parts": ("run.json", b'{"train": []}', ("run.json", "damaged")),
    "settings garbled": ("config.yaml", b"data: [", ("its settings cannot be read",)),
    "settings of a newer version": ("config.yaml", b"future: 1", ("its settings cannot be read", "future")),
}


@pytest.mark.parametrize("kind", RUN)
def test_a_damaged_run(kind: str, fails: Fails, run_copy: Any, files: Path) -> None:
    run = run_copy()
    name, content, words = RUN[kind]
    path = run / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    fails(["query", "--images", files / "folder" / "test.csv", "--mpp", "1", "--run", run], *words)


def test_weights_of_another_run(fails: Fails, run_copy: Any, files: Path) -> None:
    run, other = run_copy(), run_copy("regression")
    (run / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    fails(["query", "--images", files / "folder" / "test.csv", "--mpp", "1", "--run", run], "does not fit", "config.yaml")


INDEX: dict[str, tuple[str, bytes | None, tuple[str, ...]]] = {
    "no index file": ("index.faiss", b"gone", ("index.faiss: is not there", "bleep index build")),
    "index cut short": ("index.faiss", None, ("index.faiss: is damaged",)),
    "index garbled": ("index.faiss", b"nothing of an index", ("index.faiss: is damaged",)),
    "no spots": ("spots.parquet", b"gone", ("spots.parquet: is not there",)),
    "spots cut short": ("spots.parquet", None, ("spots.parquet: is damaged",)),
    "no expression": ("expression.npy", b"gone", ("expression.npy: is not there",)),
    "expression cut short": ("expression.npy", None, ("expression.npy: is damaged",)),
    "expression garbled": ("expression.npy", b"nothing of an array", ("expression.npy: is damaged",)),
    "no vectors": ("vectors.npy", b"gone", ("vectors.npy: is not there",)),
    "vectors cut short": ("vectors.npy", None, ("vectors.npy: is damaged",)),
    "no manifest": ("manifest.json", b"gone", ("manifest.json: no such file",)),
    "manifest cut short": ("manifest.json", None, ("manifest.json: is damaged",)),
    "manifest emptied": ("manifest.json", b"{}", ("manifest.json: is damaged",)),
}


@pytest.mark.parametrize("kind", INDEX)
def test_a_damaged_index(kind: str, fails: Fails, run_copy: Any, files: Path) -> None:
    run = run_copy()
    name, content, words = INDEX[kind]
    path = run / "reference" / name
    if content == b"gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    fails(["query", "--images", files / "folder" / "test.csv", "--mpp", "1", "--run", run], *words)
    fails(["index", "info", "--run", run], *words)


def test_no_index(fails: Fails, run_copy: Any, files: Path) -> None:
    import shutil

    run = run_copy()
    shutil.rmtree(run / "reference")
    for command in (["query", "--images", files / "folder" / "test.csv", "--mpp", "1"], ["evaluate"], ["index", "info"]):
        fails([*command, "--run", run], "there is no index", "bleep index build")


def test_an_index_of_another_run(fails: Fails, run_copy: Any, files: Path, recipe: Any, tmp_path: Path) -> None:
    import shutil

    from bleep.config import Config
    from bleep.workflows.fit import fit
    from bleep.workflows.query import build_reference

    other = fit(Config.load(recipe(tmp_path / "other", {"seed": 5, "optim": {"epochs": 1}})))
    run = run_copy()
    shutil.rmtree(run / "reference")
    build_reference(other).save(run / "reference")
    for command in (["query", "--images", files / "folder" / "test.csv", "--mpp", "1"], ["evaluate"], ["index", "info"]):
        fails([*command, "--run", run], "was built with other weights", "bleep index build")


def test_the_vectors_of_another_index(fails: Fails, run_copy: Any, files: Path) -> None:
    import numpy as np

    from bleep.retrieval.index import FlatIndex

    run = run_copy()
    FlatIndex.build(np.eye(7, 16, dtype=np.float32)).save(run / "reference" / "index.faiss")
    fails(["query", "--images", files / "folder" / "test.csv", "--mpp", "1", "--run", run], "7 vectors", "different builds")


def test_the_vectors_of_an_index_of_another_width(fails: Fails, run_copy: Any, files: Path) -> None:
    import numpy as np

    from bleep.retrieval.index import FlatIndex

    run = run_copy()
    rows = len(FlatIndex.load(run / "reference" / "index.faiss"))
    FlatIndex.build(np.ones((rows, 5), dtype=np.float32)).save(run / "reference" / "index.faiss")
    fails(["query", "--images", files / "folder" / "test.csv", "--mpp", "1", "--run", run], "bleep index build")


def test_an_index_of_a_regression_run(fails: Fails, run_copy: Any) -> None:
    fails(["index", "build", "--run", run_copy("regression")], "trained by regression")


def test_a_bad_query(fails: Fails, run_copy: Any, files: Path) -> None:
    run = run_copy()
    query = ["query", "--images", files / "folder" / "test.csv", "--run", run]
    fails([*query, "--out", "p.xlsx"], "p.xlsx: expected a name ending in .h5ad, .zarr, .csv, .parquet")
    fails([*query, "--out", "p"], "expected a name ending in")
    fails(query, "do not say their scale", "give --mpp")
    fails([*query, "--mpp", "0.25"], "show 16 microns")
    fails([*query, "--mpp", "-1"], "--mpp -1.0: expected a number above 0")
    fails([*query, "--k", "0"], "--k 0: expected a number above 0")


def test_a_scale_that_is_no_number(fails: Fails, run_copy: Any, files: Path) -> None:
    fails(["query", "--images", files / "folder" / "test.csv", "--run", run_copy(), "--mpp", "nan"], "--mpp nan")


def test_a_place_that_cannot_be_written(fails: Fails, run_copy: Any, files: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    query = ["query", "--images", files / "folder" / "test.csv", "--run", run_copy(), "--mpp", "1"]
    fails([*query, "--out", tmp_path / "file" / "p.csv"], "cannot be written")


def test_toy_tissue_in_a_place_that_is_taken(fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "toy" / "folder").mkdir(parents=True)
    (tmp_path / "toy" / "folder" / "mine").write_text("x")
    fails(["data", "toy", tmp_path / "toy"], "is not an empty folder")


def test_toy_tissue_below_a_file(fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    fails(["data", "toy", tmp_path / "file"], "cannot be written")


def test_evaluating_runs_of_different_protocols(fails: Fails, run_copy: Any) -> None:
    run, other = run_copy("regression"), run_copy("regression", "other")
    text = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(text.replace("protocol: ''", "protocol: else"))
    fails(["evaluate", "--run", run, other], "data.protocol = else", "evaluate them apart")


def test_evaluating_where_the_tissue_has_gone(fails: Fails, run_copy: Any, files: Path, tmp_path: Path) -> None:
    run = run_copy("regression")
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace(str(files / "st2k"), str(tmp_path / "gone")))
    fails(["evaluate", "--run", run], "no such file or folder", "a trained run has its data.root in its config.yaml")


def _without_parts(state: Any) -> Any:
    """Blocks that a stopped query had finished are kept, to go on from."""
    return {path: facts for path, facts in state.items() if ".parts" not in path}


def test_killed_while_predictions_are_written(
    run_copy: Any,
    files: Path,
    tmp_path: Path,
    state: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "p.csv").write_text("old")
    run = run_copy()
    write = csv.write_csv

    def stop(table: pa.Table, file: Any, options: csv.WriteOptions) -> None:
        write(table[:3], file, options)
        raise KeyboardInterrupt

    monkeypatch.setattr(csv, "write_csv", stop)
    before = state(tmp_path)
    query = ["query", "--images", files / "folder" / "test.csv", "--mpp", "1", "--run", run, "--out", tmp_path / "p.csv"]
    query += ["--overwrite"]  # What stands there was not written by bleep.
    assert app.main([str(word) for word in query]) == 130
    said = "bleep: stopped; what is finished is kept: the same command with --resume goes on"
    assert said in capsys.readouterr().err.splitlines()
    assert _without_parts(state(tmp_path)) == before
    assert (tmp_path / "p.csv").read_text() == "old"
    monkeypatch.undo()
    assert app.main([str(word) for word in [*query, "--resume"]]) == 0
    assert _without_parts(state(tmp_path)).keys() - before.keys() == {str(tmp_path / "p.neighbours.csv")}


@pytest.mark.parametrize(
    "target", ["pandas.DataFrame.to_parquet", "bleep.retrieval.reference.storage.write_json"], ids=["spots", "manifest"]
)
def test_killed_while_the_index_is_written(
    target: str, run_copy: Any, tmp_path: Path, state: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_copy()
    before = state(tmp_path)

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(target, stop)
    assert app.main(["index", "build", "--run", str(run)]) == 130
    assert state(tmp_path) == before


def test_killed_while_the_weights_are_written(train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(state: dict[str, Any], path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("bleep.runs.save_file", stop)
        assert train_command.command([str(word) for word in train()[1:]]) == 130
    assert not (tmp_path / "out" / "model.safetensors").exists()
    assert not list((tmp_path / "out").rglob("*.part*"))
    assert train_command.command([str(word) for word in [*train()[1:], "--resume"]]) == 0
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_a_full_disk_while_predictions_are_written(
    run_copy: Any, files: Path, tmp_path: Path, state: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.csv").write_text("old")
    run = run_copy()

    write = csv.write_csv

    class Full(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, part: Any) -> int:
            raise OSError(28, "No space left on device")

    def full(table: pa.Table, file: Any, options: csv.WriteOptions) -> None:
        file.write(b"half")
        write(table, Full(), options)

    monkeypatch.setattr(csv, "write_csv", full)
    before = state(tmp_path)
    query = ["query", "--images", files / "folder" / "test.csv", "--mpp", "1", "--run", run, "--out", tmp_path / "p.csv"]
    assert app.main([str(word) for word in [*query, "--overwrite"]]) == 2
    assert "p.csv: cannot be written (No space left on device)" in capsys.readouterr().err
    assert _without_parts(state(tmp_path)) == before


def test_a_loss_that_is_no_number_is_the_last_thing_said(train: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command = train({"loss": {"task": "regression"}, "optim": {"lr": 1e30, "epochs": 20}})
    assert train_command.command([str(word) for word in command[1:]]) == 2
    assert re.split(r"[\r\n]+", capsys.readouterr().err.strip())[-1].startswith("bleep: the loss is")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("evaluate runs/one", "did you mean `--run runs/one`?"),
        ("train toy", "did you mean `--config toy`?"),
        ("index build runs/one", "did you mean `--run runs/one`?"),
        ("train --optim.epoch=5", "did you mean --optim.epochs?"),
        ("doctor train", "`bleep doctor --help` tells what it takes"),
        ("config list --zzz", "`bleep config list --help` lists what there is"),
    ],
)
def test_a_word_that_fits_nowhere_is_answered_with_what_was_meant(
    words: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        app.main(words.split())
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    stray, command = words.split()[-1], words.rpartition(" ")[0].partition(" --")[0]
    assert last == f"bleep {command}: error: unrecognized arguments: {stray}; {hint}"


def test_the_script_for_accelerate_says_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train_command.command(["toy"])
    assert capsys.readouterr().err.endswith("unrecognized arguments: toy; did you mean `--config toy`?\n")


def test_what_processes_do_not_share_is_refused_to_several(
    fails: Any, run_copy: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    run = run_copy()
    for words in (
        ["calibrate", "--run", run],
        ["index", "remove", "--section", "toy1", "--run", run],
        ["cv", "--out", tmp_path],
    ):
        fails(words, "is done by one process, and 2 were launched")
    assert app.main(["config", "list"]) == 0


def test_a_process_that_waited_for_another_says_that_it_has_gone(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:7833. This is typically caused")

    def waits() -> int:
        raise lost

    with pytest.raises(RuntimeError, match="gloo"):
        app.guarded(waits)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert app.guarded(waits) == 2
    assert capsys.readouterr().err.startswith("bleep: another process of this launch has ended")
