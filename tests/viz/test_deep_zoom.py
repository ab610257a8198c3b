"""Tiles of a slide beside a page."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bleep.data.slides import ArraySlide, Box
from bleep.errors import DataError
from bleep.marks import is_ours
from bleep.outputs import check_output
from bleep.viz.page import content
from bleep.viz.page.content import SIDE, DeepZoom, write_tiles


@dataclass
class Counting:
    """A slide that is drawn as it is asked for, and says what was asked."""

    size: tuple[int, int]
    asked: list[tuple[int, ...]] = field(default_factory=list)

    def region(self, left: int, top: int, side: int, padding: Any, pixels: int = 0) -> Box:
        self.asked.append((left, top, side))
        return np.full((pixels, pixels, 3), (left // SIDE % 256, top // SIDE % 256, 100), np.uint8)

    def digest(self) -> str:
        return ""


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture).astype(int)


def test_tiles_of_every_scale_join_to_the_slide(tmp_path: Path) -> None:
    """Sizes that are odd at every scale; a ramp, so that each place has its own colour."""
    wide, high = 1301, 701
    across, down = np.meshgrid(np.linspace(0, 255, wide), np.linspace(0, 255, high))
    pixels = np.stack([across, down, across], axis=2).astype(np.uint8)
    write_tiles({4: ArraySlide(pixels)}, tmp_path / "page_tiles")
    assert [scale["down"] for scale in DeepZoom((wide, high)).facts()] == [1, 2, 4]
    for scale in DeepZoom((wide, high)).facts():
        folder = tmp_path / "page_tiles" / "4" / str(scale["name"])
        lines = [[opened(folder / f"{row}_{column}.jpg") for column in range(scale["columns"])] for row in range(scale["rows"])]
        joined = np.concatenate([np.concatenate(line, axis=1) for line in lines])
        assert len(list(folder.iterdir())) == scale["columns"] * scale["rows"]
        by = scale["down"]
        assert joined.shape[:2] == (-(-high // by), -(-wide // by))
        expected = pixels[by // 2 :: by, by // 2 :: by].astype(int)
        assert np.abs(joined[: len(expected), : expected.shape[1]] - expected).max() < 8


def test_each_pixel_of_a_large_slide_is_asked_for_once_a_tile_at_a_time(tmp_path: Path) -> None:
    slide = Counting((6000, 2100))
    write_tiles({0: slide}, tmp_path / "t")
    places = [(column * SIDE, row * SIDE, SIDE) for row in range(5) for column in range(12)]
    assert sorted(slide.asked) == sorted(places)


def test_a_slide_scanned_very_finely_begins_at_half_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert DeepZoom((40_000, 20_000)).downs[0] == 1
    assert DeepZoom((40_001, 20_000)).downs[0] == 2
    assert DeepZoom((90_000, 150_000)).downs[0] == 4
    monkeypatch.setattr(content, "FINEST", 3000)
    slide = Counting((6000, 2100))
    write_tiles({0: slide}, tmp_path / "t")
    assert len(slide.asked) == 6 * 3
    assert {side for *_, side in slide.asked} == {2 * SIDE}


def test_a_folder_of_tiles_is_replaced_while_it_is_ours_alone(tmp_path: Path) -> None:
    folder = tmp_path / "page_tiles"
    for _ in range(2):
        write_tiles({0: ArraySlide(np.zeros((20, 30, 3), np.uint8))}, folder)
        check_output(folder)
    (folder / "0" / "notes.txt").write_text("mine")
    assert not is_ours(folder)
    with pytest.raises(DataError, match="bleep did not write it"):
        check_output(folder)
    check_output(folder, overwrite=True)


def test_a_slide_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "page_tiles"
    write_tiles({0: ArraySlide(np.zeros((20, 30, 3), np.uint8))}, folder)

    def damaged(*_: object) -> Box:
        raise DataError("slide.svs: is damaged")

    broken = Counting((1200, 30))
    monkeypatch.setattr(broken, "region", damaged)
    with pytest.raises(DataError, match="is damaged"):
        write_tiles({0: broken}, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["page_tiles"]
    assert is_ours(folder)
