"""A file or folder is there whole or not at all."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from bleep.errors import DataError
from bleep.files import read_json, whole, write_json, write_tensors, write_text


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
