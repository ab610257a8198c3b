"""`bleep query --slides`: whole slides in, a grid of predictions out; bad slides end in one sentence, nothing written."""

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bleep.cli import app
from bleep.data.section import Section
from bleep.data.slides import ArraySlide
from bleep.data.tiles import Tiles
from bleep.data.toy import toy_section
from bleep.runs import Run
from bleep.workflows.experiment import Experiment

Fails = Callable[..., str]
FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "data" / "slide_files.py")))


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """A toy section on glass, 840 x 880 pixels of one micron."""
    slide = toy_section("slide", "donor9", 77, side=640).slide
    assert isinstance(slide, ArraySlide)
    return np.pad(slide.pixels, ((120, 120), (100, 100), (0, 0)), constant_values=240)


@pytest.fixture
def query(trained: dict[str, Path], tmp_path: Path) -> Callable[..., anndata.AnnData]:
    """Run the command on slides, and return what it wrote."""

    def command(*words: object, task: str = "contrastive") -> anndata.AnnData:
        out = tmp_path / "out.h5ad"
        argv = ["query", "--slides", *words, "--out", out, "--run", trained[task]]
        assert app.main([str(word) for word in argv]) == 0
        return anndata.read_h5ad(out)

    return command


def of_array(run: Run, pixels: np.ndarray, found: anndata.AnnData, name: str = "slide") -> Section:
    """The same tiles, cut directly from the array."""
    counts = anndata.AnnData(
        X=np.zeros((len(found), 0), np.float32), obs=pd.DataFrame(index=found.obs["spot"].astype(str).to_numpy())
    )
    return Section(name, name, "unknown", ArraySlide(pixels), counts, np.asarray(found.obsm["spatial"], np.float64), 1.0)


@pytest.mark.parametrize("task", ["contrastive", "regression"])
def test_a_slide_is_predicted_as_a_direct_cut_from_its_pixels(
    task: str, query: Any, trained: dict[str, Path], pixels: np.ndarray, tmp_path: Path
) -> None:
    # Its next level is too coarse for these tiles, so level-0 pixels are used.
    found = query(FILES.svs(tmp_path / "slide.svs", pixels, mpp=1.0), "--step", 40, task=task)
    assert len(found) > 100
    run = Run.load(trained[task])
    expected = Experiment.of(run, trained[task]).predict(Tiles((of_array(run, pixels, found),), run.spec))
    assert list(found.var_names) == list(run.panel.genes)
    np.testing.assert_allclose(found.X, expected.expression, rtol=1e-4, atol=1e-5)
    assert np.asarray(found.X).std(axis=0).max() > 0.01


@pytest.mark.parametrize("name", ["slide.tif", "slide.ome.tif"])
def test_a_coarser_level_gives_nearly_the_same(
    name: str, query: Any, trained: dict[str, Path], pixels: np.ndarray, tmp_path: Path
) -> None:
    if name == "slide.tif":
        FILES.vips(tmp_path / name, pixels, per_mm=1000.0)
    else:
        FILES.ome(tmp_path / name, pixels, 1.0, 1.0)
    found = query(tmp_path / name, "--step", 40)
    run = Run.load(trained["contrastive"])
    expected = Experiment.of(run, trained["contrastive"]).predict(Tiles((of_array(run, pixels, found),), run.spec))
    gap = np.abs(found.X - expected.expression).mean()
    assert gap < 0.5 * np.asarray(expected.expression).std(axis=0).mean()


def test_the_output_is_what_scanpy_and_squidpy_read(query: Any, pixels: np.ndarray, tmp_path: Path) -> None:
    found = query(FILES.svs(tmp_path / "slide.svs", pixels, mpp=1.0), "--step", 50)
    assert list(found.obs["section"].unique()) == ["slide"]
    np.testing.assert_allclose(found.obsm["spatial"], (found.obs[["grid_x", "grid_y"]].to_numpy() + 0.5) * 50)
    assert found.obs["tissue"].between(0.5, 1).all()
    assert list(found.obs_names[:1]) == [f"slide/{found.obs['spot'].iloc[0]}"]
    words = found.uns["bleep"]
    assert (int(words["tile_pixels"]), list(words["tile_microns"])) == (32, [64.0])
    assert (list(words["sections"]), list(words["mpp"])) == (["slide"], [1.0])
    library = found.uns["spatial"]["slide"]
    picture, scale = library["images"]["hires"], library["scalefactors"]["tissue_hires_scalef"]
    assert picture.dtype == np.uint8
    assert picture.shape[:2] == (round(880 * scale), round(840 * scale))
    assert library["scalefactors"]["spot_diameter_fullres"] == 50
    right, down = (found.obsm["spatial"] * scale).astype(int).T
    # The tiles lie where the picture is darker than its glass.
    assert picture[down, right].mean() < picture[:20].mean() - 20


