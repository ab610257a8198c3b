"""Tiles show the tissue around their spot, and nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bleep.config import DataConfig
from bleep.data.readers import read_sections
from bleep.data.section import Section
from bleep.data.slides import PADDINGS, ArraySlide, MosaicSlide, PictureSlide, save_png
from bleep.data.tiles import Tiles, TileSpec, cut, write
from bleep.errors import DataError


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)


@pytest.fixture
def pictured(noise: np.ndarray, toys: tuple[Section, ...]) -> Section:
    """Three spots on a noise picture of half a micron a pixel: inside, at a corner, at the right edge."""
    xy = np.array([[40.0, 30.0], [0.0, 0.0], [89.0, 31.0]])
    return replace(toys[0], slide=ArraySlide(noise), counts=toys[0].counts[:3].copy(), xy=xy, mpp=0.5)


def shown(tile: np.ndarray) -> np.ndarray:
    return tile.transpose(1, 2, 0)


def test_a_tile_shows_what_slicing_the_picture_shows(pictured: Section, noise: np.ndarray) -> None:
    tile = cut(pictured, 0, TileSpec(16, (8.0,)))
    assert tile.shape == (1, 3, 16, 16)
    np.testing.assert_array_equal(shown(tile[0]), noise[22:38, 32:48])


def test_a_picture_file_gives_the_same_tiles_as_the_array(pictured: Section, noise: np.ndarray, tmp_path: Path) -> None:
    save_png(noise, tmp_path / "slide.png")
    filed = replace(pictured, slide=PictureSlide.open(tmp_path / "slide.png"))
    for row in range(3):
        np.testing.assert_array_equal(cut(filed, row, TileSpec(16, (8.0,))), cut(pictured, row, TileSpec(16, (8.0,))))


@pytest.mark.parametrize("rule", PADDINGS)
def test_beyond_the_slide_the_padding_rule_paints(rule, pictured: Section, noise: np.ndarray) -> None:
    whole = {
        "white": np.pad(noise, ((8, 8), (8, 8), (0, 0)), constant_values=255),
        "edge": np.pad(noise, ((8, 8), (8, 8), (0, 0)), mode="edge"),
        "reflect": np.pad(noise, ((8, 8), (8, 8), (0, 0)), mode="symmetric"),
    }[rule]
    corner, right = (shown(cut(pictured, row, TileSpec(16, (8.0,), rule))[0]) for row in (1, 2))
    np.testing.assert_array_equal(corner, whole[0:16, 0:16])
    np.testing.assert_array_equal(right, whole[31:47, 89:105])


@pytest.mark.parametrize("rule", PADDINGS)
def test_a_window_far_larger_than_the_slide_is_padded_too(rule, pictured: Section) -> None:
    assert cut(pictured, 1, TileSpec(16, (200.0,), rule)).shape == (1, 3, 16, 16)


def test_windows_share_their_centre_and_are_resized_alike(pictured: Section, noise: np.ndarray) -> None:
    tile = cut(pictured, 0, TileSpec(8, (4.0, 8.0, 16.0)))
    assert tile.shape == (3, 3, 8, 8)
    np.testing.assert_array_equal(shown(tile[0]), noise[26:34, 36:44])
    for number, half in ((1, 8), (2, 16)):
        box = Image.fromarray(noise[30 - half : 30 + half, 40 - half : 40 + half])
        np.testing.assert_array_equal(shown(tile[number]), np.asarray(box.resize((8, 8), Image.Resampling.BICUBIC)))


def test_an_x_is_a_column_and_a_y_is_a_row(noise: np.ndarray, pictured: Section) -> None:
    marked = np.zeros_like(noise)
    marked[30, 40] = 255
    tile = shown(cut(replace(pictured, slide=ArraySlide(marked)), 0, TileSpec(5, (2.5,)))[0])
    assert tile[2, 2].tolist() == [255, 255, 255]
    assert tile.sum() == 3 * 255


def test_ready_cut_tiles_are_shown_as_they_are_in_their_files(files: Path) -> None:
    (section,) = [s for s in read_sections(DataConfig(root=files / "folder" / "train.csv")) if s.name == "toy1"]
    assert isinstance(section.slide, MosaicSlide)
    for row, path in enumerate(section.slide.paths):
        with Image.open(path) as image:
            np.testing.assert_array_equal(shown(cut(section, row, TileSpec(64, (64.0,)))[0]), np.asarray(image))


def test_a_smaller_window_of_a_ready_cut_tile_is_its_middle(files: Path) -> None:
    section = read_sections(DataConfig(root=files / "folder" / "train.csv"))[0]
    whole, middle = (shown(cut(section, 3, TileSpec(side, (float(side),)))[0]) for side in (64, 32))
    np.testing.assert_array_equal(middle, whole[16:48, 16:48])


def test_a_ready_cut_tile_never_shows_its_neighbour(files: Path) -> None:
    section = read_sections(DataConfig(root=files / "folder" / "train.csv"))[0]
    slide = section.slide
    box = slide.region(64 - 16, 0, 64, "white")
    with Image.open(slide.paths[1]) as image:
        np.testing.assert_array_equal(box[:, 16:], np.asarray(image)[:, :48])
    assert (box[:, :16] == 255).all()


def test_ready_cut_tiles_smaller_than_the_window_are_refused(files: Path) -> None:
    sections = read_sections(DataConfig(root=files / "folder" / "train.csv"))
    with pytest.raises(DataError, match="show 64 microns"):
        Tiles(sections, TileSpec(32, (65.0,)))
    with pytest.raises(DataError, match=r"show 32 microns \(64 pixels of 0.5\)"):
        Tiles(tuple(replace(section, mpp=0.5) for section in sections), TileSpec(32, (64.0,)))


@pytest.mark.parametrize(
    ("microns", "words"),
    [
        (
            1e5,
            r"tiles.microns asks for a window of 100000 microns, 2e\+05 pixels wide, but its slide has .*; correct data.mpp",
        ),
        (
            0.1,
            r"a window of 0.1 microns, 0.2 pixels wide, and a pixel is 0.5 microns; correct data.mpp, or train with higher ",
        ),
    ],
)
def test_windows_that_cannot_show_tissue_are_refused(microns: float, words: str, pictured: Section, tmp_path: Path) -> None:
    spec = TileSpec(32, (64.0, microns))
    with pytest.raises(DataError, match=words):
        Tiles((pictured,), spec)
    with pytest.raises(DataError, match=words):
        next(write(tmp_path, pictured, spec))
    assert not list(tmp_path.iterdir())


def test_a_window_for_which_there_is_no_memory_is_named(pictured: Section, monkeypatch: pytest.MonkeyPatch) -> None:
    def region(*_: object) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr(ArraySlide, "region", region)
    with pytest.raises(
        DataError, match=r"a window of 64 microns is 128 x 128 pixels, more than .* correct data.mpp, or train with lower"
    ):
        cut(pictured, 0, TileSpec(32, (64.0,)))


def test_tiles_of_several_sections_are_numbered_through(toys: tuple[Section, ...]) -> None:
    tiles = Tiles(toys[:2], TileSpec(32, (32.0,)))
    assert len(tiles) == len(tiles.ids) == len(tiles.frame()) == len(toys[0]) + len(toys[1])
    first = len(toys[0])
    np.testing.assert_array_equal(tiles.read(first + 4), cut(toys[1], 4, tiles.spec))
    with pytest.raises(IndexError):
        tiles.read(len(tiles))
    rows = np.array([2, first + 4])
    assert tiles.subset(rows).ids == (tiles.ids[2], tiles.ids[first + 4])


def test_a_tile_that_changed_size_after_opening_is_refused(tmp_path: Path, noise: np.ndarray) -> None:
    save_png(np.ascontiguousarray(noise[:32, :32]), tmp_path / "a.png")
    slide = MosaicSlide.open((tmp_path / "a.png",))
    save_png(np.ascontiguousarray(noise[:40, :40]), tmp_path / "a.png")
    with pytest.raises(DataError, match="no longer 32 pixels"):
        slide.region(0, 0, 32, "white")


def test_grey_and_transparent_pictures_are_shown_in_colour(tmp_path: Path) -> None:
    for mode in ("L", "RGBA", "P"):
        path = tmp_path / f"{mode}.png"
        Image.new(mode, (20, 20)).save(path)
        assert PictureSlide.open(path).region(0, 0, 20, "white").shape == (20, 20, 3)
