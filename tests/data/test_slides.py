"""Laws of slides: every form shows the same pixels at the same place, and a damaged file is refused in a sentence."""

import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from bleep.data.slides import ArraySlide, MosaicSlide, PatchSlide, PictureSlide, PyramidSlide, open_slide, resize
from bleep.data.slides import base as overview
from bleep.data.slides.pyramid import _downsampling, scanner_of
from bleep.errors import DataError

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("slide_files.py"))))
WIDTH, HEIGHT = 1411, 1155
Made = Callable[[str], Path]

FORMS: dict[str, tuple[str, Callable[..., Path], dict[str, Any]]] = {
    "svs": (".svs", FILES.svs, {}),
    "svs with jpeg": (".svs", FILES.jpeg_svs, {}),
    "svs, far apart": (".svs", FILES.svs, {"factors": (32,)}),
    "svs, odd ratios": (".svs", FILES.svs, {"factors": (2.5, 6.4)}),
    "ome": (".ome.tif", FILES.ome, {}),
    "tifffile": (".tif", FILES.pages, {}),
    "libvips": (".tif", FILES.vips, {}),
    "libvips, SubIFDs": (".tif", FILES.vips, {"subifd": True}),
    "libvips, one level": (".tif", FILES.vips, {"pyramid": False}),
    "tiff in strips": (".tif", FILES.vips, {"tile": False, "pyramid": False}),
    "png": (".png", lambda path, pixels: (Image.fromarray(pixels).save(path), path)[1], {}),
}
EXACT = [name for name in FORMS if name != "svs with jpeg"]
LEVELS = {
    "svs": [1, 4, 16],
    "svs with jpeg": [1, 4, 16],
    "svs, far apart": [1, 32],
    "svs, odd ratios": [1, 2.5, 6.4],
    "ome": [1, 2, 4],
    "tifffile": [1, 2, 4],
    "libvips": [1, 2, 4, 8],
    "libvips, SubIFDs": [1, 2, 4, 8],
    "libvips, one level": [1],
}


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return FILES.texture(WIDTH, HEIGHT)


