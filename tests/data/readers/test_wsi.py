"""Whole slides without counts become sections: a grid of tiles over their tissue."""

import logging
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bleep.config import Config, DataConfig
from bleep.data.readers import read_sections
from bleep.data.readers.wsi import has_slides, save_mask
from bleep.data.section import Section
from bleep.data.slides import PyramidSlide
from bleep.errors import BleepError, DataError

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "slide_files.py")))
SIZE = (1300, 1000)
BOX = (400, 200, 1000, 700)
"""Where tissue is: left, top, right, bottom."""


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Glass with a piece of tissue of 600 x 500 pixels, which are one micron each."""
    rng = np.random.default_rng(0)
    picture = np.full((SIZE[1], SIZE[0], 3), 240.0)
    left, top, right, bottom = BOX
    picture[top:bottom, left:right] = (220, 160, 195)
    picture += rng.normal(0, 4, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def read(root: Path, **over: Any) -> tuple[Section, ...]:
    return read_sections(DataConfig.model_validate({"source": "wsi", "root": root, **over}))


def expected(step: float) -> set[str]:
    """Squares at least half of which is tissue, from the corners of the piece alone."""
    left, top, right, bottom = BOX
    names = set()
    for x in range(int(SIZE[0] / step + 0.5)):
        for y in range(int(SIZE[1] / step + 0.5)):
            wide = max(0.0, min(right, (x + 1) * step) - max(left, x * step))
            high = max(0.0, min(bottom, (y + 1) * step) - max(top, y * step))
            names |= {f"x{x}_y{y}"} if wide * high >= 0.5 * step * step else set()
    return names


WRITERS = {
    "slide.svs": lambda path, pixels: FILES.svs(path, pixels, mpp=1.0),
    "slide.ome.tif": lambda path, pixels: FILES.ome(path, pixels, 1.0, 1.0),
    "slide.tif": lambda path, pixels: FILES.vips(path, pixels, per_mm=1000.0),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_slide_becomes_a_grid_over_its_tissue(name: str, pixels: np.ndarray, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, pixels)
    (section,) = read(tmp_path / name)
    assert section.name == section.patient == "slide"
    assert section.mpp == pytest.approx(1.0)
    assert isinstance(section.slide, PyramidSlide)
    assert section.counts.shape == (len(expected(100)), 0)
    assert set(section.counts.obs_names) == expected(100)
    for tile, (x, y) in zip(section.counts.obs_names, section.xy, strict=True):
        column, row = (int(part[1:]) for part in tile.split("_"))
        assert (x, y) == pytest.approx(((column + 0.5) * 100, (row + 0.5) * 100))
    assert section.counts.obs["tissue"].between(0.5, 1.0).all()
    assert section.pitch() == pytest.approx(100)


@pytest.mark.parametrize("mpp", [0.5, 2.0])
def test_the_step_is_in_microns(mpp: float, pixels: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (section,) = read(tmp_path / "a.png", mpp=mpp, step=100 * mpp)
    assert section.pitch() == pytest.approx(100)
    assert set(section.counts.obs_names) == expected(100)


def test_what_is_given_wins_over_what_the_file_says_and_it_is_said(
    pixels: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("bleep"), "propagate", True)
    path = FILES.svs(tmp_path / "a.svs", pixels, mpp=1.0)
    (section,) = read(path, mpp=0.5)
    assert section.mpp == 0.5
    assert "a.svs: says that a pixel is 1 microns, but 0.5 is given" in caplog.text


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "b.tif", "a.svs"])
def test_a_slide_that_does_not_say_its_scale_asks_for_it(name: str, pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "a.tif":
        FILES.vips(path, pixels, per_mm=96 / 25.4)
    elif name == "a.svs":
        FILES.svs(path, pixels, mpp=None)
    else:
        Image.fromarray(pixels).save(path, dpi=(25400, 25400))
    with pytest.raises(DataError, match=rf"{name}: does not say how many microns a pixel is; give it with --mpp or data.mpp"):
        read(path)
    assert len(read(path, mpp=1.0)[0]) == len(expected(100))


CM, INCH = {"resolutionunit": "CENTIMETER"}, {"resolutionunit": "INCH"}
TAGS, ZOOM = "its resolution tags would make it", "on most scanners, would make it"
PROPOSED: dict[str, tuple[dict[str, Any], int | None, str]] = {
    "tags": ({"resolution": (20040.0, 20040.0), **CM}, 20, f"{TAGS} 0.499"),
    "tags in inches": ({"resolution": (50800.0, 50800.0), **INCH}, 20, f"{TAGS} 0.5"),
    "screen": ({"resolution": (96.0, 96.0), **INCH}, 40, f"its objective of 40, {ZOOM} 0.25"),
    "not square": ({"resolution": (20000.0, 10000.0), **CM}, 20, f"its objective of 20, {ZOOM} 0.5"),
    "neither": ({"resolution": (96.0, 96.0), **INCH}, None, ""),
}


@pytest.mark.parametrize("what", PROPOSED)
def test_an_aperio_slide_without_mpp_asks_with_what_its_tags_make_likely(what: str, pixels: np.ndarray, tmp_path: Path) -> None:
    options, power, words = PROPOSED[what]
    path = FILES.svs(tmp_path / "a.svs", pixels, mpp=None, power=power, **options)
    asked = f"; {words}: give that if it is right" if words else ""
    with pytest.raises(DataError, match=f"microns a pixel is; give it with --mpp or data.mpp{asked}$"):
        read(path)
    assert len(read(path, mpp=1.0)[0]) == len(expected(100))


def test_a_folder_of_slides_is_read_in_order_of_its_names(pixels: np.ndarray, tmp_path: Path) -> None:
    FILES.svs(tmp_path / "two.svs", pixels, mpp=1.0)
    FILES.ome(tmp_path / "one.ome.tif", pixels, 1.0, 1.0)
    Image.fromarray(pixels).save(tmp_path / "three.JPG")
    (tmp_path / "notes.txt").write_text("not a slide")
    (tmp_path / ".hidden.svs").write_text("left by a file manager")
    (tmp_path / "two").mkdir()
    sections = read(tmp_path, mpp=1.0, patients={"one": "her"})
    assert [(section.name, section.patient) for section in sections] == [("one", "her"), ("three", "three"), ("two", "two")]
    assert [section.name for section in read(tmp_path, mpp=1.0, sections=["two", "one"])] == ["two", "one"]
    with pytest.raises(DataError, match="has no section 'four'; found one, three, two"):
        read(tmp_path, sections=["four"])


def test_two_slides_of_one_name_and_no_slide_are_refused(pixels: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no slide; expected files ending in \.svs"):
        read(tmp_path)
    FILES.svs(tmp_path / "a.svs", pixels)
    FILES.ome(tmp_path / "a.ome.tif", pixels)
    with pytest.raises(DataError, match=r"a\.ome\.tif and a\.svs would both be section 'a'; rename one"):
        read(tmp_path)


def mask_of(path: Path, size: tuple[int, int], box: tuple[int, int, int, int]) -> Path:
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 255
    Image.fromarray(mask).save(path)
    return path


@pytest.mark.parametrize("factor", [1, 10])
def test_a_mask_is_used_instead_of_what_is_seen(factor: int, pixels: np.ndarray, tmp_path: Path) -> None:
    path = FILES.svs(tmp_path / "a.svs", pixels, mpp=1.0)
    size = (SIZE[0] // factor, SIZE[1] // factor)
    mask = mask_of(tmp_path / "mask.png", size, (0, 0, size[0] * 3 // 13, size[1]))
    (section,) = read(path, mask=mask)
    assert set(section.counts.obs_names) == {f"x{x}_y{y}" for x in range(3) for y in range(10)}


def test_several_slides_take_their_masks_from_a_folder(pixels: np.ndarray, tmp_path: Path) -> None:
    slides, drawn = tmp_path / "slides", tmp_path / "masks"
    slides.mkdir()
    drawn.mkdir()
    for name, wide in (("a", 20), ("b", 30)):
        FILES.svs(slides / f"{name}.svs", pixels if name == "a" else pixels[::-1].copy(), mpp=1.0)
        mask_of(drawn / f"{name}.png", (130, 100), (0, 0, wide, 100))
    assert [len(section) for section in read(slides, mask=drawn)] == [20, 30]
    with pytest.raises(DataError, match=r"a\.png: is one mask for 2 slides; give a folder with a NAME\.png"):
        read(slides, mask=drawn / "a.png")
    assert len(read(slides, mask=drawn / "a.png", sections=["a"])[0]) == 20
    (drawn / "b.png").unlink()
    with pytest.raises(DataError, match=r"b\.png: no such image"):
        read(slides, mask=drawn)


def test_the_mask_found_can_be_given_back_and_gives_the_same_tiles(pixels: np.ndarray, tmp_path: Path) -> None:
    path = FILES.svs(tmp_path / "a.svs", pixels, mpp=1.0)
    (found,) = read(path)
    save_mask(found.counts.uns["mask"], tmp_path / "mask.png")
    (given,) = read(path, mask=tmp_path / "mask.png")
    assert list(given.counts.obs_names) == list(found.counts.obs_names)


def test_no_tissue_names_the_way_out(pixels: np.ndarray, tmp_path: Path) -> None:
    blank = FILES.svs(tmp_path / "blank.svs", np.full_like(pixels, 240), mpp=1.0)
    with pytest.raises(DataError, match=r"blank\.svs: no tissue was found on it; give a mask .*--mask or data\.mask"):
        read(blank)
    black = mask_of(tmp_path / "mask.png", (130, 100), (0, 0, 0, 0))
    with pytest.raises(DataError, match=r"blank\.svs: its mask is white on no square of the grid"):
        read(blank, mask=black)
    with pytest.raises(DataError, match="no such mask"):
        read(blank, mask=tmp_path / "gone.png")


def test_a_mask_that_contradicts_the_slide_is_refused(pixels: np.ndarray, tmp_path: Path) -> None:
    path = FILES.svs(tmp_path / "a.svs", pixels, mpp=1.0)
    with pytest.raises(DataError, match="100 x 130 pixels, another shape than the slide's 1300 x 1000"):
        read(path, mask=mask_of(tmp_path / "turned.png", (100, 130), (0, 0, 100, 130)))


def test_a_mask_of_zeros_and_ones_is_refused_by_what_it_lacks(pixels: np.ndarray, tmp_path: Path) -> None:
    path, ones = FILES.svs(tmp_path / "a.svs", pixels, mpp=1.0), np.zeros((100, 130), np.uint8)
    ones[20:80, 30:100] = 1
    Image.fromarray(ones).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=r"mask\.png: the brightest pixel of the mask is 1 of 255, .* save it with 255"):
        read(path, mask=tmp_path / "mask.png")
    Image.fromarray(ones * 255).save(tmp_path / "mask.png")
    (found,) = read(path, mask=tmp_path / "mask.png")
    assert found.counts.uns["mask"].sum() == 60 * 70


def test_a_step_larger_than_the_slide_names_the_slide(pixels: np.ndarray, tmp_path: Path) -> None:
    path = FILES.svs(tmp_path / "a.svs", pixels, mpp=1.0)
    with pytest.raises(DataError, match=r"a\.svs: the slide of 1300 x 1000 pixels is smaller than half a step"):
        read(path, step=5000.0)


@pytest.mark.slow
def test_nothing_can_be_trained_on_slides_without_counts(pixels: np.ndarray, tmp_path: Path, recipe: Any) -> None:
    from bleep.workflows.fit import fit

    FILES.svs(tmp_path / "a.svs", pixels, mpp=1.0)
    FILES.ome(tmp_path / "b.ome.tif", pixels, 1.0, 1.0)
    data = {"source": "wsi", "root": str(tmp_path), "mpp": None, "split": "section", "test": ["b"]}
    with pytest.raises(BleepError, match="can only be queried"):
        fit(Config.load(recipe(tmp_path / "out", {"data": data})))


def test_slides_are_told_from_ready_cut_tiles(pixels: np.ndarray, files: Path, tmp_path: Path) -> None:
    assert not has_slides(files / "folder" / "test")
    assert not has_slides(files / "folder" / "test.csv")
    for name, writer in WRITERS.items():
        folder = tmp_path / name
        folder.mkdir()
        path = writer(folder / name, pixels)
        assert has_slides(path)
        assert has_slides(folder) == name.endswith(".svs")
    large = tmp_path / "large"
    large.mkdir()
    Image.fromarray(np.zeros((10, 5000), np.uint8)).save(large / "a.jpg")
    assert has_slides(large)
    (large / "a.jpg").write_bytes(b"no picture")
    assert not has_slides(large)