def test_the_picture_of_a_narrow_slide_lies_where_its_tiles_do(query: Any, pixels: np.ndarray, tmp_path: Path) -> None:
    narrow = np.ascontiguousarray(np.concatenate([pixels[200:600, 300:333]] * 7))
    Image.fromarray(narrow).save(tmp_path / "slide.png")
    found = query(tmp_path / "slide.png", "--mpp", 1, "--step", 33)
    library = found.uns["spatial"]["slide"]
    assert library["images"]["hires"].shape == (1000, 12, 3)
    assert library["scalefactors"]["tissue_hires_scalef"] == 1000 / 2800


def test_the_mask_is_saved_and_can_be_edited_and_given_back(
    query: Any, pixels: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = FILES.svs(tmp_path / "slide.svs", pixels, mpp=1.0)
    first = query(path, "--step", 50, "--save-mask", tmp_path / "mask.png")
    assert "mask.png: the mask used; edit it and give it back with --mask" in capsys.readouterr().out
    again = query(path, "--step", 50, "--mask", tmp_path / "mask.png")
    assert list(again.obs_names) == list(first.obs_names)
    with Image.open(tmp_path / "mask.png") as image:
        edited = np.asarray(image).copy()
    edited[:, : edited.shape[1] // 2] = 0
    Image.fromarray(edited).save(tmp_path / "mask.png")
    half = query(path, "--step", 50, "--mask", tmp_path / "mask.png")
    assert set(half.obs_names) < set(first.obs_names)
    assert half.obsm["spatial"][:, 0].min() >= 400


def test_several_slides_go_into_one_table_and_their_masks_into_a_folder(query: Any, pixels: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    one = FILES.svs(tmp_path / "one.svs", pixels, mpp=1.0)
    FILES.ome(tmp_path / "more" / "two.ome.tif", pixels, 1.0, 1.0)
    Image.fromarray(pixels).save(tmp_path / "more" / "three.png")
    found = query(one, tmp_path / "more", "--step", 80, "--mpp", 1, "--save-mask", tmp_path / "masks")
    assert list(found.obs["section"].unique()) == ["one", "three", "two"]
    assert set(found.uns["spatial"]) == {"one", "two", "three"}
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["one.png", "three.png", "two.png"]
    again = query(one, tmp_path / "more", "--step", 80, "--mpp", 1, "--mask", tmp_path / "masks")
    assert list(again.obs_names) == list(found.obs_names)


def test_a_slide_that_fails_is_left_out_and_told_at_the_end(
    trained: dict[str, Path], pixels: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = FILES.svs(tmp_path / "whole.svs", pixels, mpp=1.0)
    (tmp_path / "cut.svs").write_bytes(whole.read_bytes()[:3000])
    FILES.svs(tmp_path / "glass.svs", np.full_like(pixels, 245), mpp=1.0)
    argv = ["query", "--slides", tmp_path, "--step", 50, "--out", tmp_path / "p.h5ad", "--run", trained["regression"]]
    assert app.main([str(word) for word in [*argv, "--save-mask", tmp_path / "masks"]]) == 3
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["whole.png"]
    said = capsys.readouterr().err.splitlines()
    assert [Path(line.split()[1]).name for line in said if "was left out" in line] == ["cut.svs", "glass.svs"]
    assert set(anndata.read_h5ad(tmp_path / "p.h5ad").obs["section"]) == {"whole"}


def test_a_table_of_text_has_the_grid_too(trained: dict[str, Path], pixels: np.ndarray, tmp_path: Path) -> None:
    path = FILES.svs(tmp_path / "slide.svs", pixels, mpp=1.0)
    argv = ["query", "--slides", path, "--out", tmp_path / "p.csv", "--run", trained["regression"]]
    assert app.main([str(word) for word in argv]) == 0
    table = pd.read_csv(tmp_path / "p.csv")
    assert list(table.columns[:7]) == ["section", "spot", "x", "y", "grid_x", "grid_y", "tissue"]


def test_ready_cut_tiles_say_their_size_and_have_no_grid(trained: dict[str, Path], files: Path, tmp_path: Path) -> None:
    argv = ["query", "--images", files / "folder" / "test.csv", "--mpp", 1, "--out", tmp_path / "p.h5ad"]
    assert app.main([*map(str, argv), "--run", str(trained["contrastive"])]) == 0
    found = anndata.read_h5ad(tmp_path / "p.h5ad")
    assert list(found.uns["bleep"]["mpp"]) == [1.0] * found.obs["section"].nunique()
    assert "spatial" not in found.uns
    assert "grid_x" not in found.obs


def test_progress_and_a_slide_too_coarse_are_said_aloud(
    query: Any, pixels: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where standard error is no terminal, a bar is a line each ten seconds: here at once.
    monkeypatch.setattr("bleep.progress.SECONDS", 0.0)
    # Upside down: its features are not known yet from another test.
    query(FILES.svs(tmp_path / "slide.svs", pixels[::-1], mpp=1.0), "--step", 50)
    said = capsys.readouterr().err
    assert "slide slide: 840 x 880 pixels of 1 um, tissue on 50%: " in said
    assert "looking for tissue" in said
    assert "features of slide" in said
    assert "coarser" not in said
    query(FILES.svs(tmp_path / "coarse.svs", pixels, mpp=4.0))
    said = capsys.readouterr().err
    assert "slide coarse: its pixels are 4 microns, coarser than the 2 the run was trained at" in said


def test_the_scale_a_file_says_decides_how_much_a_tile_shows(query: Any, pixels: np.ndarray, tmp_path: Path) -> None:
    # The same pixels, said to be half as large: tiles of the same microns are twice as many pixels wide.
    fine = query(FILES.svs(tmp_path / "fine.svs", pixels, mpp=0.5), "--step", 20)
    told = query(FILES.svs(tmp_path / "told.svs", pixels, mpp=1.0), "--mpp", 0.5, "--step", 20)
    np.testing.assert_allclose(fine.X, told.X, rtol=1e-4, atol=1e-5)
    wrong = query(tmp_path / "told.svs", "--step", 40)
    assert len(wrong) != len(fine) or np.abs(wrong.X - fine.X).max() > 1e-3


BAD: dict[str, tuple[Callable[[Path, np.ndarray], object], tuple[str, ...]]] = {
    "cut short": (
        lambda root, pixels: (root / "a.svs").write_bytes(
            FILES.jpeg_svs(root / "whole.svs", pixels).read_bytes()[:60_000]
        ),
        ("a.svs: ", "cut short"),
    ),
    "text": (lambda root, pixels: (root / "a.svs").write_text("just words"), ("a.svs: cannot be read as a slide",)),
    "empty": (lambda root, pixels: (root / "a.tif").write_bytes(b""), ("a.tif: cannot be read as a slide",)),
    "missing": (lambda root, pixels: (root / "a.svs"), ("a.svs: no such file or folder",)),
    "an empty folder": (lambda root, pixels: (root / "a").mkdir(), ("a: holds no slide",)),
    "blank": (
        lambda root, pixels: FILES.svs(root / "a.svs", np.full_like(pixels, 244), mpp=1.0),
        ("a.svs: no tissue was found", "--mask"),
    ),
    "no scale": (lambda root, pixels: FILES.svs(root / "a.svs", pixels, mpp=None), ("does not say how many microns", "--mpp")),
    "photo software's scale": (
        lambda root, pixels: FILES.vips(root / "a.tif", pixels, per_mm=96 / 25.4),
        ("does not say how many microns", "--mpp"),
    ),
    "16 bits": (
        lambda root, pixels: Image.fromarray(pixels[..., 0].astype(np.uint16)).save(root / "a.png"),
        ("a.png: holds values of more than 8 bits",),
    ),
    "garbled inside": (
        lambda root, pixels: _garbled(FILES.svs(root / "a.svs", pixels, mpp=1.0)),
        ("a.svs: cannot be read as a slide",),
    ),
}  # fmt: skip


def _garbled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[300_000:700_000] = np.random.default_rng(0).bytes(400_000)
    path.write_bytes(content)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_slide(kind: str, fails: Fails, run_copy: Any, pixels: np.ndarray, tmp_path: Path) -> None:
    make, words = BAD[kind]
    make(tmp_path, pixels)
    (path,) = [*tmp_path.glob("a*")] or [tmp_path / "a.svs"]
    # The mask is whole, and written, before the pixels of the tiles are read.
    mask = [] if kind == "garbled inside" else ["--save-mask", tmp_path / "mask.png"]
    fails(["query", "--slides", path, *mask, "--run", run_copy()], *words)


def test_a_picture_beyond_the_limit(fails: Fails, run_copy: Any, pixels: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.jpg")
    run = run_copy()
    query = ["query", "--slides", tmp_path / "a.jpg", "--mpp", 1, "--run", run]
    fails([*query, "--pixel-limit", 1000], "a.jpg: has more than the 1000 pixels", "--pixel-limit")
    assert app.main([str(word) for word in [*query, "--pixel-limit", 840 * 880, "--out", tmp_path / "p.csv"]]) == 0


def test_bad_masks(fails: Fails, run_copy: Any, pixels: np.ndarray, tmp_path: Path) -> None:
    for name in ("a", "b"):
        FILES.svs(tmp_path / f"{name}.svs", pixels, mpp=1.0)
    query = ["query", "--run", run_copy(), "--slides", tmp_path / "a.svs"]
    Image.fromarray(np.full((84, 88), 255, np.uint8)).save(tmp_path / "turned.png")
    fails([*query, "--mask", tmp_path / "turned.png"], "turned.png: the mask has 88 x 84", "840 x 880")
    (tmp_path / "words.png").write_text("no picture")
    fails([*query, "--mask", tmp_path / "words.png"], "words.png: cannot be read as an image")
    fails([*query, "--mask", tmp_path / "gone.png"], "gone.png: no such mask")
    Image.fromarray(np.zeros((88, 84), np.uint8)).save(tmp_path / "black.png")
    fails([*query, "--mask", tmp_path / "black.png"], "a.svs: its mask is white on no square")
    # Tissue is there, and smaller than half a square.
    Image.fromarray(np.pad(np.full((8, 8), 255, np.uint8), ((40, 40), (38, 38)))).save(tmp_path / "dot.png")
    dot = [*query, "--mask", tmp_path / "dot.png"]
    fails([*dot, "--step", 400], "a.svs: tissue covers no square of 400 microns by half; lower data.step (--step")
    fails([*query, tmp_path / "b.svs", "--mask", tmp_path / "black.png"], "is one mask for 2 slides", "NAME.png")
    (tmp_path / "folder").mkdir()
    for name in ("a", "b"):
        (tmp_path / "folder" / f"{name}.svs").symlink_to(tmp_path / f"{name}.svs")
    fails([*query[:-1], tmp_path / "folder", "--mask", tmp_path / "black.png"], "is one mask for 2 slides", "NAME.png")
    fails([*query, tmp_path / "b.svs", "--save-mask", tmp_path / "m.png"], "m.png: expected a folder")
    fails([*query, "--save-mask", tmp_path / "m"], "expected a name ending in .png")
    (tmp_path / "file").write_text("x")
    fails([*query, "--save-mask", tmp_path / "file" / "m.png"], "cannot be written")


def test_bad_flags(fails: Fails, run_copy: Any, pixels: np.ndarray, files: Path, tmp_path: Path) -> None:
    slide = FILES.svs(tmp_path / "a.svs", pixels, mpp=1.0)
    run = run_copy()
    fails(["query", "--slides", slide, "--step", 0, "--run", run], "--step 0.0: expected a number above 0")
    fails(["query", "--slides", slide, "--step", 3000, "--run", run], "a.svs: ", "smaller than half a step")
    fails(["query", "--slides", slide, "--step", 0.01, "--run", run], "a.svs: ", "raise data.step (--step of bleep query)")
    fails(["query", "--slides", slide, "--step", 1e9, "--run", run], "smaller than half a step of 1e+09; lower data.step")
    fails(["query", "--slides", slide, "--mpp", 1e9, "--run", run], "raise data.step", "or correct data.mpp (--mpp)")
    fails(["query", "--slides", slide, "--pixel-limit", -5, "--run", run], "--pixel-limit -5: expected a number above 0")
    fails(["query", "--slides", slide, slide, "--run", run], "two of the slides are called 'a'")
    images = ["query", "--images", files / "folder" / "test.csv", "--mpp", 1, "--run", run]
    for flag, value in (("--step", 50), ("--mask", "m.png"), ("--save-mask", "m.png")):
        fails([*images, flag, value], f"{flag}: belongs to --slides")
    for words in (["--images", slide, "--slides", slide], []):
        with pytest.raises(SystemExit) as stopped:
            app.main([str(word) for word in ["query", *words]])
        assert stopped.value.code == 2


def test_slides_given_as_images_are_told_the_other_flag(
    fails: Fails, run_copy: Any, pixels: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "slides").mkdir()
    slide = FILES.svs(tmp_path / "slides" / "a.svs", pixels, mpp=1.0)
    Image.fromarray(pixels).save(tmp_path / "lone.jpg")
    run = run_copy()
    for place in (slide, slide.parent, tmp_path / "lone.jpg"):
        fails(["query", "--images", place, "--run", run], "give it with --slides instead of --images")


def test_no_index_is_said_before_a_mask_is_written(fails: Fails, run_copy: Any, pixels: np.ndarray, tmp_path: Path) -> None:
    import shutil

    run = run_copy()
    shutil.rmtree(run / "reference")
    slide = FILES.svs(tmp_path / "a.svs", pixels, mpp=1.0)
    fails(["query", "--slides", slide, "--save-mask", tmp_path / "m.png", "--run", run], "there is no index")


def test_a_run_that_never_knew_its_scale_refuses_slides(
    fails: Fails, run_copy: Any, pixels: np.ndarray, tmp_path: Path
) -> None:
    run = run_copy()
    text = (run / "config.yaml").read_text().replace("source: st2k", "source: folder").replace("mpp: 1.0", "mpp: null")
    (run / "config.yaml").write_text(text)
    slide = FILES.svs(tmp_path / "a.svs", pixels, mpp=1.0)
    fails(["query", "--slides", slide, "--run", run], "ready-cut tiles without data.mpp", "train with --data.mpp")


MEMORY = """
import json, resource, sys
from pathlib import Path
from bleep.config import DataConfig
from bleep.data.readers import read_sections
from bleep.data.tiles import TileSpec, cut
(section,) = read_sections(DataConfig(source="wsi", root=Path(sys.argv[1])), Path(sys.argv[2]))
for row in range(len(section)):
    cut(section, row, TileSpec(32, (64.0,)))
print(json.dumps([len(section), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024]))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_slide(pixels: np.ndarray, tmp_path: Path) -> None:
    import pyvips

    tissue, used = pyvips.Image.new_from_array(pixels).copy(interpretation="srgb"), {}
    for side in (1500, 15000):
        glass = (pyvips.Image.black(side, side, bands=3) + 245).cast("uchar").copy(interpretation="srgb")
        whole = glass.insert(tissue, 300, 300).copy(xres=1000, yres=1000)
        # One level alone, so that the overview is made from level 0: 675 MB of it.
        whole.tiffsave(str(tmp_path / f"{side}.tif"), tile=True, tile_width=256, tile_height=256, compression="jpeg")
        command = [sys.executable, "-c", MEMORY, str(tmp_path / f"{side}.tif"), str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        used[side] = json.loads(done.stdout)
    assert used[1500][0] == used[15000][0]
    assert used[15000][1] - used[1500][1] < 200


def test_a_page_of_a_large_slide_has_its_tiles_beside_it(
    query: Any, trained: dict[str, Path], pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Fails
) -> None:
    slide, page, folder = FILES.svs(tmp_path / "slide.svs", pixels, mpp=1.0), tmp_path / "page.html", tmp_path / "page_tiles"
    query(slide, "--step", 80, "--report", page)
    assert not folder.exists()  # All of a slide of 840 pixels is in the page.
    monkeypatch.setattr("bleep.workflows.report.PICTURE", 300)
    query(slide, "--step", 80, "--report", page, "--no-deep-zoom")
    assert not folder.exists()
    for _ in range(2):
        query(slide, "--step", 80, "--report", page)
        assert {path.name for path in (folder / "0").iterdir()} == {"1", "2"}
        with Image.open(folder / "0" / "1" / "1_1.jpg") as tile:
            assert np.abs(np.asarray(tile).astype(int) - pixels[512:, 512:]).mean() < 3
    (folder / "mine.txt").write_text("mine")
    words = ["query", "--slides", slide, "--report", page, "--out", tmp_path / "p.h5ad", "--run", trained["contrastive"]]
    fails(words, "page_tiles: is there already, and bleep did not write it")
