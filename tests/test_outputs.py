"""What is not ours is not replaced, and an input never is."""

import csv
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
import zarr

from bleep.cli import app
from bleep.config import Config
from bleep.data.prediction import Prediction
from bleep.errors import ConfigError, DataError
from bleep.files import whole
from bleep.marks import is_ours, marked_csv, plain_cell
from bleep.outputs import check_apart, check_folder, check_output, writing_h5
from bleep.predictors.io import SUFFIXES, write_prediction
from bleep.workflows import Inputs, inputs_of
from bleep.workflows.archive import _clean as clean
from bleep.workflows.archive import _read as read_ledger
from bleep.workflows.ensemble import check_place as check_ensemble
from bleep.workflows.place import check_place as check_run
from bleep.workflows.stream import Output
from bleep.workflows.tune import check_written


def prediction() -> Prediction:
    spots = pd.DataFrame({"section": ["a"] * 3, "spot": ["1", "2", "3"], "patient": ["p"] * 3, "x": [1.0] * 3, "y": [2.0] * 3})
    ids = pd.Index([f"a/{spot}" for spot in spots["spot"]], name="id")
    return Prediction(np.ones((3, 2), np.float32), spots.set_index(ids), ("G1", "G2"), "log1p", "made up")


def foreign(path: Path) -> None:
    if path.suffix == ".h5ad":
        with h5py.File(path, "w") as file:
            file["mine"] = [1, 2]
    elif path.suffix == ".zarr":
        zarr.open_group(path, mode="w").create_array("mine", shape=(2,), dtype="int8")
    elif path.suffix == ".parquet":
        pd.DataFrame({"section": ["mine"], "x": [1.0]}).to_parquet(path)
    else:
        pd.DataFrame({"section": ["mine"], "x": [1.0]}).to_csv(path, index=False)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_bleep_wrote_is_told_from_what_it_did_not(suffix: str, tmp_path: Path) -> None:
    path, other = tmp_path / f"p{suffix}", tmp_path / f"mine{suffix}"
    check_output(path)
    write_prediction(prediction(), path)
    foreign(other)
    assert is_ours(path)
    assert not is_ours(other)
    check_output(path)
    with pytest.raises(DataError, match=r"is there already, and bleep did not write it; .* --overwrite"):
        check_output(other)
    check_output(other, overwrite=True)
    for inputs in ([other], [tmp_path]):
        with pytest.raises(DataError, match="is read by this command"):
            check_output(other, inputs, overwrite=True)
    with pytest.raises(DataError, match="is read by this command"):
        check_output(path, [path], overwrite=True)
    check_output(path, [tmp_path])
    (tmp_path / f"link{suffix}").symlink_to(other)
    with pytest.raises(DataError, match="is read by this command"):
        check_output(tmp_path / f"link{suffix}", [other], overwrite=True)


def test_a_store_that_somebody_added_to_and_a_table_that_was_saved_anew_are_not_ours(tmp_path: Path) -> None:
    write_prediction(prediction(), tmp_path / "p.zarr")
    zarr.open_group(tmp_path / "p.zarr", mode="a").create_array("clusters", shape=(2,), dtype="int8")
    assert not is_ours(tmp_path / "p.zarr")
    write_prediction(prediction(), tmp_path / "p.csv")
    pd.read_csv(tmp_path / "p.csv").to_csv(tmp_path / "p.csv", index=False)
    assert not is_ours(tmp_path / "p.csv")