@pytest.fixture(scope="module")
def made(pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Write a form once, and return its path; read it, do not change it."""
    root = tmp_path_factory.mktemp("slides")

    def write(name: str) -> Path:
        ending, writer, options = FORMS[name]
        path = root / f"{name.replace(' ', '_').replace(',', '')}{ending}"
        return path if path.exists() else writer(path, pixels, **options)

    return write


def boxes(count: int, side: int, seed: int = 0) -> list[tuple[int, int]]:
    rng = np.random.default_rng(seed)
    return [(int(rng.integers(0, WIDTH - side)), int(rng.integers(0, HEIGHT - side))) for _ in range(count)]


def shift(shown: np.ndarray, true: np.ndarray) -> np.ndarray:
    """By how many pixels, x first, one box is shifted against the other, from the slopes of the picture."""
    shown, true = shown.mean(axis=-1), true.mean(axis=-1)
    down, right = np.gradient(true)
    slopes = np.stack([right.ravel(), down.ravel(), np.ones(true.size)], axis=1)
    return -np.linalg.lstsq(slopes, (shown - true).ravel(), rcond=None)[0][:2]


@pytest.mark.parametrize("name", FORMS)
def test_every_form_shows_the_same_pixels(name: str, made: Made, pixels: np.ndarray) -> None:
    slide, true = open_slide(made(name)), ArraySlide(pixels)
    assert slide.size == (WIDTH, HEIGHT)
    across = [(-50, -70), (WIDTH - 100, HEIGHT - 40), (WIDTH - 1, 700)]
    for left, top in boxes(8, 300) + across:
        shown, expected = (s.region(left, top, 300, "reflect") for s in (slide, true))
        if name in EXACT:
            np.testing.assert_array_equal(shown, expected)
        elif (left, top) not in across:
            assert np.abs(shown.astype(int) - expected).mean() < 2


@pytest.mark.parametrize("name", LEVELS)
def test_every_level_is_found(name: str, made: Made) -> None:
    slide = open_slide(made(name))
    assert isinstance(slide, PyramidSlide)
    np.testing.assert_allclose([down for down, *_ in slide.levels], LEVELS[name], rtol=5e-3)


@pytest.mark.parametrize("name", [name for name in LEVELS if len(LEVELS[name]) > 1])
def test_a_coarser_level_shows_the_same_place(name: str, made: Made, pixels: np.ndarray) -> None:
    slide = open_slide(made(name))
    assert isinstance(slide, PyramidSlide)
    for down, *_ in slide.levels[1:]:
        wanted = 24
        side = round(wanted * down)
        found = []
        for left, top in boxes(40, side):
            shown = slide.region(left, top, side, "white", wanted)
            assert shown.shape[0] == wanted
            true = np.asarray(Image.fromarray(pixels[top : top + side, left : left + side]).resize((wanted, wanted), 4))
            found.append([*shift(shown.astype(float), true.astype(float)), left, top])
        table = np.array(found)
        assert np.abs(table[:, :2]).max() < 1, (down, table[:, :2])
        assert np.abs(table[:, :2].mean(axis=0)).max() < 0.4, down
        # A drift that grows over the slide would show as a slope; half a pixel of rounding at each box is noise. Odd ratios
        # are not the same across and down, as sizes are whole, and only their mean is known.
        for axis in (0, 1) if name != "svs, odd ratios" else ():
            assert abs(np.polyfit(table[:, 2 + axis] / WIDTH, table[:, axis], 1)[0]) < 0.6, down


@pytest.mark.parametrize("name", LEVELS)
def test_a_box_is_never_coarser_than_asked(name: str, made: Made) -> None:
    slide = open_slide(made(name))
    for side, wanted in [(100, 100), (100, 99), (400, 50), (600, 60), (1100, 224), (70, 224)]:
        shown = slide.region(10, 10, side, "white", wanted)
        assert min(wanted, side) <= shown.shape[0] <= side
    assert slide.region(10, 10, 1100, "white").shape[0] == 1100


@pytest.mark.parametrize("name", ["svs", "libvips", "svs, odd ratios"])
def test_a_tile_from_a_coarser_level_looks_like_one_from_the_finest(name: str, made: Made) -> None:
    slide = open_slide(made(name))
    for left, top in boxes(5, 900):
        coarse, fine = (resize(slide.region(left, top, 900, "white", pixels), 128) for pixels in (128, 0))
        assert np.abs(coarse.astype(int) - fine).mean() < 10


@pytest.mark.parametrize("name", FORMS)
def test_a_box_outside_is_refused_and_one_across_the_edge_is_padded(name: str, made: Made) -> None:
    slide = open_slide(made(name))
    with pytest.raises(DataError, match="wholly outside a picture"):
        slide.region(WIDTH + 5, 10, 100, "white")
    for wanted in (0, 25):
        shown = slide.region(WIDTH - 50, HEIGHT - 50, 100, "white", wanted)
        half = shown.shape[0] // 2
        assert (shown[half + 2 :, half + 2 :] == 255).all()
        assert (shown[: half - 2, : half - 2] < 255).any()


def test_a_box_that_reaches_the_slide_by_less_than_a_coarse_pixel_is_read(pixels: np.ndarray, tmp_path: Path) -> None:
    # A level has lost the odd last column; such boxes are asked for where windows share regions.
    slide = open_slide(FILES.pages(tmp_path / "odd.tif", pixels[:203, :301]))
    for left, top in ((300, 50), (50, 202), (-99, 50), (50, -99), (300, 202)):
        shown = slide.region(left, top, 100, "white", 25)
        assert shown.shape == (25, 25, 3)
        assert 0 < (shown < 255).any(axis=2).sum() <= 25
    with pytest.raises(DataError, match="wholly outside"):
        slide.region(301, 50, 100, "white", 25)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("longest", [37, 400, 5000])
def test_a_thumbnail_is_the_mean_of_what_it_stands_for(name: str, longest: int, made: Made, pixels: np.ndarray) -> None:
    slide = open_slide(made(name))
    size = overview.small_size((WIDTH, HEIGHT), longest)
    assert max(size) == min(longest, WIDTH)
    shown = slide.thumbnail(longest)
    assert shown.shape == (size[1], size[0], 3)
    expected = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
    assert np.abs(shown.astype(int) - expected).mean() < 12
    assert np.abs(shift(shown.astype(float), expected.astype(float))).max() < 0.2


@pytest.mark.parametrize("name", ["svs", "libvips", "libvips, one level", "png"])
def test_a_thumbnail_read_in_bands_is_the_same(name: str, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    slide = open_slide(made(name))
    whole = slide.thumbnail(333)
    monkeypatch.setattr(overview, "BAND", 20_000)
    # OpenSlide looks between the pixels of a coarser level, at a part of one that depends on where it begins.
    np.testing.assert_allclose(slide.thumbnail(333).astype(int), whole.astype(int), atol=8)


def test_the_slide_of_an_array_has_the_same_thumbnail(made: Made, pixels: np.ndarray) -> None:
    np.testing.assert_array_equal(ArraySlide(pixels).thumbnail(300), open_slide(made("png")).thumbnail(300))


class _Boxes(Dataset[torch.Tensor]):
    def __init__(self, slide: Any) -> None:
        self.slide, self.places = slide, boxes(60, 400)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, row: int) -> torch.Tensor:
        return torch.from_numpy(self.slide.region(*self.places[row], 400, "white", 100)[:100, :100].copy())


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("name", ["svs with jpeg", "ome", "libvips", "png"])
def test_several_processes_read_the_same_bytes_as_one(name: str, made: Made) -> None:
    dataset = _Boxes(open_slide(made(name)))
    # Read here first: a process forked from this one must not share the open file, or both would move one place in it.
    alone = torch.stack([dataset[row] for row in range(len(dataset))])
    together = torch.cat(list(DataLoader(dataset, batch_size=5, num_workers=2, timeout=60)))
    assert torch.equal(alone, together)


def test_what_an_aperio_scanner_writes_is_read_by_openslide(made: Made) -> None:
    path = made("svs with jpeg")
    assert openslide.OpenSlide.detect_format(path) == "aperio"
    slide = open_slide(path)
    assert isinstance(slide, PyramidSlide)
    assert slide.library == "openslide"
    assert slide.mpp == pytest.approx(0.499)
    assert [level[1:] for level in slide.levels] == [(WIDTH, HEIGHT), (WIDTH // 4, HEIGHT // 4), (WIDTH // 16, HEIGHT // 16)]


@pytest.mark.parametrize("name", ["ome", "libvips", "libvips, SubIFDs", "libvips, one level"])
def test_the_size_of_a_pixel_is_read(name: str, made: Made) -> None:
    slide = open_slide(made(name))
    assert isinstance(slide, PyramidSlide)
    assert slide.mpp == pytest.approx(0.5)


SMALL = np.full((300, 400, 3), 200, np.uint8)


@pytest.mark.parametrize(
    ("size", "unit", "mpp"), [(250.0, "nm", 0.25), (0.25, "µm", 0.25), (0.00025, "mm", 0.25), (1.0, "pixel", None)]
)
def test_the_units_of_ome_are_understood(size: float, unit: str, mpp: float | None, tmp_path: Path) -> None:
    slide = open_slide(FILES.ome(tmp_path / "a.ome.tif", SMALL, size, size, unit))
    assert isinstance(slide, PyramidSlide)
    assert slide.mpp == (None if mpp is None else pytest.approx(mpp))


def test_an_ome_without_a_size_says_none(tmp_path: Path) -> None:
    slide = open_slide(FILES.ome(tmp_path / "a.ome.tif", SMALL, None, None))
    assert isinstance(slide, PyramidSlide)
    assert slide.mpp is None


@pytest.mark.parametrize("writer", ["ome", "pages"])
def test_pixels_that_are_not_square_are_not_believed_aloud(
    writer: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import logging

    monkeypatch.setattr(logging.getLogger("bleep"), "propagate", True)
    path = tmp_path / "a.ome.tif"
    if writer == "ome":
        FILES.ome(path, SMALL, 0.5, 0.25)
    else:
        FILES.pages(path, SMALL, resolution=(20_000, 40_000), resolutionunit="CENTIMETER")
    slide = open_slide(path)
    assert isinstance(slide, PyramidSlide)
    assert slide.mpp is None
    assert "0.5 x 0.25 microns, not square" in caplog.text


@pytest.mark.parametrize(
    ("per", "unit", "mpp"),
    [
        (20_000, "CENTIMETER", 0.5),
        (50_800, "INCH", 0.5),
        (2400, "INCH", 10.583),
        (72, "INCH", None),
        (96, "INCH", None),
        (300, "INCH", None),
        (1, "NONE", None),
        (10_000_000, "CENTIMETER", None),
    ],
)
def test_only_a_resolution_that_can_be_a_slides_is_believed(per: int, unit: str, mpp: float | None, tmp_path: Path) -> None:
    slide = open_slide(FILES.pages(tmp_path / "a.tif", SMALL, resolution=(per, per), resolutionunit=unit))
    assert isinstance(slide, PyramidSlide)
    assert slide.mpp == (None if mpp is None else pytest.approx(mpp, rel=1e-4))


GREY = SMALL[..., 0]
REFUSED: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "16 bits": (SMALL.astype(np.uint16), {"photometric": "rgb"}),
    "16 bits, grey": (GREY.astype(np.uint16), {"photometric": "minisblack"}),
    "fractions": (SMALL.astype(np.float32), {"photometric": "rgb"}),
    "fluorescence": (np.stack([GREY] * 5), {"photometric": "minisblack", "metadata": {"axes": "CYX"}}),
    "layers": (np.stack([SMALL] * 3), {"photometric": "rgb", "metadata": {"axes": "ZYXS"}}),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_pixels_that_would_be_shown_wrongly_are_refused(kind: str, tmp_path: Path) -> None:
    array, options = REFUSED[kind]
    tifffile.imwrite(tmp_path / "a.tif", array, tile=(128, 128), **options)
    with pytest.raises(DataError, match=r"a\.tif: holds \w+ pixels of .* expected 8-bit RGB or grey"):
        open_slide(tmp_path / "a.tif")


TURNED: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "CMYK": (np.dstack([SMALL, np.zeros_like(GREY)]), {"photometric": "separated"}),
    "palette": (GREY, {"photometric": "palette", "colormap": np.stack([257 * np.arange(256)[::-1]] * 3).astype(np.uint16)}),
    "white is zero": (GREY, {"photometric": "miniswhite"}),
}


@pytest.mark.parametrize("tile", [None, (128, 128)])
@pytest.mark.parametrize("kind", TURNED)
def test_inks_palettes_and_inverted_greys_become_colours_in_strips_and_tiles_alike(
    kind: str, tile: tuple[int, int] | None, tmp_path: Path
) -> None:
    array, options = TURNED[kind]
    tifffile.imwrite(tmp_path / "a.tif", array, tile=tile, **options)
    side = min(GREY.shape)
    shown = open_slide(tmp_path / "a.tif").region(0, 0, side, "white")
    expected = 255 - (SMALL if kind == "CMYK" else np.stack([GREY] * 3, axis=-1))[:side, :side]
    assert np.abs(shown.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("ending", [".tif", ".png"])
def test_a_deep_grey_picture_is_refused(ending: str, tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.uint16) * 200).save(tmp_path / f"a{ending}")
    with pytest.raises(DataError, match="more than 8 bits"):
        open_slide(tmp_path / f"a{ending}")


def test_grey_and_transparent_tiled_pictures_are_shown_as_rgb(pixels: np.ndarray, tmp_path: Path) -> None:
    piece = pixels[:300, :400]
    tifffile.imwrite(tmp_path / "grey.tif", piece[..., 0], tile=(128, 128), photometric="minisblack")
    grey = open_slide(tmp_path / "grey.tif").region(10, 20, 100, "white")
    np.testing.assert_array_equal(grey, np.repeat(piece[20:120, 10:110, :1], 3, axis=2))
    alpha = np.dstack([piece, np.full(piece.shape[:2], 90, np.uint8)])
    tifffile.imwrite(tmp_path / "alpha.tif", alpha, tile=(128, 128), photometric="rgb", extrasamples=["unassalpha"])
    over = piece[20:120, 10:110] * (90 / 255) + 255 - 90
    assert np.abs(open_slide(tmp_path / "alpha.tif").region(10, 20, 100, "white") - over).max() <= 1


@pytest.mark.parametrize("share", [0.3, 0.8, 0.99])
@pytest.mark.parametrize("name", FORMS)
def test_a_file_cut_short_is_refused(
    name: str, share: float, made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / made(name).name
    content = made(name).read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=rf"{path.name}: .*(cut short|is the file whole\?)"):
        open_slide(path).region(WIDTH - 300, HEIGHT - 300, 300, "white")
    assert not capsys.readouterr().err


@pytest.mark.parametrize("name", ["svs with jpeg", "ome", "libvips"])
def test_a_file_garbled_inside_never_shows_another_picture(
    name: str, made: Made, pixels: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / made(name).name
    content = bytearray(made(name).read_bytes())
    third = len(content) // 3
    content[third : third + 200_000] = np.random.default_rng(0).bytes(200_000)
    path.write_bytes(content)
    slide, refused = open_slide(path), []
    for left in range(0, WIDTH - 256, 256):
        for top in range(0, HEIGHT - 256, 256):
            try:
                shown = slide.region(left, top, 256, "white")
            except DataError as error:
                refused.append(str(error))
            else:
                assert np.abs(shown.astype(int) - pixels[top : top + 256, left : left + 256]).mean() < 3
    assert refused
    assert all("is the file whole?" in words for words in refused)
    assert not capsys.readouterr().err


def without_a_tile(path: Path, content: bytes) -> Path:
    """Take one tile of level 0 out of a file."""
    path.write_bytes(content)
    with tifffile.TiffFile(path, mode="r+b") as file:
        counts = file.pages[0].tags["TileByteCounts"]
        counts.overwrite([0 if tile == 7 else count for tile, count in enumerate(counts.value)])
    return path


def test_what_a_scanner_did_not_take_is_white(made: Made, pixels: np.ndarray, tmp_path: Path) -> None:
    slide = open_slide(without_a_tile(tmp_path / "a.svs", made("svs").read_bytes()))
    column, row = 7 % -(-WIDTH // 256), 7 // -(-WIDTH // 256)
    assert (slide.region(column * 256, row * 256, 256, "white") == 255).all()
    np.testing.assert_array_equal(slide.region(0, 0, 256, "white"), pixels[:256, :256])


def test_a_tile_that_is_not_there_is_not_shown_black(made: Made, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.tif: is damaged or cut short \(1 tiles without pixels\)"):
        open_slide(without_a_tile(tmp_path / "a.tif", made("libvips").read_bytes()))


@pytest.mark.parametrize("ending", [".svs", ".ndpi", ".mrxs", ".tif", ".ome.tiff", ".jpg"])
@pytest.mark.parametrize("content", [b"", b"just words, and no slide", b"II*\0\x08\0\0\0", None])
def test_what_is_no_slide_is_refused(ending: str, content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.\S+: (cannot be read as|no such image|is damaged)"):
        open_slide(path)


@pytest.mark.parametrize("library", ["openslide", "tiffslide"])
def test_without_the_extra_a_slide_says_which_is_missing(library: str, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(DataError, match=r"need the extra wsi: pip install -e '\.\[wsi\]'"):
        PyramidSlide.open(made("svs"))


def test_without_the_extra_a_tiled_tiff_is_decoded_whole(
    made: Made, monkeypatch: pytest.MonkeyPatch, pixels: np.ndarray
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    slide = open_slide(made("libvips"))
    assert isinstance(slide, PictureSlide)
    np.testing.assert_array_equal(slide.region(50, 60, 200, "white"), pixels[60:260, 50:250])


def test_a_picture_beyond_the_limit_is_refused_and_can_be_allowed(made: Made) -> None:
    with pytest.raises(DataError, match=r"more than the 1000000 pixels .* data\.pixel_limit"):
        open_slide(made("png"), 1_000_000)
    assert open_slide(made("png"), WIDTH * HEIGHT).region(0, 0, 10, "white").shape == (10, 10, 3)
    assert open_slide(made("svs"), 10).size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_a_file_that_was_replaced_is_read_anew(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    for value in (40, 90):
        Image.fromarray(np.full((300, 300, 3), value, np.uint8)).save(tmp_path / "whole.png")
        if ending == ".tif":
            FILES.pages(path, np.full((300, 300, 3), value, np.uint8))
        else:
            Image.fromarray(np.full((300, 300, 3), value, np.uint8)).save(path)
        os.utime(path, ns=(value, value))
        assert (open_slide(path).region(0, 0, 50, "white") == value).all()


@pytest.mark.parametrize("kind", [MosaicSlide, PatchSlide])
def test_a_ready_cut_tile_that_was_replaced_is_read_anew(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for value in (40, 90):
        Image.fromarray(np.full((30, 30, 3), value, np.uint8)).save(path)
        os.utime(path, ns=(value, value))
        slide = MosaicSlide.open((path,)) if kind is MosaicSlide else PatchSlide.open((path,), None)
        assert (slide.region(0, 0, 20, "white") == value).all()


@pytest.mark.parametrize("name", ["svs", "libvips", "png"])
def test_a_file_that_has_gone_is_said_so(name: str, made: Made, tmp_path: Path) -> None:
    path = tmp_path / made(name).name
    path.write_bytes(made(name).read_bytes())
    slide = open_slide(path)
    path.unlink()
    for use in (lambda: slide.region(0, 0, 50, "white"), slide.digest, lambda: slide.thumbnail(50)):
        with pytest.raises(DataError, match="no such image"):
            use()


@pytest.mark.parametrize("name", FORMS)
def test_a_box_around_any_place_of_the_slide_can_be_read(name: str, made: Made) -> None:
    slide = open_slide(made(name))
    rng = np.random.default_rng(5)
    for side in (9, 40, 300, 1000, 2500):
        places = rng.uniform(0, 1, (3, 2)) * (WIDTH, HEIGHT)
        corners = [[0, 0], [WIDTH - 1e-6, HEIGHT - 1e-6], [0, HEIGHT - 1e-6], [WIDTH - 1e-6, 0]]
        for x, y in [*places, *corners]:
            assert slide.region(round(x - side / 2), round(y - side / 2), side, "white", 8).shape[0] >= 8


@pytest.mark.parametrize(("told", "level"), [(32.56, (255, 31)), (4.01, (2047, 255)), (32.12, (255, 32))])
def test_a_level_of_a_narrow_slide_is_as_coarse_as_a_whole_number_says(told: float, level: tuple[int, int]) -> None:
    """Libraries take the mean of both sides' ratios, which is off where halving dropped a part of the short side."""
    assert _downsampling(told, (8191, 1023), level) == 2 ** round(np.log2(told))


def test_pictures_and_slides_of_other_content_have_other_digests(made: Made) -> None:
    digests = {open_slide(made(name)).digest() for name in FORMS}
    assert len(digests) == len(FORMS)
    assert open_slide(made("svs")).digest() in digests


def test_no_library_of_slides_is_asked_about_a_plain_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openslide = pytest.importorskip("openslide")
    asked: list[Path] = []
    monkeypatch.setattr(openslide.OpenSlide, "detect_format", lambda path: asked.append(path))
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.jpg")
    (tmp_path / "other.jpg").write_bytes(b"II*\0 a TIFF by its first bytes")
    assert scanner_of(tmp_path / "plain.jpg") == ""
    assert asked == []
    scanner_of(tmp_path / "other.jpg")
    assert asked == [tmp_path / "other.jpg"]
