"""What of a run is damaged, or was changed by whoever gave it away, is one sentence, and never ends the interpreter."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from bleep.cli.app import guarded
from bleep.data.readers.annotated import clearly
from bleep.errors import DataError
from bleep.files import odd_values, read_lines
from bleep.predictors.calibration import Calibration
from bleep.predictors.cross_fitting import OutOfFold
from bleep.predictors.retrieval import averaged
from bleep.records import Neighbors
from bleep.retrieval.index.factory import load_index
from bleep.retrieval.reference import change, storage
from bleep.runs import FACTS, Run
from bleep.training.checkpoint import CheckpointLog


def test_kinds_of_json_are_told_by_name() -> None:
    expected = {"a": int, "b": [{"c": str}], "d": int | float}
    assert list(odd_values({"a": 1, "b": [{"c": "x"}], "d": 0.5}, expected)) == []
    assert list(odd_values({"a": True, "b": [{"c": "x"}, {"c": 1}]}, expected)) == ["a", "b/1/c", "d"]
    assert list(odd_values([], expected)) == ["a", "b", "d"]


@pytest.mark.parametrize(
    ("key", "value"), [("genes", None), ("genes", ["a", 1]), ("sections", [{}]), ("measured", 1), ("files", {"../x": 1})]
)
def test_a_manifest_that_was_changed_and_hashed_anew_is_refused(key: str, value: Any, run_copy: Callable[..., Path]) -> None:
    folder = run_copy() / "reference"
    tree = json.loads((folder / storage.MANIFEST).read_text()) | {key: value}
    tree.pop("digest")
    (folder / storage.MANIFEST).write_text(json.dumps(tree | {"digest": storage._digest(tree)}))
    with pytest.raises(DataError, match=r"manifest\.json: says nothing that can be so of (genes|sections|measured|files|\.\.)"):
        storage.read_manifest(folder)


def test_an_index_of_values_that_are_no_numbers_is_refused(tmp_path: Path) -> None:
    index = faiss.IndexFlatIP(4)
    index.add(np.array([[0, 0, 0, 1], [0, np.nan, 0, 0], [1, 0, 0, 0]], np.float32))
    faiss.write_index(index, str(tmp_path / "index.faiss"))
    with pytest.raises(DataError, match=r"index\.faiss: is damaged \(values are not finite\)"):
        load_index(tmp_path / "index.faiss")


@pytest.mark.parametrize("row", [-1, 3, 2**40])
def test_neighbours_beyond_the_table_are_refused(row: int) -> None:
    near = Neighbors(np.ones((1, 2), np.float32), np.array([[0, row]]))
    with pytest.raises(DataError, match="of a table of 3 spots"):
        averaged(np.ones((3, 2), np.float32), near, np.ones((1, 2), np.float32))


def test_a_damaged_rehearsal_is_made_again(tmp_path: Path) -> None:
    near = Neighbors(np.ones((2, 1), np.float32), np.array([[0], [1]]))
    part = OutOfFold("one", np.array([0, 1]), {"ridge": np.ones((2, 3), np.float32)}, near, np.ones(2), np.ones(3))
    part.save(tmp_path / "a.safetensors", "key")
    assert OutOfFold.load(tmp_path / "a.safetensors", "key") is not None
    held = bytearray((tmp_path / "a.safetensors").read_bytes())
    held[-3] ^= 64
    (tmp_path / "a.safetensors").write_bytes(held)
    assert OutOfFold.load(tmp_path / "a.safetensors", "key") is None


@pytest.mark.parametrize(
    ("key", "value"),
    [("k", {}), ("k", 0), ("weights", "heavy"), ("temperature", None), ("members", [[1]]), ("members", ["retrieval"])],
)
def test_a_calibration_that_was_changed_is_refused(key: str, value: Any, repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository / "tests/data/archives/run-v0.1/run-both/calibration", tmp_path / "calibration")
    path = tmp_path / "calibration" / "calibration.json"
    tree = json.loads(path.read_text())
    (tree if key in tree else tree["weighing"])[key] = value
    path.write_text(json.dumps(tree))
    with pytest.raises(
        DataError, match=r"the calibration is damaged .*(says nothing that can be so|for other members than it names)"
    ):
        Calibration.load(tmp_path / "calibration")


def test_a_log_that_is_no_text_is_damaged_and_a_training_goes_on_without_it(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b'{"epoch": 0}\n\xff\xfe\n')
    with pytest.raises(DataError, match="is damaged"):
        read_lines(tmp_path / "log.jsonl", "lines")
    CheckpointLog(tmp_path / "log.jsonl", tmp_path / "state").forget_after(3)
    assert (tmp_path / "log.jsonl").read_text() == '{"epoch": 0}\n'


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("trunk", []),
        ("parts", -1),
        ("parts", [{"kind": "trunks"}]),
        ("leak", None),
        ("epoch", "x"),
        ("train", [{}]),
        ("digest", {}),
        ("picture", [1]),
        ("spots", "many"),
    ],
)
def test_the_facts_of_a_run_that_were_changed_are_refused(key: str, value: Any, run_copy: Callable[..., Path]) -> None:
    folder = run_copy()
    tree = json.loads((folder / FACTS).read_text())
    (tree if key in tree else tree["train"][0])[key] = value
    (folder / FACTS).write_text(json.dumps(tree))
    with pytest.raises(DataError, match=r"run\.json: (lacks or )?garbles .*train again"):
        Run.load(folder)


@pytest.mark.parametrize("missing", ["epoch", "leak", "trunk", "train"])
def test_the_facts_of_a_run_are_all_there(missing: str, run_copy: Callable[..., Path]) -> None:
    folder = run_copy()
    tree = json.loads((folder / FACTS).read_text())
    del tree[missing]
    (folder / FACTS).write_text(json.dumps(tree))
    with pytest.raises(DataError, match=r"run\.json: lacks"):
        Run.load(folder)


def test_a_section_is_not_taken_out_of_an_index_of_damaged_vectors(run_copy: Callable[..., Path]) -> None:
    folder = run_copy() / "reference"
    tree = storage.read_manifest(folder)
    path = folder / next(name for name in tree["files"] if name.startswith("vectors"))
    vectors = np.load(path)
    vectors[-1, 0] = np.nan
    np.save(path, vectors)
    section = tree["sections"][0]["name"]
    before = sorted(folder.iterdir())
    with pytest.raises(DataError, match=r"vectors of the index hold values that are not finite, first in row \d+"):
        change(folder, lambda held: held.remove(section))
    assert sorted(folder.iterdir()) == before


def test_a_file_that_asks_for_too_much_memory_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def ask() -> int:
        raise MemoryError("Unable to allocate 7.61 GiB for an array with shape (1022050301,)")

    with (
        pytest.raises(DataError, match=r"p\.zarr: there is not enough memory \(Unable to allocate 7.61 GiB"),
        clearly(tmp_path / "p.zarr", "a prediction"),
    ):
        ask()
    assert guarded(ask) == 2
    assert capsys.readouterr().err.count("\n") == 1
