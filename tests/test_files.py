"""A file or folder is there whole or not at all."""

import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from bleep import files
from bleep.errors import DataError
from bleep.files import alone, read_json, sweep, whole, write_json, write_tensors, write_text


def everything(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError])
@pytest.mark.parametrize("folder", [False, True])
def test_a_writer_stopped_midway_leaves_what_was_there(error: type[BaseException], folder: bool, tmp_path: Path) -> None:
    place = tmp_path / "thing"
    if folder:
        place.mkdir()
        (place / "old").write_text("old")
    else:
        place.write_text("old")
    before = everything(tmp_path)

    def stopped() -> None:
        with whole(place) as temporary:
            if folder:
                temporary.mkdir()
            (temporary / "half" if folder else temporary).write_text("half")
            raise error

    with pytest.raises(DataError if error is OSError else error):
        stopped()
    assert everything(tmp_path) == before


@pytest.mark.parametrize("failing", [1, 2])
def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(
    failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "thing"
    place.mkdir()
    (place / "old").write_text("old")
    replace, calls = Path.replace, []

    def broken(self: Path, target: Path) -> Path:
        calls.append(self)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", broken)
    monkeypatch.setattr(files, "_exchanged", lambda one, other: False)

    def write() -> None:
        with whole(place) as temporary:
            temporary.mkdir()
            (temporary / "new").write_text("new")

    with pytest.raises(DataError, match="No space left on device"):
        write()
    assert everything(tmp_path) == {"thing/old": "old"}


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    for word in ("one", "two"):
        with whole(tmp_path / "a" / "thing") as temporary:
            temporary.mkdir()
            (temporary / word).write_text(word)
    assert everything(tmp_path) == {"a/thing/two": "two"}


def test_a_place_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot be written"):
        write_text(tmp_path / "file" / "below", "text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="cannot be written"):
        write_text(tmp_path / "folder", "text")
    assert everything(tmp_path) == {"file": "x"}


def test_files_are_as_readable_as_any_the_process_writes(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_tensors(tmp_path / "a.safetensors", {"x": np.zeros(2)})
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_json_and_tensors_come_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [1, "é"]})
    assert read_json(tmp_path / "a.json", "x") == {"a": [1, "é"]}
    write_tensors(tmp_path / "a.safetensors", {"x": np.arange(6.0).reshape(2, 3).T})
    np.testing.assert_array_equal(load_file(tmp_path / "a.safetensors")["x"], np.arange(6.0).reshape(2, 3).T)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "no such file"), (b"{", "damaged"), (b"[1]", "list"), (b"\xff", "damaged")]
)
def test_json_that_is_none_is_said_so(content: bytes | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_json(tmp_path / "a.json", "the thing")


@pytest.mark.parametrize("folder", [False, True])
def test_two_that_write_one_name_at_once_never_meet(folder: bool, tmp_path: Path) -> None:
    place = tmp_path / "thing"

    def write(temporary: Path, word: str) -> None:
        if folder:
            temporary.mkdir()
        (temporary / "inside" if folder else temporary).write_text(word)

    with whole(place) as first:
        write(first, "first")
        with whole(place) as second:
            assert first != second
            write(second, "second")
        assert set(everything(place).values() if folder else [place.read_text()]) == {"second"}
    assert set(everything(tmp_path).values()) == {"first"}
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]


KILLED = """
import os, signal, sys
from pathlib import Path
from bleep import files
place = Path(sys.argv[1])
if sys.argv[2] == "renaming":
    files._exchanged = lambda one, other: False
    replace, calls = Path.replace, []
    def dying(self, target):
        calls.append(self)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)
    Path.replace = dying
with files.whole(place) as temporary:
    temporary.mkdir()
    (temporary / "new").write_text("new")
    if sys.argv[2] == "writing":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("when", ["writing", "renaming"])
def test_what_a_killed_writer_left_is_swept_and_what_it_moved_away_is_put_back(when: str, warm: Path, tmp_path: Path) -> None:
    place = tmp_path / "thing.zarr"
    place.mkdir()
    (place / "old").write_text("old")
    dead = subprocess.run([warm / "python", "-c", KILLED, str(place), when], check=False)
    assert dead.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == (2 if when == "writing" else 1)
    sweep(tmp_path)
    assert everything(tmp_path) == {"thing.zarr/old": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["thing.zarr"]


def test_what_is_being_written_and_what_is_not_ours_is_not_swept(tmp_path: Path) -> None:
    (tmp_path / ".thing.mine.part").mkdir()
    with whole(tmp_path / "thing") as temporary:
        temporary.write_text("new")
        sweep(tmp_path)
        assert temporary.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"thing", ".thing.mine.part"}


def test_a_lock_is_held_once_leaves_nothing_and_follows_no_link(tmp_path: Path) -> None:
    lock = tmp_path / "folder" / ".lock"
    with alone(lock, "busy here"):
        with pytest.raises(DataError, match="busy here"), alone(lock, "busy here"):
            pass
        assert lock.exists()
    with alone(lock, "busy here"):
        pass
    assert not lock.parent.exists()
    lock.parent.mkdir()
    (tmp_path / "mine").write_text("mine")
    lock.symlink_to(tmp_path / "mine")
    with pytest.raises(DataError, match="link"), alone(lock, "busy here"):
        pass
    assert (tmp_path / "mine").read_text() == "mine"
    assert lock.is_symlink()
