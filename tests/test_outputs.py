"""What is not ours is not replaced, and an input never is."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import zarr

from bleep.cli import app
from bleep.data.prediction import Prediction
from bleep.errors import DataError
from bleep.outputs import check_output, is_ours, plain_cell
from bleep.predictors.io import SUFFIXES, write_prediction


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