def test_a_query_leaves_its_input_and_what_is_not_ours(
    trained: dict[str, Path], files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "test.csv"
    (tmp_path / "test").symlink_to(files / "folder" / "test")
    table.write_bytes((files / "folder" / "test.csv").read_bytes())
    foreign(tmp_path / "p.neighbours.csv")
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.csv")}
    words = ["query", "--images", str(table), "--mpp", "1", "--run", str(trained["contrastive"]), "--out"]
    for out, said in ((table, "is read by this command"), (tmp_path / "p.csv", "bleep did not write it")):
        assert app.main([*words, str(out)]) == 2
        assert said in capsys.readouterr().err
    assert app.main([*words, str(table), "--overwrite"]) == 2
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.csv")} == before
    assert app.main([*words, str(tmp_path / "p.csv"), "--overwrite"]) == 0
    assert app.main([*words, str(tmp_path / "p.csv")]) == 0


@pytest.mark.parametrize(
    ("name", "cell"), [("=A1", "'=A1"), ("+b", "'+b"), ("-c", "'-c"), ("@d", "'@d"), ("-3.5", "-3.5"), ("ACTB", "ACTB")]
)
def test_names_that_a_spreadsheet_would_compute_stay_words(name: str, cell: str) -> None:
    assert plain_cell(name) == cell


def test_a_table_of_predictions_has_no_name_that_a_spreadsheet_would_compute(tmp_path: Path) -> None:
    spots = prediction().spots.assign(spot=["@1", "2", "-3"])
    named = Prediction(prediction().expression, spots, ("=G1", "G2"), "log1p", "made up")
    write_prediction(named, tmp_path / "p.csv")
    table = pd.read_csv(tmp_path / "p.csv", dtype={"spot": str})
    assert list(table)[-2:] == ["'=G1", "G2"]
    assert list(table["spot"]) == ["'@1", "2", "-3"]
    assert is_ours(tmp_path / "p.csv")


OTHERS = {
    "evaluate --run RUN --table scores.csv": ("scores.csv",),
    "evaluate --run RUN --table scores.tex": ("scores.tex",),
    "evaluate --run RUN --out scores": ("scores/evaluation.json", "scores/evaluation.md", "scores/genes.csv"),
    "pack --run RUN --out run.zip": ("run.zip",),
    "data features --config RECIPE --image.train frozen --tiles.microns 32 --to features": ("features/toy3.h5",),
}
"""Commands beside `query`, and files that they write."""


@pytest.mark.parametrize("words", OTHERS)
def test_no_command_replaces_a_file_that_is_not_ours_and_each_replaces_its_own(
    words: str, trained: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = trained["regression"] / "config.yaml"
    command = words.replace("RUN", str(trained["regression"])).replace("RECIPE", str(recipe)).split()
    assert app.main(command) == 0
    for name in OTHERS[words]:
        path = tmp_path / name
        assert is_ours(path), name
        written = path.read_bytes()
        path.write_bytes(b"mine")
        capsys.readouterr()
        assert app.main(command) == 2
        assert f"{name}: is there already, and bleep did not write it" in capsys.readouterr().err
        assert path.read_bytes() == b"mine"
        path.write_bytes(written)
    assert app.main(command) == 0


QUOTINGS = (csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC)


@pytest.mark.parametrize("quoting", QUOTINGS)
@pytest.mark.parametrize("names", [[0, 1, 2], [0.5, float("nan"), 2.0], [True, False, 1], ["a", "b c", "d"], ["a", 1, True]])
def test_a_table_that_others_write_by_a_rule_for_quotes_is_not_ours(quoting: int, names: list[object], tmp_path: Path) -> None:
    path = tmp_path / "factors.csv"
    for rows in (["A", "B", "C"], [1, 2, 3]):
        pd.DataFrame(np.eye(3), rows, names).to_csv(path, index_label="barcode", quoting=quoting)
        assert not is_ours(path)
        pd.DataFrame(np.eye(3), rows, names).to_csv(path, quoting=quoting)
        assert not is_ours(path)


def test_a_table_of_bleep_is_known_by_its_first_line_and_reads_as_any_other(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    table = pd.DataFrame({"section": ["a, b", "=c"], "x y": [1.0, 2.0], "MT-CO1": [3, 4]})
    path.write_text(marked_csv(table.to_csv(index=False)), encoding="utf-8")
    assert is_ours(path)
    pd.testing.assert_frame_equal(pd.read_csv(path), table)
    # As versions before this one wrote predictions.
    path.write_text('"section",spot,x,y,G1\na,1,1.0,2.0,0.5\n', encoding="utf-8")
    assert is_ours(path)


def test_a_folder_is_replaced_only_if_all_in_it_is_ours_and_none_is_read(tmp_path: Path) -> None:
    parts = {"p.csv", "README.md"}.__contains__
    check_folder(tmp_path / "new", parts, "a description")
    write_prediction(prediction(), tmp_path / "d" / "p.csv")
    check_folder(tmp_path / "d", parts, "a description")
    with pytest.raises(DataError, match="is read by this command"):
        check_folder(tmp_path / "d", parts, "a description", [tmp_path / "d" / "p.csv"])
    (tmp_path / "d" / "README.md").write_text("mine")
    with pytest.raises(DataError, match=r"README\.md: is there already, and bleep did not write it; .* move it away"):
        check_folder(tmp_path / "d", parts, "a description")
    (tmp_path / "d" / "other").write_text("mine")
    with pytest.raises(DataError, match="holds 'other', which is no part of a description"):
        check_folder(tmp_path / "d", parts, "a description")
    with pytest.raises(DataError, match="is a file"):
        check_folder(tmp_path / "d" / "other", parts, "a description")


READ = {
    "evaluate --run RUN --genes-file genes.csv --table genes.csv": "genes.csv",
    "evaluate --run RUN --table tissue/train.csv": "tissue/train.csv",
    "evaluate --run RUN --table labels.csv": "labels.csv",
    "evaluate --run RUN --table odd.csv": "odd.csv",
    "evaluate --run RUN --report trunk/page.html": "trunk/page.html",
    "evaluate --protocol dacon --submission scores/contest.json --truth t --train t --out scores": "scores/contest.json",
    "query --run RUN --images tissue/train.csv --out labels.csv": "labels.csv",
    "query --run RUN --images tissue/train.csv --out q.h5ad --report trunk/page.html": "trunk/page.html",
    "init tissue/train.csv --config recipe.yaml --out recipe.yaml": "recipe.yaml",
}
"""Commands that would write over what they read, and that."""


@pytest.fixture
def readable(trained: dict[str, Path], files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose settings name files of every kind in the working folder, and those files."""
    run = tmp_path / "run"
    shutil.copytree(trained["regression"], run)
    (tmp_path / "tissue").symlink_to(files / "folder")
    (tmp_path / "trunk").mkdir()
    for name in ("genes.csv", "labels.csv", "odd.csv", "recipe.yaml", "trunk/page.html", "scores/contest.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    tree = yaml.safe_load((run / "config.yaml").read_text())
    tree["data"] |= {"root": "tissue/train.csv", "source": "folder", "annotations": "labels.csv", "drop": ["odd.csv"]}
    tree["image"] |= {"weights": "trunk"}
    (run / "config.yaml").write_text(yaml.safe_dump(tree))
    monkeypatch.chdir(tmp_path)
    return run


@pytest.mark.parametrize("words", READ)
def test_no_command_replaces_what_it_reads(words: str, readable: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path(READ[words]).read_bytes()
    assert app.main([*words.replace("RUN", str(readable)).split(), "--overwrite"]) == 2
    assert f"{READ[words]}: is read by this command" in capsys.readouterr().err
    assert Path(READ[words]).read_bytes() == before


def test_two_outputs_at_one_place_are_told_apart_through_links_and_folders(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    check_apart(
        [("--out", tmp_path / "a"), ("--table", None), ("--report", tmp_path / "ab"), ("--report", tmp_path / "b" / "a")]
    )
    with pytest.raises(ConfigError, match=r"link/a: would be written by --out and by --table; give each a place of its own"):
        check_apart([("--out", tmp_path / "real" / "a"), ("--table", tmp_path / "link" / "a")])
    for places in (
        [("--out", tmp_path / "a" / "b"), ("--figures", tmp_path / "a")],
        [("--figures", tmp_path / "a"), ("--out", tmp_path / "a" / "b")],
    ):
        with pytest.raises(ConfigError, match=r"a/b, written by --out, would lie inside .*a, written by --figures"):
            check_apart(places)


def test_what_settings_name_is_read(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    table = tmp_path / "train.csv"
    table.write_text("ID,path,G1\na,tiles/a.png,1\nb,b.png,2\n")
    (tmp_path / "s" / "A_he.tif").touch()
    data = {"root": str(table), "image": "../../s/{name}_he.tif", "mask": "mask.png", "options": {"atlas": str(tmp_path / "s")}}
    config = Config.load({"data": data, "panel": {"choice": "list", "list": "g.txt"}, "image": {"weights": "w.pth"}})
    found = set(inputs_of(config))
    assert {table, tmp_path / "tiles", tmp_path / "tiles/a.png", tmp_path / "b.png", tmp_path / "s"} <= found
    assert {Path("mask.png"), Path("g.txt"), Path("w.pth"), tmp_path / "s" / "A_he.tif"} <= found
    assert tmp_path not in found


def test_an_ensemble_is_read_from_its_members(readable: Path) -> None:
    folder = readable.parent / "e"
    folder.mkdir()
    (folder / "ensemble.json").write_text(json.dumps({"members": [{"run": "../run"}]}))
    assert any(path.name == "train.csv" for path in Inputs(runs=[folder]))
    tree = yaml.safe_load((readable / "config.yaml").read_text())
    tree["data"]["image"] = "he.tif"
    (readable / "config.yaml").write_text(yaml.safe_dump(tree))
    assert Path.cwd() / "mine" / "he.tif" in set(Inputs([Path("mine/a.h5ad")], [readable]))
    (folder / "ensemble.json").write_text("mine")
    with pytest.raises(DataError, match="bleep did not write it"):
        check_ensemble(folder)
    member = {"run": "../run", "weights": "", "panel": "", "weight": 1.0}
    (folder / "ensemble.json").write_text(json.dumps({"version": "0.2", "weighed": "mean", "members": [member]}))
    check_ensemble(folder)


def test_a_training_does_not_remove_what_it_reads(readable: Path) -> None:
    (readable / "genes.csv").write_text("G1\n")
    config = Config.load(readable / "config.yaml", {"out": "run", "panel": {"choice": "list", "list": "run/genes.csv"}})
    with pytest.raises(DataError, match=r"run/genes\.csv: is read by this training, and --overwrite would remove it"):
        check_run(config, resume=False, overwrite=True)
    check_run(config.model_copy(update={"panel": Config().panel}), resume=False, overwrite=True)


@pytest.mark.parametrize(("name", "kept"), [("best.yaml", "# Trial 3 of 9 tried: validation score 0.1.\n"),
                                            ("trials.csv", "trial,state,score,epochs,seconds,optim.lr,why\n")])  # fmt: skip
def test_a_tuning_replaces_its_own_files_alone(name: str, kept: str, tmp_path: Path) -> None:
    for text in (kept, "# Written by `bleep tune`, to be laid over the recipe.\n" if name == "best.yaml" else marked_csv(kept)):
        (tmp_path / name).write_text(text)
        check_written(tmp_path, ())
    with pytest.raises(DataError, match="is read by this command"):
        check_written(tmp_path, [tmp_path / name])
    with pytest.raises(DataError, match="is read by this tuning"):
        check_written(tmp_path, [tmp_path / "trials" / "0001"])
    (tmp_path / name).write_text("mine\n")
    with pytest.raises(DataError, match="bleep did not write it"):
        check_written(tmp_path, ())


def test_what_a_killed_worker_left_of_a_slide_goes_and_nothing_else(tmp_path: Path) -> None:
    left = (".A.h5ad.lock", ".A.h5ad.abcdefgh.part", ".A.neighbours.csv.abcdefgh.part")
    kept = (".A.h5ad.bak", ".A.h5ad.partial", ".A.neighbours.mine", "A.h5ad", ".AB.h5ad.lock")
    for name in (*left, *kept):
        (tmp_path / name).touch()
    clean(tmp_path / "A.h5ad")
    assert {path.name for path in tmp_path.iterdir()} == set(kept)


def test_what_is_no_ledger_and_no_block_is_left(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.write_text("mine")
    with pytest.raises(DataError, match="or of no ledger"):
        read_ledger(ledger, "")
    assert ledger.read_text() == "mine"
    ledger.write_text('{"slide": "a", "ma')
    assert read_ledger(ledger, "") == {}
    (tmp_path / ".p.h5ad.parts").mkdir()
    (tmp_path / ".p.h5ad.parts" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"holds 'notes\.txt', which is no block"):
        Output(tmp_path / "p.h5ad")


@pytest.mark.parametrize("room", [0, 100, 3_000, 30_000, 300_000])
def test_hdf5_that_finds_no_more_room_is_an_error_like_any_other(room: int, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="limits of file sizes are of POSIX")
    values = np.arange(100_000, dtype=np.float32)
    path = tmp_path / "a.h5ad"
    path.write_text("before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with (
            pytest.raises(DataError, match=r"a\.h5ad: cannot be written \(File too large\)"),
            whole(path) as temporary,
            writing_h5(temporary) as file,
        ):
            file["values"] = values
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "before"
    with whole(path) as temporary, writing_h5(temporary) as file:
        for number in range(50):
            file[f"part/{number}"] = values[number:]
    with h5py.File(path) as file:
        assert all((file[f"part/{number}"][:] == values[number:]).all() for number in range(50))
