"""`bleep query --explain`, as users type it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from bleep.cli import app

Fails = Callable[..., str]


def words(files: Path, run: Path, *more: object) -> list[str]:
    return [str(word) for word in ("query", "--images", files / "st2k" / "toy3", "--run", run, "--out", "found.csv", *more)]


@pytest.mark.slow
def test_each_tile_gets_a_picture_and_the_tables_say_what_the_query_says(
    files: Path, trained: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(words(files, trained["contrastive"], "--explain", 2)) == 0
    folder = tmp_path / "found.explained"
    assert "found.explained: the neighbours of 2 tiles" in capsys.readouterr().out
    pictures = sorted(folder.glob("*.png"))
    assert len(pictures) == len(list(folder.glob("*.svg"))) == 2
    for path in pictures:
        with Image.open(path) as picture:
            picture.verify()
    mine = pd.read_csv(folder / "neighbours.csv")
    chosen = list(dict.fromkeys(mine["tile"]))
    assert [path.stem for path in pictures] == [f"{i:03d}_{name.replace('/', '_')}" for i, name in enumerate(chosen, 1)]
    full = pd.read_csv(tmp_path / "found.neighbours.csv")
    same = full[full["tile"].isin(chosen)].reset_index(drop=True)
    pd.testing.assert_frame_equal(mine[list(same.columns)], same, rtol=1e-4, check_dtype=False)
    predicted = pd.read_csv(tmp_path / "found.csv").set_index(["section", "spot"])
    genes = pd.read_csv(folder / "genes.csv")
    assert set(genes["tile"]) <= set(chosen)
    for row in genes.itertuples():
        assert predicted.loc[tuple(str(row.tile).split("/")), row.gene] == pytest.approx(row.predicted, rel=1e-4)


@pytest.mark.slow
def test_the_same_tiles_asked_for_by_name_in_a_folder_of_choice_give_the_same_tables(
    files: Path, trained: dict[str, Path], tmp_path: Path
) -> None:
    assert app.main(words(files, trained["contrastive"], "--explain", 1)) == 0
    first = tmp_path / "found.explained"
    (name,) = set(pd.read_csv(first / "neighbours.csv")["tile"])
    assert app.main(words(files, trained["contrastive"], "--explain-tiles", name, "--explain-out", "by_name")) == 0
    for table in ("neighbours.csv", "genes.csv"):
        pd.testing.assert_frame_equal(pd.read_csv(first / table), pd.read_csv(tmp_path / "by_name" / table), rtol=1e-4)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--explain", "0"], "--explain 0: expected a number of tiles, at least 1"),
        (["--explain", "-3"], "--explain -3"),
        (["--explain-out", "there"], "add --explain N"),
        (["--explain-tiles", "toy3/none"], "there is no tile 'toy3/none'"),
    ],
)
def test_what_cannot_be_explained_ends_in_one_sentence(
    flags: list[str], said: str, files: Path, trained: dict[str, Path], fails: Fails
) -> None:
    fails(words(files, trained["contrastive"], *flags), said)


def test_a_regression_run_has_no_neighbours_to_show(files: Path, trained: dict[str, Path], fails: Fails) -> None:
    fails(words(files, trained["regression"], "--explain", 1), "trained by regression", "loss.task")


def test_a_folder_of_other_things_is_left_alone(files: Path, trained: dict[str, Path], fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    fails(words(files, trained["contrastive"], "--explain", 1, "--explain-out", "mine"), "notes.txt", "another place")


def test_without_matplotlib_the_extra_is_named(files: Path, trained: dict[str, Path], fails: Fails, monkeypatch: Any) -> None:
    from bleep.workflows import explain as explaining

    monkeypatch.setattr(explaining.importlib.util, "find_spec", lambda name: None)
    fails(words(files, trained["contrastive"], "--explain", 1), "pip install -e '.[plots]'")
