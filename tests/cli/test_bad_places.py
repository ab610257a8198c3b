"""Places that cannot be read or written, and names that no disk takes, end in one sentence."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bleep.cli import app
from bleep.config import DataConfig
from bleep.data.readers import read_sections
from bleep.errors import DataError
from bleep.find import below, find

Fails = Callable[..., str]
LONG = "n" * 300


@pytest.fixture
def shut(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Take the right to look into a folder, from root too."""

    def shut_one(folder: Path) -> None:
        look = os.scandir

        def scandir(path: Any = ".") -> Any:
            if Path(path).resolve() == folder.resolve():
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return look(path)

        monkeypatch.setattr(os, "scandir", scandir)

    return shut_one


@pytest.mark.parametrize("form", ["st2k", "her2st"])
def test_a_section_folder_that_cannot_be_read_is_not_left_out(
    form: Any, copies: Callable[[str], Path], shut: Callable[[Path], None]
) -> None:
    root = copies(form)
    shut(root / "toy2")
    with pytest.raises(DataError, match=r"toy2: cannot be looked into \(Permission denied\), so a section there would be left"):
        read_sections(DataConfig(source=form, root=root, mpp=1.0))


def test_a_folder_of_patches_that_cannot_be_read_is_not_left_out(
    files: Path, tmp_path: Path, shut: Callable[[Path], None]
) -> None:
    for patient in ("1", "2"):
        (tmp_path / patient / "0").mkdir(parents=True)
        (tmp_path / patient / "0" / "a.png").write_bytes(next((files / "folder" / "test").glob("*.png")).read_bytes())
    data = DataConfig(source="patches", root=tmp_path, thinnest=1)
    assert len(read_sections(data)) == 2
    shut(tmp_path / "2" / "0")
    with pytest.raises(DataError, match="cannot be looked into"):
        read_sections(data)


def test_a_link_that_leads_nowhere_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "A1").symlink_to("gone")
    assert [path.name for path in below(tmp_path)] == ["A1"]
    assert "A1: is a link to what is not there" in caplog.text


def _outputs(runs: dict[str, Path], files: Path) -> Iterator[list[Any]]:
    run = runs["contrastive"]
    query = ["query", "--run", run, "--images", files / "folder" / "test.csv", "--mpp", "1", "--out"]
    yield from ([*query, f"{LONG}{end}"] for end in (".h5ad", ".zarr", ".csv", ".parquet"))
    yield [*query, "p.csv", "--report", f"{LONG}.html"]
    yield ["evaluate", "--run", run, "--out", LONG]
    yield ["data", "toy", LONG]
    yield ["init", files / "st2k", "--out", f"{LONG}.yaml"]
    yield ["ensemble", run, runs["regression"], "--out", LONG]


@pytest.mark.parametrize("number", range(9))
def test_an_output_of_a_name_that_no_disk_takes(number: int, fails: Fails, trained: dict[str, Path], files: Path) -> None:
    words = list(_outputs(trained, files))[number]
    fails(words, "name")


@pytest.mark.parametrize("number", range(9))
def test_an_output_below_a_file(number: int, fails: Fails, trained: dict[str, Path], files: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    words = [str(word).replace(LONG, "taken/new") for word in list(_outputs(trained, files))[number]]
    assert "taken" in fails(words)
    assert (tmp_path / "taken").read_text() == "mine"


TWICE = (
    "evaluate --out o --figures o",
    "evaluate --out o --table o/genes.csv",
    "evaluate --out o.html --report o.html",
    "evaluate --table a.csv a.csv",
    "query --images IMAGES --mpp 1 --out a.h5ad --explain 1 --explain-out a.h5ad",
    "query --images IMAGES --mpp 1 --out a.csv --explain 1 --explain-out a.neighbours.csv",
    "query --images IMAGES --mpp 1 --report a.html --explain 1 --explain-out a.html",
    "query --slides SLIDE --mpp 1 --out a.zarr --save-mask a.zarr/mask.png",
    "query --slides SLIDE --mpp 1 --out a.zarr --save-mask a.zarr",
    "query --slides SLIDE --mpp 1 --report a.html --save-mask a_tiles/mask.png",
)


@pytest.mark.parametrize("words", TWICE)
def test_two_outputs_of_one_command_at_one_place_are_refused_before_the_work(
    words: str, fails: Fails, trained: dict[str, Path], files: Path
) -> None:
    places = {"IMAGES": str(files / "folder" / "test.csv"), "SLIDE": str(files / "st2k" / "toy3" / "toy3.jpg")}
    fails(
        [*(places.get(word, word) for word in words.split()), "--run", trained["contrastive"]],
        "written by",
        "give each a place",
    )


def test_what_the_system_says_of_a_file_is_a_sentence_with_a_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise PermissionError(errno.EACCES, "Permission denied", "a/b")

    assert app.guarded(work) == 2
    assert capsys.readouterr().err == "bleep: a/b: Permission denied; ask for the right to it, or name another place\n"

    def other() -> int:
        raise OSError("something else")

    with pytest.raises(OSError, match="something else"):
        app.guarded(other)


def test_a_seed_below_0_makes_no_tissue(fails: Fails) -> None:
    fails(["data", "toy", "x", "--seed", "-1"], "--seed -1: expected 0 or more")


@pytest.mark.parametrize("name", ["panel.json", "run.json", "reference/manifest.json"])
def test_json_nested_beyond_reading_is_damaged(name: str, fails: Fails, run_copy: Any, files: Path) -> None:
    run = run_copy()
    (run / name).write_text("[" * 100_000 + "]" * 100_000)
    fails(["query", "--run", run, "--images", files / "st2k" / "toy3", "--out", "p.csv"], f"{Path(name).name}: is damaged")


def test_a_link_that_leads_nowhere_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.h5ad").symlink_to("gone")
    assert find(tmp_path, "*.h5ad") == []
