"""Features on disk: in parts, mapped, none of them lost when the work is stopped."""

import logging
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from bleep.errors import DataError
from bleep.features import cache as kept
from bleep.features.cache import FeatureCache

rng = np.random.default_rng(0)


def some(rows: int, start: int = 0) -> tuple[np.ndarray, np.ndarray]:
    xy = np.stack([np.arange(start, start + rows), np.arange(start, start + rows) % 7], axis=1).astype(np.float64)
    return xy, rng.normal(size=(rows, 5)).astype(np.float32)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "BLOCK", 10)


def test_what_is_added_is_found_in_any_order(tmp_path: Path) -> None:
    xy, features = some(37)
    held = FeatureCache.open(tmp_path, "a").add(xy[:4], features[:4]).add(xy[4:9], features[4:9]).add(xy[9:], features[9:])
    order = rng.permutation(37)
    for each in (held, FeatureCache.open(tmp_path, "a")):
        rows = each.rows_of(xy[order])
        assert (rows >= 0).all()
        np.testing.assert_array_equal(each.take(rows), features[order])
        assert (each.rows_of(xy + 0.5) == -1).all()


def test_parts_are_filled_before_another_is_begun(tmp_path: Path) -> None:
    xy, features = some(25)
    held = FeatureCache.open(tmp_path, "a")
    for at in range(25):
        held = held.add(xy[at : at + 1], features[at : at + 1])
    assert [len(part.xy) for part in held.parts] == [10, 10, 5]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a-00001.safetensors", "a-00002.safetensors", "a.safetensors",
    ]  # fmt: skip


def test_a_slide_may_have_more_parts_than_files_may_be_open(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="limits of a process are asked for by POSIX")
    xy, features = some(1000)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = FeatureCache.open(tmp_path, "a")
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 20, hard))
        for at in range(0, 1000, 200):
            held = held.add(xy[at : at + 200], features[at : at + 200])
        np.testing.assert_array_equal(held.take(held.rows_of(xy)), features)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_rows_that_another_adds_leave_those_known_as_they_are(tmp_path: Path) -> None:
    xy, features = some(9)
    mine = FeatureCache.open(tmp_path, "a").add(xy[:3], features[:3])
    FeatureCache.open(tmp_path, "a").add(xy[3:], features[3:])
    np.testing.assert_array_equal(mine.take(mine.rows_of(xy[:3])), features[:3])
    save_file({"xy": xy[:1], "features": features[:1]}, tmp_path / "a.safetensors")
    with pytest.raises(DataError, match="was changed while it was read"):
        mine.take(mine.rows_of(xy[:3]))


def test_a_part_that_cannot_be_opened_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        FeatureCache.open(tmp_path, "a")


def test_a_file_of_before_there_were_parts_is_read_and_left_alone(tmp_path: Path) -> None:
    xy, features = some(40)
    save_file({"xy": xy[:30], "features": features[:30]}, tmp_path / "a.safetensors")
    before = (tmp_path / "a.safetensors").read_bytes()
    held = FeatureCache.open(tmp_path, "a").add(xy[30:], features[30:])
    assert (tmp_path / "a.safetensors").read_bytes() == before
    np.testing.assert_array_equal(held.take(held.rows_of(xy)), features)


@pytest.mark.parametrize("damage", ["cut", "text", "header", "other"])
def test_a_damaged_part_counts_as_empty_and_is_written_anew(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    xy, features = some(25)
    FeatureCache.open(tmp_path, "a").add(xy, features)
    path = tmp_path / "a-00001.safetensors"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "text":
        path.write_text("no features")
    elif damage == "header":
        path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])
    else:
        save_file({"xy": xy[10:20]}, path)
    with caplog.at_level(logging.WARNING):
        held = FeatureCache.open(tmp_path, "a")
    assert "a-00001.safetensors: is damaged" in caplog.text
    rows = held.rows_of(xy)
    assert np.flatnonzero(rows < 0).tolist() == list(range(10, 20))
    held = held.add(xy[10:20], features[10:20])
    np.testing.assert_array_equal(held.take(held.rows_of(xy)), features)
    assert len(list(tmp_path.iterdir())) == 3


def test_parts_another_process_has_begun_meanwhile_are_not_overwritten(tmp_path: Path) -> None:
    xy, features = some(30)
    one, other = FeatureCache.open(tmp_path, "a"), FeatureCache.open(tmp_path, "a")
    one.add(xy[:10], features[:10])
    both = other.add(xy[10:], features[10:])
    np.testing.assert_array_equal(both.take(both.rows_of(xy)), features)


def test_names_that_begin_alike_are_kept_apart(tmp_path: Path) -> None:
    xy, features = some(12)
    FeatureCache.open(tmp_path, "ab").add(xy, features)
    assert FeatureCache.open(tmp_path, "a").parts == ()


def test_only_the_rows_asked_for_come_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "BLOCK", 1000)
    xy, features = some(1000)
    held = FeatureCache.open(tmp_path, "a").add(xy, features)
    assert isinstance(held.parts[0].features, np.memmap)
    taken = held.take(np.array([3, 1]))
    assert not isinstance(taken, np.memmap)
    np.testing.assert_array_equal(taken, features[[3, 1]])
