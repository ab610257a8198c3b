"""Large pictures that can only be decoded whole get a tiled copy, once: the same pixels, read by region."""

import os
import runpy
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bleep.config import DataConfig
from bleep.data import readers as sources
from bleep.data.readers import read_sections
from bleep.data.slides import PictureSlide, PyramidSlide, pixels_of
from bleep.data.slides import pyramid as copies
from bleep.data.tiles import TileSpec, cut
from bleep.errors import DataError

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("slide_files.py"))))


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return Image.fromarray(FILES.texture(531, 417))


def turned(picture: Image.Image, path: Path) -> None:
    """Say in EXIF that the picture stands on its side, as cameras do."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(path, exif=exif, quality=90)


KINDS: dict[str, Any] = {
    "rgb.png": lambda image, path: image.save(path),
    "grey.png": lambda image, path: image.convert("L").save(path),
    "palette.png": lambda image, path: image.convert("P").save(path),
    "palette with a clear colour.png": lambda image, path: image.convert("P").save(path, transparency=3),
    "black and white.png": lambda image, path: image.convert("1").save(path),
    "clear.png": lambda image, path: Image.fromarray(np.dstack([np.asarray(image), np.asarray(image)[..., 0]])).save(path),
    "grey and clear.png": lambda image, path: image.convert("LA").save(path),
    "all colours.jpg": lambda image, path: image.save(path, quality=90, subsampling=0),
    "half the colours.jpg": lambda image, path: image.save(path, quality=75, subsampling=1),
    "a quarter of the colours.jpg": lambda image, path: image.save(path, quality=50, subsampling=2),
    "progressive.jpg": lambda image, path: image.save(path, progressive=True),
    "grey.jpg": lambda image, path: image.convert("L").save(path),
    "on its side.jpg": turned,
    "strips.tif": lambda image, path: image.save(path, compression="tiff_lzw"),
    "strips of jpeg.tif": lambda image, path: image.save(path, compression="jpeg"),
    "lossless.webp": lambda image, path: image.save(path, lossless=True),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_copy_holds_the_pixels_that_pillow_decodes(name: str, picture: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / name
    KINDS[name](picture, path)
    slide = PictureSlide.open(path)
    copy = copies.tiled(slide, tmp_path / "copies")
    width, height = slide.size
    assert copy.size == (531, 417) == (width, height)
    assert copy.levels == ((1.0, width, height),)
    square = copy.region(0, 0, max(slide.size), "white")
    np.testing.assert_array_equal(square[:height, :width], pixels_of(path))
    assert copy.digest() == slide.digest()


@pytest.mark.parametrize("name", ["a.tif", "a.jpg", "a.bmp", "lab.tif"])
def test_colours_that_would_come_out_otherwise_are_refused(name: str, picture: Image.Image, tmp_path: Path) -> None:
    mode = {"a.bmp": "RGB", "lab.tif": "LAB"}.get(name, "CMYK")
    picture.convert(mode).save(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name}: is too large .* no tiled copy is made of {mode} .* export it as RGB"):
        copies.tiled(PictureSlide.open(tmp_path / name), tmp_path / "copies")
    assert not (tmp_path / "copies").exists()


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_picture_cut_short_is_refused_in_one_sentence(
    ending: str, share: float, picture: Image.Image, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"a{ending}"
    # Pillow writes a TIFF's directory first, so the header of what is left still reads.
    picture.save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match=rf"a\{ending}: .*(cut short|is the file whole)"):
        copies.tiled(PictureSlide.open(path), tmp_path / "copies")
    assert not list(tmp_path.rglob("*.part*"))
    assert not list(tmp_path.glob("copies/*"))
    assert "Traceback" not in capfd.readouterr().err


def test_a_copy_is_made_once_and_anew_for_a_changed_picture(picture: Image.Image, tmp_path: Path) -> None:
    path, folder = tmp_path / "a.png", tmp_path / "copies"
    picture.save(path)
    first = copies.tiled(PictureSlide.open(path), folder)
    before = first.path.stat().st_mtime_ns
    picture.save(tmp_path / "b.png")
    again = copies.tiled(PictureSlide.open(tmp_path / "b.png"), folder)
    assert again.path == first.path
    assert first.path.stat().st_mtime_ns == before
    Image.fromarray(255 - np.asarray(picture)).save(path)
    changed = copies.tiled(PictureSlide.open(path), folder)
    assert changed.path != first.path
    np.testing.assert_array_equal(changed.region(20, 30, 200, "white"), 255 - np.asarray(picture)[30:230, 20:220])


def test_a_copy_of_another_picture_in_its_place_is_refused(picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "a.png")
    slide = PictureSlide.open(tmp_path / "a.png")
    path = copies.tiled(slide, tmp_path / "copies").path
    FILES.vips(path, np.asarray(picture)[:300, :300], pyramid=False)
    with pytest.raises(DataError, match=r"is no copy of .* delete it"):
        copies.tiled(slide, tmp_path / "copies")


SCRIPT = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
from bleep.cli.app import guarded
from bleep.data.slides import PictureSlide, pyramid as copies
def work():
    copies.tiled(PictureSlide.open(Path(sys.argv[1]), 10**9), Path(sys.argv[2]))
    return 0
print("go", flush=True)
sys.exit(guarded(work))
"""


