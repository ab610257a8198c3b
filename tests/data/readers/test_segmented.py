"""Cells of Space Ranger 4 are read at the centroids of their outlines, with the counts that scanpy reads."""

import gzip
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bleep.config import DataConfig, PanelConfig
from bleep.data.panel import GenePanel
from bleep.data.readers import has_form, read_sections
from bleep.data.readers.forms import form_of
from bleep.data.readers.segmented import cell_number, read_outlines
from bleep.data.section import Section
from bleep.errors import DataError
from bleep.workflows.init import plan

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("form_files.py"))))
OUTLINES = "cell_segmentations.geojson"


def read(root: Path, **more: Any) -> Section:
    (section,) = read_sections(DataConfig.model_validate({"source": "segmented", "root": root, **more}))
    return section


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return FILES.segmented(FILES.tissue(), tmp_path / "in") / "s1" / "outs" / "segmented_outputs"


def change(path: Path, how: Callable[[dict[str, Any]], Any]) -> None:
    tree = json.loads(path.read_text())
    how(tree)
    path.write_text(json.dumps(tree))


def shape(kind: str, *rings: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": list(rings)}, "properties": {"cell_id": 7}}


@pytest.mark.parametrize("level", ["", "s1", "s1/outs", "s1/outs/segmented_outputs"])
def test_cells_are_found_at_every_level_and_called_by_the_sample(folder: Path, level: str) -> None:
    section = read(folder.parents[2] / level)
    assert (section.name, section.mpp, section.counts.obs_names[1]) == ("s1", 5.0, "cellid_000000002-1")
    # The outline's corners are unevenly spread: their mean lies elsewhere than the middle of its area, where a cell is.
    expected = FILES.tissue().spots[["x", "y"]].to_numpy()
    np.testing.assert_allclose(section.xy, expected, atol=1e-9)


def test_counts_are_those_that_scanpy_reads(folder: Path) -> None:
    import scanpy

    section, other = read(folder), scanpy.read_10x_h5(folder / "filtered_feature_cell_matrix.h5")
    assert list(other.var_names) == list(section.genes)
    np.testing.assert_array_equal(other[section.counts.obs_names].X.toarray(), section.counts.X.toarray())


def test_centroids_are_those_of_shapely(tmp_path: Path) -> None:
    shapely = pytest.importorskip("shapely")
    rng = np.random.default_rng(0)
    outer = [[30000.0, 20000.0], [30009.0, 20001.0], [30012.0, 20010.0], [30004.0, 20013.0], [30000.0, 20000.0]]
    hole = [[30004.0, 20004.0], [30006.0, 20004.0], [30006.0, 20007.0], [30004.0, 20004.0]]
    far = (np.array(outer) + np.array([40.0, 7.0])).tolist()
    line = [[5.0, 5.0], [9.0, 7.0], [5.0, 5.0]]
    star = [
        (np.array([r * np.cos(a), r * np.sin(a)]) + 500).tolist() for a, r in zip(np.arange(0, 6.2, 0.2), rng.uniform(4, 9, 31))
    ]
    shapes = [
        shape("Polygon", outer), shape("Polygon", outer[::-1]), shape("Polygon", outer, hole),
        shape("Polygon", outer, hole[::-1]),
        shape("MultiPolygon", [outer, hole], [far]), shape("Polygon", [*star, star[0]]), shape("Polygon", line),
    ]  # fmt: skip
    for number, one in enumerate(shapes):
        one["properties"]["cell_id"] = number
    (tmp_path / OUTLINES).write_text(json.dumps({"type": "FeatureCollection", "features": shapes}))
    found = read_outlines(tmp_path / OUTLINES)
    expected = [shapely.geometry.shape(one["geometry"]).centroid for one in shapes]
    np.testing.assert_allclose(found.to_numpy(), [[point.x, point.y] for point in expected], atol=1e-6)
    assert list(found.index) == [str(number) for number in range(len(shapes))]


def test_a_cell_is_known_by_its_number_however_it_is_written() -> None:
    assert {cell_number(name) for name in (12, "12", 12.0, "cellid_000000012-1", "cellid_12", "0012")} == {"12"}
    assert cell_number("PathCellObject") == "PathCellObject"


def test_cells_in_another_order_and_without_counts_are_matched_by_their_number(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def shuffled(tree: dict[str, Any]) -> None:
        extra = [shape("Polygon", FILES.outline(50.0, 50.0)), shape("Polygon", FILES.outline(60.0, 50.0))]
        extra[0]["properties"]["cell_id"], extra[1]["properties"]["cell_id"] = 1001, 1002
        tree["features"] = [*extra, *tree["features"][::-1][:-3]]

    change(folder / OUTLINES, shuffled)
    section = read(folder)
    of = FILES.tissue()
    rows = [int(name[7:16]) - 1 for name in section.counts.obs_names]
    assert sorted(rows) == list(range(3, 100))
    np.testing.assert_allclose(section.xy, of.spots[["x", "y"]].to_numpy()[rows], atol=1e-9)
    np.testing.assert_array_equal(section.counts.X.toarray(), of.counts[rows])
    assert "dropped 3 with counts but no position, 2 with a position but no counts" in caplog.text


def test_positions_are_scaled_to_the_picture_that_is_read(folder: Path) -> None:
    factors = folder / "spatial" / "scalefactors_json.json"
    factors.write_text(json.dumps({**FILES.FACTORS, "tissue_hires_scalef": 0.5}))
    full = np.kron(FILES.RGB, np.ones((2, 2, 1), np.uint8))
    Image.fromarray(full).save(folder.parents[1] / "he.png")
    small, large = (read(folder.parents[2], **more) for more in ({}, {"image": "he.png"}))
    np.testing.assert_allclose(2 * small.xy, large.xy)
    assert (small.mpp, large.mpp, large.slide.size) == (10.0, 5.0, (520, 480))
    Image.fromarray(full[:400]).save(folder.parents[1] / "he.png")
    with pytest.raises(DataError, match="belong to a picture of 520 x 480"):
        read(folder.parents[2], image="he.png")


@pytest.mark.parametrize("layout", ["annotated", "packed", "mtx", "shared pictures", "prefix"])
def test_layouts_of_cells_that_occur_are_read(folder: Path, layout: str) -> None:
    path, root = folder / OUTLINES, folder.parents[2]
    if layout == "annotated":
        path.rename(folder / f"graphclust_annotated_{OUTLINES}")
    elif layout == "packed":
        path.with_name(f"{OUTLINES}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    elif layout == "shared pictures":
        (folder / "spatial").rename(folder.parent / "spatial")
    elif layout == "mtx":
        (folder / "filtered_feature_cell_matrix.h5").unlink()
        write_mtx(folder / "filtered_feature_cell_matrix")
    else:
        flat = root.parent / "flat"
        flat.mkdir()
        for file in [*folder.glob("*.*"), *(folder / "spatial").iterdir()]:
            (flat / f"GSM1_s1_{file.name}").write_bytes(file.read_bytes())
        root = flat
    section = read(root)
    assert section.name == ("GSM1_s1" if layout == "prefix" else "s1")
    assert FILES.same(section, FILES.tissue())


def write_mtx(folder: Path) -> None:
    of = FILES.numbered(FILES.tissue(), "segmented")
    rows = [f"{gene + 1} {cell + 1} {count}" for (cell, gene), count in np.ndenumerate(of.counts)]
    texts = {
        "matrix.mtx": ["%%MatrixMarket matrix coordinate integer general", f"8 100 {len(rows)}", *rows],
        "features.tsv": [f"{i}\t{n}\tGene Expression" for i, n in zip(FILES.IDS, FILES.SYMBOLS)],
        "barcodes.tsv": list(of.spots.index),
    }
    folder.mkdir()
    for name, lines in texts.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))


def test_without_counts_cells_can_be_queried_and_say_why_they_cannot_be_trained_on(folder: Path) -> None:
    (folder / "filtered_feature_cell_matrix.h5").unlink()
    section = read(folder)
    assert (len(section), len(section.genes), section.counts.obs_names[99]) == (100, 0, "cellid_000000100-1")
    with pytest.raises(DataError, match=r"has no counts; expected filtered_feature_cell_matrix.h5"):
        GenePanel.fit([section], PanelConfig())
    (folder / "raw_feature_cell_matrix.h5").write_bytes(b"")
    with pytest.raises(DataError, match="holds all cells, tissue or not; expected filtered_feature_cell_matrix"):
        read(folder)


def test_the_folder_is_known_by_its_outlines_and_the_bins_beside_it_come_first(folder: Path) -> None:
    root = folder.parents[2]
    assert has_form(root, "segmented")
    assert form_of(root)[0] == "segmented"
    assert form_of(folder)[0] == "segmented"
    (folder.parent / "spatial").mkdir()
    (folder.parent / "spatial" / "scalefactors_json.json").write_text(json.dumps(FILES.FACTORS))
    assert form_of(root)[0] == "segmented"
    made = plan(root, {})
    assert (made.config().data.source, len(made.sections[0])) == ("segmented", 100)
    with pytest.raises(DataError, match="there are files as of the form segmented"):
        read_sections(DataConfig(source="visium", root=folder))
    FILES.visium(FILES.tissue(), folder.parent / "binned_outputs", "square_016um")
    assert form_of(root)[0] == "visium"


def lose(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda tree: tree.pop(key)


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no numbers": (
        lambda at: change(at / OUTLINES, lambda t: t["features"][4].update(properties={})), "feature 5 has no cell_id",
    ),
    "no features": (lambda at: change(at / OUTLINES, lose("features")), "holds no features"),
    "cut": (lambda at: (at / OUTLINES).write_text((at / OUTLINES).read_text()[:-90]), "is damaged"),
    "words": (
        lambda at: change(at / OUTLINES, lambda t: t["features"][0]["geometry"].update(coordinates=[[["a", "b"]]])),
        "is damaged",
    ),
    "empty": (lambda at: change(at / OUTLINES, lambda t: t["features"][0]["geometry"].update(coordinates=[])), "is damaged"),
    "twice": (lambda at: change(at / OUTLINES, lambda t: t["features"].append(t["features"][0])), "stands more than once"),
    "no scale": (
        lambda at: change(at / "spatial" / "scalefactors_json.json", lose("microns_per_pixel")),
        "does not state microns_per_pixel, and cells give no scale; set data.mpp",
    ),
    "no factors": (lambda at: (at / "spatial" / "scalefactors_json.json").unlink(), "has no scalefactors_json.json"),
    "no picture": (lambda at: (at / "spatial" / "tissue_hires_image.png").unlink(), "has no tissue_hires_image"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_said_with_the_file(folder: Path, what: str) -> None:
    damage, words = BAD[what]
    damage(folder)
    with pytest.raises(DataError, match=words):
        read(folder)


def test_two_samples_of_one_name_are_refused(folder: Path, tmp_path: Path) -> None:
    FILES.segmented(FILES.tissue(), tmp_path / "in" / "again")
    with pytest.raises(DataError, match=r"section 's1' is found in .* and in"):
        read(tmp_path / "in")
