"""Stores written by the spatialdata library read to the tissue they were written from."""

import logging
import multiprocessing
import shutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from bleep.cli import app
from bleep.config import Config, DataConfig, ImageConfig
from bleep.data.readers import has_form, read_sections
from bleep.data.section import Section
from bleep.data.slides import ArraySlide, Slide, overview
from bleep.data.slides.zarr import ZarrSlide
from bleep.data.tiles import Tiles, TileSpec
from bleep.data.tiles import write as write_tiles
from bleep.data.toy import toy_section
from bleep.errors import ConfigError, DataError
from bleep.features import FeatureReader
from bleep.models.factory import build_trunk
from bleep.runs import Run
from bleep.workflows.fit import fit
from bleep.workflows.query import open_tiles

pytest.importorskip("spatialdata")
TOY = toy_section("toy", "donor", 3, side=512, pitch=64)
PICTURE = TOY.slide.region(0, 0, 512, "white")
GLOBAL = 2.0
"""Units of the system "global" in a pixel."""


@pytest.fixture(autouse=True)
def loaded() -> None:
    """The library, and those it is built on, warn of their own future while they are loaded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import spatialdata  # noqa: F401


def table(region: str = "spots", *more: str) -> AnnData:
    """Return the counts, which annotate one region, or the same spots in several."""
    from spatialdata.models import TableModel

    names = [region, *more]
    obs = pd.DataFrame(
        {
            "region": pd.Categorical(np.repeat(names, len(TOY))),
            "instance_id": np.tile(np.arange(len(TOY)), len(names)),
            "in_tissue": 1,
        },
        index=[f"{spot}{'' if name == region else name}" for name in names for spot in TOY.counts.obs_names],
    )
    data = AnnData(sparse.vstack([sparse.csr_matrix(TOY.counts.X)] * len(names)).tocsr(), obs, TOY.counts.var[[]])
    return TableModel.parse(data, region=names if more else region, region_key="region", instance_key="instance_id")


def image(*scales: int, system: Any = None, pixels: np.ndarray = PICTURE, **options: Any) -> Any:
    from spatialdata.models import Image2DModel
    from spatialdata.transformations import Scale

    moved = system if system is not None else {"global": Scale([GLOBAL, GLOBAL], axes=("x", "y"))}
    return Image2DModel.parse(
        pixels.transpose(2, 0, 1), dims=("c", "y", "x"), transformations=moved, scale_factors=list(scales) or None, **options
    )


def circles(system: Any = None, xy: np.ndarray = TOY.xy * GLOBAL) -> Any:
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity

    return ShapesModel.parse(xy, geometry=0, radius=20.0, transformations=system or {"global": Identity()})


def write(path: Path, **parts: Any) -> Path:
    """Write a store of an image "he", the shapes "spots" and a table, or of what is given."""
    import spatialdata

    given = {"images": {"he": image()}, "shapes": {"spots": circles()}, "tables": {"table": table()}, **parts}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spatialdata.SpatialData(**given).write(path)
    return path


def read(root: Path, **more: object) -> Section:
    (section,) = read_sections(DataConfig.model_validate({"source": "spatialdata", "root": root, "mpp": 1.0, **more}))
    return section


def check(section: Section) -> None:
    """Check that a section is the toy tissue."""
    assert list(section.counts.obs_names) == list(TOY.counts.obs_names)
    np.testing.assert_allclose(section.xy, TOY.xy)
    np.testing.assert_array_equal(sparse.csr_matrix(section.counts.X).toarray(), TOY.counts.X.toarray())
    np.testing.assert_array_equal(section.slide.region(-30, 100, 333, "white"), TOY.slide.region(-30, 100, 333, "white"))


@pytest.mark.parametrize("scales", [(), (2, 2)])
@pytest.mark.parametrize("folder", [False, True])
def test_a_store_or_a_folder_of_one_reads_to_the_tissue_it_was_written_from(
    folder: bool, scales: tuple[int, ...], tmp_path: Path
) -> None:
    path = write(tmp_path / "in" / "sample.zarr", images={"he": image(*scales)})
    section = read(path.parent if folder else path)
    assert section.name == section.patient == "sample"
    assert isinstance(section.slide, Slide)
    check(section)


@pytest.mark.parametrize("scales", [(), (2, 2)])
def test_a_picture_in_a_store_is_shown_small_as_one_in_memory(scales: tuple[int, ...], tmp_path: Path) -> None:
    slide = read(write(tmp_path / "a.zarr", images={"he": image(*scales)})).slide
    expected = TOY.slide.thumbnail(100)
    for shown in (overview(slide, 100), overview(Boxes(slide), 100)):
        assert shown.shape == (100, 100, 3)
        # The library makes its levels by leaving pixels out, not by their means.
        assert np.abs(shown.astype(int) - expected).mean() < (5 if scales else 1)
    np.testing.assert_array_equal(overview(Boxes(slide), 1000), PICTURE)


class Boxes:
    """A slide of another package: it gives boxes, and nothing else."""

    def __init__(self, slide: Slide) -> None:
        self.size, self.region, self.digest = slide.size, slide.region, slide.digest


def test_a_run_on_a_store_is_shown_and_its_prediction_has_the_picture(recipe: Any, tmp_path: Path) -> None:
    for name, pixels in (("a", PICTURE), ("b", 255 - PICTURE)):
        write(tmp_path / "in" / f"{name}.zarr", images={"he": image(pixels=pixels)})
    data = {"source": "spatialdata", "root": str(tmp_path / "in"), "split": "section", "test": ["b"]}
    over = {"data": data, "loss": {"task": "regression"}, "optim": {"epochs": 1}}
    fit(Config.load(recipe(tmp_path / "run", over)))
    run, page = ["--run", str(tmp_path / "run")], ["--report", str(tmp_path / "page.html")]
    assert app.main(["evaluate", *run, *page, "--figures", str(tmp_path / "figures")]) == 0
    assert app.main(["query", *run, *page, "--images", str(tmp_path / "in"), "--out", str(tmp_path / "p.h5ad")]) == 0
    held = anndata.read_h5ad(tmp_path / "p.h5ad").uns["spatial"]
    assert {name: held[name]["images"]["hires"].shape for name in held} == dict.fromkeys("ab", (512, 512, 3))
    np.testing.assert_array_equal(held["a"]["images"]["hires"], PICTURE)


def test_a_store_of_the_older_format_reads_alike(tmp_path: Path) -> None:
    import spatialdata
    from spatialdata._io.format import SpatialDataContainerFormatV01

    parts: Any = {"images": {"he": image(2)}, "shapes": {"spots": circles()}, "tables": {"table": table()}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spatialdata.SpatialData(**parts).write(tmp_path / "old.zarr", sdata_formats=[SpatialDataContainerFormatV01()])
    check(read(tmp_path / "old.zarr"))


def test_spots_are_moved_by_any_affine_map(tmp_path: Path) -> None:
    from spatialdata.transformations import Affine, Scale, Sequence, Translation

    turn = np.array([[0.0, -3.0, 700.0], [3.0, 0.0, -50.0], [0, 0, 1]])
    squeeze = np.array([[1.5, 0.4, 9.0], [0.0, 0.7, 4.0], [0, 0, 1]])
    to_image = np.linalg.inv(turn) @ squeeze
    xy = (TOY.xy - to_image[:2, 2]) @ np.linalg.inv(to_image[:2, :2]).T
    axes = {"input_axes": ("x", "y"), "output_axes": ("x", "y")}
    halves = Sequence([Scale([1.5, 0.7], ("x", "y")), Affine(squeeze @ np.diag([1 / 1.5, 1 / 0.7, 1]), **axes)])
    path = write(
        tmp_path / "a.zarr",
        images={"he": image(system={"aligned": Affine(turn, **axes)})},
        shapes={"spots": circles({"aligned": halves, "other": Translation([1, 2], ("x", "y"))}, xy)},
    )
    check(read(path, system="aligned"))


def test_polygons_and_squares_count_by_their_centre(tmp_path: Path) -> None:
    import geopandas
    from shapely import box
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity

    x, y = TOY.xy.T * GLOBAL
    squares = geopandas.GeoDataFrame(geometry=[box(a - 8, b - 8, a + 8, b + 8) for a, b in zip(x, y, strict=True)])
    check(
        read(write(tmp_path / "a.zarr", shapes={"spots": ShapesModel.parse(squares, transformations={"global": Identity()})}))
    )


def test_several_regions_are_several_sections_where_they_lie_apart_in_the_image(tmp_path: Path) -> None:
    half, aside = np.array([0.4, 1.0]), np.array([256.0, 0.0])
    shapes = {"left": circles(xy=TOY.xy * half * GLOBAL), "right": circles(xy=(TOY.xy * half + aside) * GLOBAL)}
    path = write(tmp_path / "two.zarr", shapes=shapes, tables={"table": table("left", "right")})
    left, right = read_sections(DataConfig(source="spatialdata", root=path, mpp=1.0))
    assert (left.name, right.name) == ("two-left", "two-right")
    np.testing.assert_allclose(left.xy, TOY.xy * half)
    np.testing.assert_allclose(right.xy, TOY.xy * half + aside)
    assert read(path, sections=["two-right"]).name == "two-right"


def test_regions_that_lie_among_each_other_in_one_image_are_refused(tmp_path: Path) -> None:
    shapes = {"left": circles(), "right": circles(xy=TOY.xy * GLOBAL + 3)}
    path = write(tmp_path / "two.zarr", shapes=shapes, tables={"table": table("left", "right")})
    with pytest.raises(DataError, match="is the same picture for sections 'two-left' and 'two-right', whose spots lie among"):
        read_sections(DataConfig(source="spatialdata", root=path, mpp=1.0))
    check(read(path, sections=["two-left"]))


def test_several_stores_are_several_sections(tmp_path: Path) -> None:
    for name, pixels in (("a", PICTURE), ("b", 255 - PICTURE)):
        write(tmp_path / f"{name}.zarr", images={"he": image(pixels=pixels)})
    data = DataConfig(source="spatialdata", root=tmp_path, mpp=1.0, patients={"b": "donor"})
    assert [(s.name, s.patient) for s in read_sections(data)] == [("a", "a"), ("b", "donor")]
    assert has_form(tmp_path, "spatialdata")
    assert has_form(tmp_path / "a.zarr", "spatialdata")
    assert not has_form(tmp_path / "a.zarr" / "images", "spatialdata")


def test_elements_are_taken_by_name(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.zarr",
        images={"he": image(), "other": image(pixels=255 - PICTURE)},
        tables={"table": table(), "second": table()},
    )
    with pytest.raises(DataError, match=r"has 2 tables \(second, table\); set data\.table"):
        read(path)
    with pytest.raises(DataError, match=r"has 2 images \(he, other\); set data\.element"):
        read(path, table="table")
    check(read(path, table="table", element="he"))
    inverted = read(path, table="table", element="other").slide.region(0, 0, 512, "white")
    np.testing.assert_array_equal(inverted, 255 - PICTURE)


def test_a_query_and_an_index_take_elements_by_flags(
    tmp_path: Path, run_copy: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    store = write(
        tmp_path / "a.zarr",
        images={"he": image(), "other": image(pixels=255 - PICTURE)},
        tables={"table": table(), "second": table()},
    )
    folder = run_copy()
    place = ["--run", str(folder), "--images", str(store)]
    query = ["query", *place, "--mpp", "1", "--out", str(tmp_path / "p.csv")]
    for flag, value in (("table", "second"), ("element", "he")):
        assert app.main(query) == 2
        assert f"set --data.{flag}" in capsys.readouterr().err
        query += [f"--data.{flag}", value]
    assert app.main(query) == 0
    assert len(pd.read_csv(tmp_path / "p.csv")) == len(TOY)
    for flag, value, words in (
        ("element", "x", "has no image 'x'; found he, other: set --data.element to one of them"),
        ("bin", "abc", "--data.bin: input should be a valid integer"),
        ("source", "wsi", "--data.source wsi: whole slides are no sections; give them with --slides"),
        ("source", "h5ad", "no section of the form h5ad is there"),
    ):
        assert app.main([*query, f"--data.{flag}", value, "--overwrite"]) == 2
        assert words in capsys.readouterr().err
    assert app.main(["query", "--slides", "a.tif", "--data.table", "second", "--run", str(folder)]) == 2
    assert "--data.table: belongs to --images" in capsys.readouterr().err
    # The run was trained on another form, whose settings say nothing of this one.
    asked = ["--data.source", "spatialdata", "--data.table", "second", "--data.element", "he"]
    assert app.main(["index", "add", *place, *asked]) == 2
    assert "set --data.mpp" in capsys.readouterr().err
    assert app.main(["index", "add", *place, *asked, "--data.mpp", "1"]) == 0
    assert f"added {len(TOY)} spots of a" in capsys.readouterr().out
    run = Run.load(folder)
    with pytest.raises(ConfigError, match=r"data\.split: does not say how files are read; expected source, "):
        open_tiles(store, run, reading={"split": "none"})


def test_shapes_that_are_not_there_are_left_out_and_said_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    section = read(write(tmp_path / "a.zarr", shapes={"spots": circles(xy=TOY.xy[:-2] * GLOBAL)}))
    np.testing.assert_allclose(section.xy, TOY.xy[:-2])
    assert "dropped 2 with counts but no position" in caplog.text


def test_spots_beside_the_tissue_are_left_out(tmp_path: Path) -> None:
    counts = table()
    counts.obs["in_tissue"] = [0] * 4 + [1] * (len(TOY) - 4)
    np.testing.assert_allclose(read(write(tmp_path / "a.zarr", tables={"table": counts})).xy, TOY.xy[4:])


def name_unit(store: Path, unit: str) -> None:
    """Write a unit into the coordinate systems of the image, as other writers of OME-Zarr do."""
    path = store / "images" / "he" / "zarr.json"
    path.write_text(path.read_text().replace('"unit": "unit"', f'"unit": "{unit}"'))


@pytest.mark.parametrize(("unit", "mpp"), [("micrometer", 2.0), ("nanometer", 0.002)])
def test_a_system_in_a_unit_of_length_gives_the_scale(unit: str, mpp: float, tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr")
    name_unit(path, unit)
    assert read(path, mpp=None).mpp == pytest.approx(mpp)
    assert read(path, mpp=0.7).mpp == 0.7


def test_a_system_called_microns_gives_the_scale(tmp_path: Path) -> None:
    from spatialdata.transformations import Identity, Scale

    path = write(
        tmp_path / "a.zarr",
        images={"he": image(system={"microns": Scale([0.5, 0.5], ("x", "y"))})},
        shapes={"spots": circles({"microns": Identity()}, TOY.xy / 2)},
    )
    section = read(path, mpp=None, system="microns")
    assert section.mpp == pytest.approx(0.5)
    check(section)


def test_without_a_unit_the_pitch_of_a_visium_slide_gives_the_scale(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    row, column = np.divmod(np.arange(len(TOY)), 8)
    places = np.stack([(column + 0.5 * (row % 2)) * 48, row * 48 * np.sqrt(0.75)], axis=1) + 20
    path = write(tmp_path / "a.zarr", shapes={"spots": circles(xy=places * GLOBAL)})
    with caplog.at_level(logging.INFO):
        assert read(path, mpp=None).mpp == pytest.approx(100 / 48)
    assert "100 microns apart on a Visium slide" in caplog.text


def test_without_unit_and_honeycomb_the_scale_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"set data\.mpp"):
        read(write(tmp_path / "a.zarr"), mpp=None)


def test_pixels_that_are_not_square_are_refused(tmp_path: Path) -> None:
    from spatialdata.transformations import Scale

    path = write(tmp_path / "a.zarr", images={"he": image(system={"global": Scale([2.0, 2.1], ("x", "y"))})})
    with pytest.raises(DataError, match=r"makes pixels of 2\.1 x 2; expected square ones"):
        read(path)


def test_pictures_of_shares_of_brightness_and_of_named_channels_show_the_same(tmp_path: Path) -> None:
    shares = write(tmp_path / "a.zarr", images={"he": image(pixels=PICTURE.astype(np.float32) / 255)})
    check(read(shares))
    turned = np.dstack([PICTURE[..., ::-1], np.full(PICTURE.shape[:2], 255, np.uint8)])
    named = write(tmp_path / "b.zarr", images={"he": image(pixels=turned, c_coords=["b", "g", "r", "a"])})
    check(read(named))


@pytest.mark.parametrize(
    ("pixels", "options", "words"),
    [
        (PICTURE[..., :1], {}, r"has 1 channels .*expected a stained picture in red, green and blue"),
        (np.dstack([PICTURE, PICTURE]), {"c_coords": [*"DNACKP"]}, r"has 6 channels \(D, N, A, C, K, P\)"),
        (PICTURE.astype(np.int32), {}, "values of kind int32, more than 8 bits a value; expected uint8"),
    ],
)
def test_pictures_that_are_no_stain_are_refused(pixels: Any, options: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        read(write(tmp_path / "a.zarr", images={"he": image(pixels=pixels, **options)}))


def test_a_picture_of_numbers_beyond_one_is_refused_where_it_is_read(tmp_path: Path) -> None:
    section = read(write(tmp_path / "a.zarr", images={"he": image(pixels=PICTURE.astype(np.float32))}))
    with pytest.raises(DataError, match="numbers beyond 0 to 1"):
        section.slide.region(0, 0, 64, "white")


def chunked(path: Path, side: int = 100) -> ZarrSlide:
    """Write a store whose picture lies in blocks that no box fits, at three levels."""
    store = write(path, images={"he": image(2, 2, chunks={"c": 3, "y": side, "x": side})})
    return ZarrSlide.open(store / "images" / "he")


@pytest.mark.parametrize("padding", ["white", "edge", "reflect"])
def test_boxes_across_blocks_and_edges_are_those_of_the_picture(padding: Any, tmp_path: Path) -> None:
    slide = chunked(tmp_path / "a.zarr")
    assert slide.size == (512, 512)
    for left, top, side in ((0, 0, 512), (99, 99, 2), (100, 200, 100), (-20, 450, 130), (430, -60, 111), (7, 13, 300)):
        np.testing.assert_array_equal(slide.region(left, top, side, padding), TOY.slide.region(left, top, side, padding))


def test_a_large_box_comes_from_the_coarsest_level_that_is_fine_enough(tmp_path: Path) -> None:
    slide = chunked(tmp_path / "a.zarr")
    assert [level[1:] for level in slide.levels] == [(1.0, 512, 512), (2.0, 256, 256), (4.0, 128, 128)]
    for pixels, side in ((0, 400), (201, 400), (200, 200), (101, 200), (100, 100), (64, 100)):
        assert slide.region(40, 60, 400, "white", pixels).shape == (side, side, 3)
    half = slide.region(40, 60, 400, "white", 200).astype(float)
    shrunk = TOY.slide.region(40, 60, 400, "white").reshape(200, 2, 200, 2, 3).mean(axis=(1, 3))
    assert np.abs(half - shrunk).max() < 1


def test_only_blocks_that_a_box_touches_are_read(tmp_path: Path) -> None:
    slide = chunked(tmp_path / "a.zarr")
    for block in (slide.path / slide.levels[0][0] / "c" / "0").glob("[3-5]"):
        for file in block.rglob("*"):
            file.write_bytes(b"damaged")
    np.testing.assert_array_equal(slide.region(150, 20, 250, "white"), TOY.slide.region(150, 20, 250, "white"))
    with pytest.raises(DataError, match=r"s0: cannot be read as an image in Zarr .*is the store whole\?"):
        slide.region(150, 300, 100, "white")


def test_the_digest_is_that_of_the_stored_picture(tmp_path: Path) -> None:
    first, again = chunked(tmp_path / "a.zarr"), chunked(tmp_path / "b.zarr")
    assert first.digest() == again.digest()
    file = next(path for path in (again.path / again.levels[0][0] / "c").rglob("*") if path.is_file())
    file.write_bytes(file.read_bytes() + b" ")
    assert first.digest() != again.digest()


def test_a_store_that_was_written_anew_or_whose_channels_are_named_otherwise_is_read_anew(tmp_path: Path) -> None:
    """Its blocks are held by a process, its tiles and their features by the stored picture and the order of its channels."""
    path, spec, trunk = tmp_path / "a.zarr", TileSpec(32, (64.0,)), build_trunk(ImageConfig(trunk="textures"), 32)[0]
    found, digests = [], []
    for pixels, names in ((PICTURE, "rgb"), (PICTURE, "bgr"), (255 - PICTURE, "rgb")):
        shutil.rmtree(path, ignore_errors=True)
        section = read(write(path, images={"he": image(pixels=pixels, c_coords=[*names])}))
        seen = pixels if names == "rgb" else pixels[..., ::-1]
        np.testing.assert_array_equal(section.slide.region(0, 0, 512, "white"), seen)
        found.append(FeatureReader(trunk, tmp_path / "cache").read(Tiles((section,), spec)))
        alike = Tiles((replace(section, slide=ArraySlide(np.ascontiguousarray(seen))),), spec)
        np.testing.assert_allclose(found[-1], FeatureReader(trunk, None).read(alike), atol=1e-5)
        list(write_tiles(tmp_path / "tiles", section, spec))
        np.testing.assert_array_equal(Tiles((section,), spec, tmp_path / "tiles").read(0), alike.read(0))
        digests.append(section.slide.digest())
    # Runs of before know the picture by what is stored alone.
    assert digests[0] == digests[1]


def _mean(slide: ZarrSlide, answers: Any) -> None:
    answers.put(float(slide.region(10, 10, 300, "white").mean()))


def test_a_forked_process_reads_for_itself(tmp_path: Path) -> None:
    slide = chunked(tmp_path / "a.zarr")
    here = float(slide.region(10, 10, 300, "white").mean())
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    with warnings.catch_warnings():
        # Python warns of forks beside other threads, such as those of the library; readers of tiles are forked like that.
        warnings.simplefilter("ignore")
        children = [context.Process(target=_mean, args=(slide, answers)) for _ in range(2)]
        for child in children:
            child.start()
    found = [answers.get(timeout=60) for _ in children]
    for child in children:
        child.join(timeout=60)
    assert found == [here, here]


def test_the_library_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.zarr")
    monkeypatch.setitem(sys.modules, "spatialdata", None)
    with pytest.raises(DataError, match=r"need the extra spatialdata: pip install -e '\.\[spatialdata\]'"):
        read(path)


def test_blocks_used_last_are_held_up_to_their_bytes() -> None:
    from bleep.data.slides.zarr import _Blocks

    made: list[int] = []

    def make(key: int) -> np.ndarray:
        made.append(key)
        return np.full((10, 10, 3), key, np.uint8)

    held = _Blocks(650)
    for key in (1, 2, 1, 3, 1, 2):
        assert held.get(key, lambda key=key: make(key))[0, 0, 0] == key
    assert made == [1, 2, 3, 2]
    assert _Blocks(1).get(7, lambda: make(7)).shape == (10, 10, 3)


def test_large_blocks_are_said_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    large = np.full((2100, 1100, 3), 200, np.uint8)
    read(write(tmp_path / "a.zarr", images={"he": image(pixels=large)}))
    assert "is stored in blocks of 1100 x 2100 pixels" in caplog.text
    caplog.clear()
    read(write(tmp_path / "b.zarr", images={"he": image(pixels=large, chunks={"c": 3, "y": 512, "x": 512})}))
    assert "blocks" not in caplog.text


def test_a_coarse_level_of_a_picture_of_odd_size_shows_the_same_place(tmp_path: Path) -> None:
    x, y = np.meshgrid(np.arange(511), np.arange(509))
    pixels = np.stack([x // 2, y // 2, (x + y) // 4], axis=2).astype(np.uint8)
    slide = read(write(tmp_path / "a.zarr", images={"he": image(2, 2, 2, pixels=pixels)})).slide
    coarse = slide.region(7 + 8 * 12, 5 + 8 * 11, 64, "white", 8).astype(float)
    fine = slide.region(7 + 8 * 12, 5 + 8 * 11, 64, "white").astype(float)
    means = fine.reshape(8, 8, 8, 8, 3).mean(axis=(1, 3))
    # Each of the three halvings cuts off what is below a whole number.
    assert np.abs(coarse - means).max() < 2.0


def test_several_samples_are_found_by_the_names_of_the_library_or_by_a_pattern(tmp_path: Path) -> None:
    from spatialdata.transformations import Identity

    def parts(ending: str) -> dict[str, Any]:
        systems = {name: {name: Identity()} for name in ("A", "B")}
        pictures = {"A": PICTURE, "B": PICTURE[:, ::-1]}
        return {
            "images": {f"{name}{ending}": image(system=systems[name], pixels=pictures[name]) for name in ("A", "B")},
            "shapes": {name: circles(systems[name], TOY.xy) for name in ("A", "B")},
            "tables": {"table": table("A", "B")},
        }

    for ending, more in (("_hires_image", {}), ("_mine", {"element": "{region}_mine", "system": "{region}"})):
        root = write(tmp_path / f"s{ending}.zarr", **parts(ending))
        config = DataConfig.model_validate({"source": "spatialdata", "root": root, "mpp": 1.0, **more})
        first, second = read_sections(config)
        assert (first.name, second.name) == (f"s{ending}-A", f"s{ending}-B")
        here = first.slide.region(100, 100, 64, "white")
        np.testing.assert_array_equal(here, PICTURE[100:164, 100:164])
        np.testing.assert_array_equal(second.slide.region(348, 100, 64, "white"), here[:, ::-1])
