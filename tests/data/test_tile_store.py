"""Stored tiles are the tiles that would be cut, or they are not used."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bleep.data import tiles as store
from bleep.data.section import Section
from bleep.data.slides import ArraySlide, PictureSlide, save_png
from bleep.data.tiles import Tiles, TileSpec, cut
from bleep.errors import DataError

SPEC = TileSpec(24, (40.0, 80.0))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(store, "PART", 16)
    store._part.cache_clear()
    yield
    store._part.cache_clear()


@pytest.fixture
def section(toys: tuple[Section, ...]) -> Section:
    return toys[0]


def filled(root: Path, section: Section, spec: TileSpec = SPEC) -> Path:
    assert list(store.write(root, section, spec))[-1] == len(section)
    return store.folder_of(root, section, spec)


def test_stored_tiles_have_the_bytes_of_cut_ones(section: Section, tmp_path: Path) -> None:
    filled(tmp_path, section)
    kept, fresh = Tiles((section,), SPEC, tmp_path), Tiles((section,), SPEC)
    assert kept.stored[0] is not None
    assert (kept.stored[0].rows >= 0).all()
    np.testing.assert_array_equal(kept.images(range(len(kept))), fresh.images(range(len(fresh))))


def test_a_subset_and_another_order_find_their_tiles(section: Section, tmp_path: Path) -> None:
    filled(tmp_path, section)
    some = section.subset(np.array([30, 2, 17]))
    tiles = Tiles((some,), SPEC, tmp_path)
    assert tiles.stored[0] is not None
    assert tiles.stored[0].rows.tolist() == [30, 2, 17]
    for row in range(3):
        np.testing.assert_array_equal(tiles.read(row), cut(some, row, SPEC))


def test_spots_that_are_not_stored_are_cut(section: Section, tmp_path: Path) -> None:
    filled(tmp_path, section.subset(np.arange(10)))
    tiles = Tiles((section,), SPEC, tmp_path)
    assert tiles.stored[0] is not None
    assert (tiles.stored[0].rows >= 0).sum() == 10
    np.testing.assert_array_equal(tiles.read(40), cut(section, 40, SPEC))


@pytest.mark.parametrize(
    "change",
    [
        lambda s, spec: (s, replace(spec, pixels=25)),
        lambda s, spec: (s, replace(spec, microns=(40.0, 81.0))),
        lambda s, spec: (s, replace(spec, padding="edge")),
        lambda s, spec: (replace(s, mpp=1.01), spec),
        lambda s, spec: (replace(s, slide=ArraySlide(s.slide.pixels // 2)), spec),
    ],
    ids=["pixels", "microns", "padding", "mpp", "picture"],
)
def test_whatever_changes_the_bytes_makes_another_store(change, section: Section, tmp_path: Path) -> None:
    filled(tmp_path, section)
    other, spec = change(section, SPEC)
    assert store.find(tmp_path, other, spec) is None


def test_a_picture_file_that_is_edited_is_cut_anew(section: Section, tmp_path: Path) -> None:
    path = tmp_path / "slide.png"
    save_png(section.slide.pixels, path)
    filed = replace(section, slide=PictureSlide.open(path))
    filled(tmp_path / "tiles", filed)
    assert store.find(tmp_path / "tiles", filed, SPEC) is not None
    save_png(255 - section.slide.pixels, path)
    assert store.find(tmp_path / "tiles", filed, SPEC) is None


def test_a_stopped_writing_is_not_taken_for_whole_and_goes_on(
    section: Section, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts: list[int] = []

    def counted(section: Section, row: int, spec: TileSpec) -> np.ndarray:
        if len(cuts) == 20:
            raise KeyboardInterrupt
        cuts.append(row)
        return cut(section, row, spec)

    monkeypatch.setattr(store, "cut", counted)
    with pytest.raises(KeyboardInterrupt):
        list(store.write(tmp_path, section, SPEC))
    folder = store.folder_of(tmp_path, section, SPEC)
    assert store.find(tmp_path, section, SPEC) is None
    assert sorted(path.name for path in folder.iterdir()) == ["00000.npy", "xy.npy"]
    monkeypatch.setattr(store, "cut", cut)
    filled(tmp_path, section)
    tiles = Tiles((section,), SPEC, tmp_path)
    np.testing.assert_array_equal(tiles.images(range(len(tiles))), Tiles((section,), SPEC).images(range(len(tiles))))


def test_other_positions_on_the_same_picture_leave_the_store_to_its_readers(section: Section, tmp_path: Path) -> None:
    filled(tmp_path, section)
    reading = Tiles((section,), SPEC, tmp_path)
    moved = replace(section, xy=section.xy[::-1] + 1)
    filled(tmp_path, moved)
    store._part.cache_clear()
    np.testing.assert_array_equal(reading.read(3), cut(section, 3, SPEC))
    tiles = Tiles((moved,), SPEC, tmp_path)
    np.testing.assert_array_equal(tiles.read(3), cut(moved, 3, SPEC))


@pytest.mark.parametrize("name", ["00001.npy", "xy.npy"])
def test_a_damaged_store_is_named(name: str, section: Section, tmp_path: Path) -> None:
    folder = filled(tmp_path, section)
    (folder / name).write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match=rf"{name}: stored tiles are damaged .*; delete .* and tile again"):
        Tiles((section,), SPEC, tmp_path).images(range(len(section)))


def test_a_store_of_an_older_version_is_used_as_it_is(section: Section, tmp_path: Path) -> None:
    folder = filled(tmp_path, section)
    folder.rename(tmp_path / folder.name.partition("-")[0])
    assert store.folder_of(tmp_path, section, SPEC).name == folder.name.partition("-")[0]
    found = store.find(tmp_path, section, SPEC)
    assert found is not None
    assert (found.rows >= 0).all()