@pytest.mark.slow
def test_an_interrupt_while_copying_leaves_nothing(picture: Image.Image, warm: Path, tmp_path: Path) -> None:
    large = np.tile(np.asarray(picture), (14, 14, 1))
    noise = np.random.default_rng(0).integers(0, 30, large.shape, dtype=np.uint8)
    Image.fromarray(np.clip(large, 0, 225) + noise).save(tmp_path / "a.png", compress_level=1)
    command = [warm / "python", "-c", SCRIPT, str(tmp_path / "a.png"), str(tmp_path / "copies")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("copies/.*/*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.rstrip().endswith("bleep: stopped")
    assert "Traceback" not in err
    assert not list((tmp_path / "copies").iterdir())


def test_what_a_killed_copy_left_behind_is_removed_once_it_is_old(picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "a.png")
    slide, folder = PictureSlide.open(tmp_path / "a.png"), tmp_path / "copies"
    made = copies.tiled(slide, folder).path
    old, new = (folder / f".{made.name}.{process}.part.tif" for process in (11, 12))
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    made.unlink()
    copies.tiled(slide, folder)
    assert not old.exists()
    assert new.exists()


def test_a_place_that_cannot_be_written_is_named(picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "a.png")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot be written"):
        copies.tiled(PictureSlide.open(tmp_path / "a.png"), tmp_path / "file" / "copies")


def test_sections_are_read_by_region_when_their_pictures_are_large_together(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataConfig(source="st2k", root=files / "st2k", mpp=1.0)
    usual = read_sections(data, tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(sources, "DECODED", 3 * 256 * 256)
    assert all(isinstance(section.slide, PictureSlide) for section in read_sections(data, tmp_path))
    monkeypatch.setattr(sources, "LARGE", 256 * 256)
    tiled = read_sections(data, tmp_path)
    assert all(isinstance(section.slide, PictureSlide) for section in read_sections(data))
    spec = TileSpec(32, (64.0, 128.0))
    for before, after in zip(usual, tiled, strict=True):
        assert isinstance(after.slide, PyramidSlide)
        assert before.digest() == after.digest()
        for row in range(len(before)):
            np.testing.assert_array_equal(cut(before, row, spec), cut(after, row, spec))


def test_without_the_extra_large_pictures_are_decoded_and_it_is_said(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import logging

    monkeypatch.setattr(logging.getLogger("bleep"), "propagate", True)
    monkeypatch.setattr(sources, "DECODED", 1)
    monkeypatch.setattr(sources, "LARGE", 1)
    monkeypatch.setattr(sources, "can_copy", lambda: False)
    read = read_sections(DataConfig(source="st2k", root=files / "st2k", mpp=1.0), tmp_path)
    assert all(isinstance(section.slide, PictureSlide) for section in read)
    assert "GB of memory once decoded; with the extra wsi" in caplog.text
