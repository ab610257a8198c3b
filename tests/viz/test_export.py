"""Predictions go to QuPath, SpatialData, scanpy and squidpy and are the same there."""

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import sparse

from bleep.cli import app
from bleep.config import DataConfig
from bleep.data.prediction import Prediction
from bleep.data.readers import read_sections
from bleep.data.section import Section
from bleep.data.toy import toy_section
from bleep.errors import DataError
from bleep.predictors.baselines import RegressionPredictor
from bleep.predictors.io import write_prediction
from bleep.runs import Run
from bleep.viz import export as geojson
from bleep.viz.export import opened, write_geojson
from bleep.workflows.slides import described, open_slides

STEP = 64.0


@pytest.fixture(scope="module")
def run(trained: dict[str, Path]) -> Run:
    return Run.load(trained["regression"])


@pytest.fixture(scope="module")
def sections(run: Run, toys: tuple[Section, ...]) -> Prediction:
    """Two sections, predicted at their spots."""
    tiles = run.tiles(toys[2:])
    return described(RegressionPredictor(run).predict(tiles), tiles, run)


@pytest.fixture(scope="module")
def slides(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Prediction:
    """Two whole slides, predicted on a grid."""
    folder = tmp_path_factory.mktemp("slides")
    for name, seed in (("one", 5), ("two b", 6)):
        Image.fromarray(toy_section(name, name, seed, side=512).slide.region(0, 0, 512, "white")).save(folder / f"{name}.png")
    tiles = open_slides([folder], run, mpp=1.0, step=STEP)
    return described(RegressionPredictor(run).predict(tiles), tiles, run)


def alone(prediction: Prediction, section: str) -> Prediction:
    """Return the prediction of one section, as if no other had been asked for."""
    rows = (prediction.spots["section"] == section).to_numpy()
    at = list(prediction.facts["sections"]).index(section)
    facts = {
        name: [value[at]] if name in ("sections", "mpp", "ready_cut") else value for name, value in prediction.facts.items()
    }
    spatial = {name: library for name, library in prediction.adata.uns["spatial"].items() if name == section}
    return prediction[rows].replaced(uns={"bleep": facts, "spatial": spatial})


@pytest.fixture
def quiet() -> Iterator[None]:
    """The libraries, and those they are built on, warn of their own future."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_each_tile_is_a_square_with_its_genes_as_measurements(
    suffix: str, sections: Prediction, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = alone(sections, "toy4")
    write_prediction(one, tmp_path / f"p{suffix}")
    monkeypatch.setattr(geojson, "ROWS", 7)
    first, second = one.genes[4], one.genes[1]
    command = ["export", tmp_path / f"p{suffix}", "--geojson", tmp_path / "t.geojson", "--genes", first, second]
    assert app.main([str(word) for word in command]) == 0
    assert f"{len(one.spots)} tiles" in capsys.readouterr().out
    tree = json.loads((tmp_path / "t.geojson").read_text())
    assert tree["type"] == "FeatureCollection"
    assert [feature["properties"]["name"] for feature in tree["features"]] == list(one.spots["spot"])
    assert len({feature["id"] for feature in tree["features"]}) == len(one.spots)
    for feature, (_, spot), values in zip(tree["features"], one.spots.iterrows(), one.expression, strict=True):
        assert (feature["type"], feature["properties"]["objectType"]) == ("Feature", "tile")
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        np.testing.assert_allclose(np.mean(ring[:-1], axis=0), [spot["x"], spot["y"]], atol=0.01)
        np.testing.assert_allclose(np.ptp(ring, axis=0), 64.0)
        measured = feature["properties"]["measurements"]
        assert list(measured) == [first, second]
        np.testing.assert_allclose([*measured.values()], [values[4], values[1]], rtol=1e-5)


def test_several_sections_become_files_of_a_folder_and_a_grid_has_the_side_of_its_step(
    slides: Prediction, tmp_path: Path
) -> None:
    write_prediction(slides, tmp_path / "p.h5ad")
    assert app.main(["export", str(tmp_path / "p.h5ad"), "--geojson", str(tmp_path / "tiles")]) == 0
    assert sorted(path.name for path in (tmp_path / "tiles").iterdir()) == ["one.geojson", "two_b.geojson"]
    counts = slides.spots["section"].value_counts()
    for name, section in (("one", "one"), ("two_b", "two b")):
        features = json.loads((tmp_path / "tiles" / f"{name}.geojson").read_text())["features"]
        assert len(features) == counts[section]
        assert set(features[0]["properties"]["measurements"]) == set(slides.genes)
        corners = np.array([feature["geometry"]["coordinates"][0] for feature in features])
        np.testing.assert_allclose(np.ptp(corners, axis=1), STEP)
        # Squares of a grid meet, and do not overlap.
        np.testing.assert_allclose(corners[:, 0] % STEP, 0)


def test_places_of_a_slide_are_seen_from_where_qupath_shows_it(slides: Prediction, tmp_path: Path) -> None:
    """Of a file that states what was scanned of it, as MRXS does."""
    facts = {**slides.facts, "offset": [[30, 20], [0, 0]]}
    write_prediction(slides.replaced(uns={**slides.adata.uns, "bleep": facts}), tmp_path / "p.h5ad")
    with opened(tmp_path / "p.h5ad") as predicted:
        files = write_geojson(predicted, tmp_path / "out")
        for path, section, moved in zip(files, predicted.sections, facts["offset"], strict=True):
            shapes = [each["geometry"]["coordinates"][0] for each in json.loads(path.read_text())["features"]]
            middles = np.array(shapes)[:, :4].mean(axis=1)
            np.testing.assert_allclose(middles + moved, predicted.xy[predicted.rows(section)], atol=0.01)


def test_values_that_are_no_numbers_are_left_out_and_intervals_familiarity_and_labels_are_told(
    sections: Prediction, tmp_path: Path
) -> None:
    one = alone(sections, "toy3")
    values = one.expression.copy()
    values[0, 2] = np.nan
    labels = ["", *["gland"] * (len(one) - 1)]
    one = one.replaced(X=values, obs=one.adata.obs.assign(familiarity=np.float32(0.25), label=labels, label_share=0.5))
    one = one.replaced(layers={"lower": values - 1, "upper": values + 2})
    write_prediction(one, tmp_path / "p.h5ad")
    with opened(tmp_path / "p.h5ad") as predicted:
        write_geojson(predicted, tmp_path / "t.geojson")
        write_geojson(predicted, tmp_path / "named.geojson", [one.genes[3], one.genes[2]])
    named = [f["properties"]["measurements"] for f in json.loads((tmp_path / "named.geojson").read_text())["features"]]
    ends = [f"{gene}{end}" for end in ("", ": lower", ": upper") for gene in (one.genes[3], one.genes[2])]
    assert (list(named[1]), len(named[0])) == ([*ends, "familiarity", "label_share"], 5)
    for measured, row in zip(named[1:], values[1:, [3, 2]], strict=True):
        np.testing.assert_allclose([measured[name] for name in ends], [*row, *(row - 1), *(row + 2)], rtol=1e-5)
    first, second, *_ = json.loads((tmp_path / "t.geojson").read_text())["features"]
    assert set(first["properties"]["measurements"]) == {*one.genes, "familiarity", "label_share"} - {one.genes[2]}
    assert set(second["properties"]["measurements"]) == {*one.genes, "familiarity", "label_share"}
    assert second["properties"]["measurements"]["familiarity"] == 0.25
    # QuPath colours by the class.
    assert "classification" not in first["properties"]
    assert second["properties"]["classification"] == {"name": "gland"}


def _damaged(path: Path, good: Path) -> None:
    path.write_bytes(good.read_bytes()[:2000])


def _foreign(path: Path, good: Path) -> None:
    data = anndata.read_h5ad(good)
    del data.uns["bleep"]
    data.write_h5ad(path)


def _older(path: Path, good: Path) -> None:
    data = anndata.read_h5ad(good)
    del data.uns["bleep"]["ready_cut"]
    data.write_h5ad(path)


def _ready_cut(path: Path, good: Path) -> None:
    data = anndata.read_h5ad(good)
    data.uns["bleep"]["ready_cut"] = np.array([False, True])
    data.write_h5ad(path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_damaged, "cannot be read as a prediction"),
        (_foreign, "is no prediction of bleep"),
        (_older, "does not say 'ready_cut'"),
        (_ready_cut, "section toy4 is of ready-cut tiles"),
    ],
)
def test_what_cannot_be_handed_over_is_one_sentence(
    spoil: Callable[[Path, Path], None],
    said: str,
    sections: Prediction,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_prediction(sections, tmp_path / "good.h5ad")
    spoil(tmp_path / "p.h5ad", tmp_path / "good.h5ad")
    assert app.main(["export", str(tmp_path / "p.h5ad"), "--geojson", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def _with(data: anndata.AnnData, place: str, name: str, value: Any) -> anndata.AnnData:
    """Return it with something put into a place; nothing: with it taken out."""
    held = getattr(data, place)
    if value is None:
        del held[name]
    else:
        held[name] = value
    return data


def _named_twice(data: anndata.AnnData) -> anndata.AnnData:
    data.var_names = [data.var_names[0], *data.var_names[:-1]]
    return data


def _with_values(data: anndata.AnnData, values: Any) -> anndata.AnnData:
    data.X = values
    return data


Edit = Callable[[anndata.AnnData], anndata.AnnData]
KEPT: dict[str, Edit] = {
    "fewer tiles": lambda data: data[::3],
    "fewer genes, another order": lambda data: data[::-1, [4, 1, 2]].copy(),
    "one section of two": lambda data: data[data.obs["section"] == "toy4"].copy(),
    "csr": lambda data: _with_values(data, sparse.csr_matrix(data.X)),
    "csc": lambda data: _with_values(data, sparse.csc_array(data.X)),
    "float16": lambda data: _with_values(data, data.X.astype(np.float16)),
    "integers": lambda data: _with_values(data, np.rint(data.X).astype(np.int64)),
    "no spot column": lambda data: _with(data, "obs", "spot", None),
    "familiarity in words": lambda data: _with(data, "obs", "familiarity", "high"),
    "a frame of places": lambda data: _with(
        data, "obsm", "spatial", pd.DataFrame(data.obsm["spatial"], data.obs_names, ["x", "y"])
    ),
}
REFUSED: dict[str, tuple[Edit, str]] = {
    "no section column": (lambda data: _with(data, "obs", "section", None), "has no column 'section'"),
    "joined": (lambda data: _with(data, "obs", "section", "toy9"), "section 'toy9', of which uns"),
    "joined with itself": (
        lambda data: anndata.concat([data, data], index_unique="-", uns_merge="first"), "stands more than once"
    ),
    "no values": (lambda data: _with_values(data, None), "has no X"),
    "a gene twice": (_named_twice, "stands more than once"),
    "no tiles": (lambda data: data[:0].copy(), "holds no tiles"),
    "no genes": (lambda data: data[:, :0].copy(), "holds no genes"),
    "no places": (lambda data: _with(data, "obsm", "spatial", None), 'has no obsm["spatial"]'),
    "three axes": (lambda data: _with(data, "obsm", "spatial", np.ones((data.n_obs, 3))), "expected x and y of each tile"),
    "a place is no number": (
        lambda data: _with(data, "obsm", "spatial", np.full((data.n_obs, 2), np.nan)), "expected x and y of each tile"
    ),
    "the note is a word": (lambda data: _with(data, "uns", "bleep", "edited"), "does not say 'sections'"),
    "a scale of none": (
        lambda data: _with(data, "uns", "bleep", data.uns["bleep"] | {"mpp": np.zeros(2)}), "for 'mpp' of 2 section"
    ),
    "another number of scales": (
        lambda data: _with(data, "uns", "bleep", data.uns["bleep"] | {"mpp": np.ones(3)}), "for 'mpp' of 2 section"
    ),
    "a window of words": (
        lambda data: _with(data, "uns", "bleep", data.uns["bleep"] | {"tile_microns": "many"}), "for 'tile_microns'"
    ),
    "a library without scale": (
        lambda data: _with(_with(data, "obs", "grid_x", 0), "uns", "spatial", {"toy3": {"images": {}}}),
        "for spot_diameter_fullres of section toy3"
    ),
}  # fmt: skip


@pytest.mark.parametrize("edit", KEPT)
def test_a_prediction_that_was_edited_is_exported_as_it_is_now(edit: str, sections: Prediction, tmp_path: Path) -> None:
    write_prediction(sections, tmp_path / "good.h5ad")
    KEPT[edit](anndata.read_h5ad(tmp_path / "good.h5ad")).write_h5ad(tmp_path / "p.h5ad")
    data = anndata.read_h5ad(tmp_path / "p.h5ad")
    there = [name for name in ("toy3", "toy4") if (data.obs["section"] == name).any()]
    out = tmp_path / ("out.geojson" if len(there) == 1 else "out")
    assert app.main(["export", str(tmp_path / "p.h5ad"), "--geojson", str(out)]) == 0
    for name in there:
        mine = data[data.obs["section"] == name]
        features = json.loads((out if len(there) == 1 else out / f"{name}.geojson").read_text())["features"]
        assert [feature["properties"]["name"] for feature in features] == list(mine.obs.get("spot", mine.obs_names))
        centres = [np.mean(feature["geometry"]["coordinates"][0][:-1], axis=0) for feature in features]
        np.testing.assert_allclose(centres, np.asarray(mine.obsm["spatial"]), atol=0.01)
        measured = pd.DataFrame([feature["properties"]["measurements"] for feature in features])
        np.testing.assert_allclose(measured[list(mine.var_names)], mine.to_df(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("edit", REFUSED)
def test_an_edit_that_leaves_no_prediction_is_one_sentence(
    edit: str, sections: Prediction, tmp_path: Path, capsys: pytest.CaptureFixture[str], quiet: None
) -> None:
    change, said = REFUSED[edit]
    write_prediction(sections, tmp_path / "good.h5ad")
    change(anndata.read_h5ad(tmp_path / "good.h5ad")).write_h5ad(tmp_path / "p.h5ad")
    assert app.main(["export", str(tmp_path / "p.h5ad"), "--geojson", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("bleep: ")
    assert said in told
    assert not (tmp_path / "out").exists()


def test_a_block_that_is_damaged_and_read_late_is_one_sentence(
    sections: Prediction, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.zarr"
    write_prediction(sections, path)
    (block,) = (path / "X").glob("[0-9]*")
    block.write_bytes(block.read_bytes()[:-20])
    assert app.main(["export", str(path), "--geojson", str(tmp_path / "out")]) == 2
    assert "p.zarr: cannot be read as a prediction" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_names_that_spatialdata_does_not_take_are_one_sentence(
    sections: Prediction, tmp_path: Path, capsys: pytest.CaptureFixture[str], quiet: None
) -> None:
    pytest.importorskip("spatialdata")
    write_prediction(sections, tmp_path / "p.h5ad")
    _with(anndata.read_h5ad(tmp_path / "p.h5ad"), "obs", "my column!", 1).write_h5ad(tmp_path / "p.h5ad")
    assert app.main(["export", str(tmp_path / "p.h5ad"), "--spatialdata", str(tmp_path / "out.zarr")]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert told[-1].startswith("bleep: ")
    assert "my column!" in told[-1]
    assert not (tmp_path / "out.zarr").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{p}"], "say what to write"),
        (["{p}.csv", "--geojson", "out"], "expected a prediction ending in .h5ad or .zarr"),
        (["none.h5ad", "--geojson", "out"], "no such file"),
        (["{p}", "--geojson", "{p}"], "is there already"),
        (["{p}", "--geojson", "out.geojson"], "expected a folder, for several sections"),
        (["{p}", "--geojson", "out", "--genes", "NOGENE"], "has no 'NOGENE' among its 12 genes"),
        (["{p}", "--spatialdata", "out.h5ad"], "expected a name ending in .zarr"),
        (["{p}", "--spatialdata", "{there}"], "is there already"),
    ],
)
def test_an_export_that_makes_no_sense_is_refused(
    words: list[str],
    said: str,
    sections: Prediction,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, there = tmp_path / "p.h5ad", tmp_path / "there.zarr"
    write_prediction(sections, path)
    there.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(geojson, "MOST", 5)
    assert app.main(["export", *(word.format(p=path, there=there) for word in words)]) == 2
    assert said in capsys.readouterr().err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["p.h5ad", "there.zarr"]


def test_of_many_genes_those_that_vary_most_are_written_where_none_are_named(
    sections: Prediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geojson, "MOST", 5)
    monkeypatch.setattr(geojson, "ROWS", 50)
    write_prediction(sections, tmp_path / "p.h5ad")
    assert app.main(["export", str(tmp_path / "p.h5ad"), "--geojson", str(tmp_path / "out")]) == 0
    first = json.loads((tmp_path / "out" / "toy3.geojson").read_text())["features"][0]
    most = np.argsort(-sections.expression.var(axis=0))[:5]
    assert set(first["properties"]["measurements"]) == {sections.genes[column] for column in most}


def test_all_genes_can_be_asked_for(sections: Prediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geojson, "MOST", 5)
    write_prediction(sections, tmp_path / "p.h5ad")
    assert app.main(["export", str(tmp_path / "p.h5ad"), "--geojson", str(tmp_path / "out"), "--all-genes"]) == 0
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_a_spatialdata_store_holds_squares_table_and_picture(
    suffix: str, slides: Prediction, tmp_path: Path, quiet: None
) -> None:
    spatialdata = pytest.importorskip("spatialdata")
    write_prediction(slides, tmp_path / f"p{suffix}")
    command = ["export", tmp_path / f"p{suffix}", "--spatialdata", tmp_path / "s.zarr", "--genes", slides.genes[3]]
    assert app.main([str(word) for word in command]) == 0
    held = spatialdata.read_zarr(tmp_path / "s.zarr")
    assert sorted(held.shapes) == ["one_tiles", "two_b_tiles"]
    assert sorted(held.images) == ["one_image", "two_b_image"]
    table = held.tables["table"]
    np.testing.assert_array_equal(np.asarray(table.X)[:, 0], slides.expression[:, 3])
    assert set(held.coordinate_systems) == {"one", "two_b"}
    for name, section in (("one_tiles", "one"), ("two_b_tiles", "two b")):
        mine = slides.spots[slides.spots["section"] == section]
        shapes, rows = held.shapes, spatialdata.match_table_to_element(held, name, table_name="table")
        np.testing.assert_allclose(shapes[name].geometry.centroid.x, mine["x"])
        np.testing.assert_allclose(shapes[name].geometry.centroid.y, mine["y"])
        np.testing.assert_allclose(np.sqrt(shapes[name].geometry.area), STEP)
        np.testing.assert_array_equal(np.asarray(rows.X)[:, 0], slides.expression[slides.spots["section"] == section, 3])
    extent = spatialdata.get_extent(held["one_image"], coordinate_system="one")
    np.testing.assert_allclose([*extent["x"], *extent["y"]], [0, 512, 0, 512], atol=1)


def test_our_own_reader_finds_the_tiles_of_a_slide_where_they_were(slides: Prediction, tmp_path: Path, quiet: None) -> None:
    pytest.importorskip("spatialdata")
    one = alone(slides, "one")
    write_prediction(one, tmp_path / "p.h5ad")
    assert app.main(["export", str(tmp_path / "p.h5ad"), "--spatialdata", str(tmp_path / "one.zarr")]) == 0
    data = DataConfig(source="spatialdata", root=tmp_path / "one.zarr", mpp=1.0)
    (found,) = read_sections(data, tmp_path / "cache", purpose="query")
    assert found.name == "one"
    np.testing.assert_allclose(found.xy, one.spots[["x", "y"]].to_numpy(), atol=0.01)
    with pytest.raises(DataError, match="is a prediction of bleep, not measured tissue"):
        read_sections(data, tmp_path / "cache")


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_a_prediction_says_what_made_it(suffix: str, slides: Prediction, run: Run, tmp_path: Path) -> None:
    write_prediction(slides, tmp_path / f"p{suffix}")
    data = anndata.read_h5ad(tmp_path / "p.h5ad") if suffix == ".h5ad" else anndata.read_zarr(tmp_path / "p.zarr")
    words = data.uns["bleep"]
    assert words["run"]["weights"] == run.weights_digest()
    assert words["run"]["name"] == "regression"
    assert words["panel"] == run.panel.digest()
    assert set(words["versions"]) == {"bleep", "anndata", "timm", "torch"}
    assert words["scale"] == run.panel.describe()
    assert words["predictor"] == "regression"
    assert not np.asarray(words["ready_cut"]).any()
    assert (int(words["tile_pixels"]), list(words["tile_microns"]), words["tile_padding"]) == (32, [64.0], "white")


def _axes(figure: Any) -> list[Any]:
    """Return the axes that hold dots, and not a colour bar."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def test_squidpy_draws_slides_on_their_pictures_as_they_are(slides: Prediction, tmp_path: Path, quiet: None) -> None:
    squidpy = pytest.importorskip("squidpy")
    import matplotlib.pyplot as plt

    write_prediction(slides, tmp_path / "p.h5ad")
    data = anndata.read_h5ad(tmp_path / "p.h5ad")
    gene = slides.genes[0]
    squidpy.pl.spatial_scatter(data, color=gene, library_key="section", shape="square", return_ax=True)
    drawn = _axes(plt.gcf())
    assert len(drawn) == 2
    for axes, section in zip(drawn, ("one", "two b"), strict=True):
        assert len(axes.images) == 1
        (dots,) = axes.collections
        assert len(dots.get_paths()) == (slides.spots["section"] == section).sum()
    plt.close("all")


def test_scanpy_and_squidpy_draw_sections_on_their_pictures_as_they_are(
    sections: Prediction, tmp_path: Path, quiet: None
) -> None:
    scanpy, squidpy = pytest.importorskip("scanpy"), pytest.importorskip("squidpy")
    import matplotlib.pyplot as plt

    write_prediction(sections, tmp_path / "p.h5ad")
    data = anndata.read_h5ad(tmp_path / "p.h5ad")
    gene = sections.genes[0]
    squidpy.pl.spatial_scatter(data, color=gene, library_key="section")
    drawn = _axes(plt.gcf())
    assert [len(axes.images) for axes in drawn] == [1, 1]
    plt.close("all")
    scanpy.pl.spatial(data[data.obs["section"] == "toy3"], library_id="toy3", color=gene, show=False)
    (axes,) = _axes(plt.gcf())
    assert len(axes.images) == 1
    plt.close("all")
    scanpy.pl.embedding(data, basis="spatial", color=[gene, "section"], show=False)
    assert len(_axes(plt.gcf())) >= 2
    plt.close("all")
    assert isinstance(data.obs["section"].dtype, pd.CategoricalDtype)
