"""Cells of Xenium are read from microns into the H&E picture, through the matrix that Xenium Explorer exports."""

import gzip
import json
import logging
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from bleep.config import DataConfig, PanelConfig
from bleep.data.panel import GenePanel
from bleep.data.readers import has_form, read_sections
from bleep.data.readers.forms import form_of
from bleep.data.section import Section
from bleep.errors import DataError
from bleep.workflows.init import plan

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("form_files.py"))))


def read(root: Path, **more: Any) -> Section:
    (section,) = read_sections(DataConfig.model_validate({"source": "xenium", "root": root, **more}))
    return section


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return FILES.xenium(FILES.tissue(), tmp_path / "in")


def cells(root: Path) -> pd.DataFrame:
    return pd.read_parquet(root / "s1_outs" / "cells.parquet")


def test_places_scale_species_and_genes_are_read_and_controls_left_out_aloud(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "bleep"):
        section = read(root)
    assert (section.name, section.species, section.patient) == ("s1", "human", "s1")
    assert section.mpp == pytest.approx(5.0)
    assert list(section.genes) == FILES.SYMBOLS
    assert list(section.counts.var["gene_id"]) == FILES.IDS
    assert FILES.same(section, FILES.tissue())
    assert "left out 4 features that are no genes (1 Negative Control Probe, 1 Negative Control Codeword" in caplog.text
    assert "tiles from s1_he_image.ome.tif, 260 x 240 pixels of 5 microns (from s1_he_imagealignment.csv)" in caplog.text


def test_counts_are_those_that_scanpy_reads(root: Path) -> None:
    import scanpy

    section, other = read(root), scanpy.read_10x_h5(root / "s1_outs" / "cell_feature_matrix.h5", gex_only=True)
    assert list(other.var_names) == list(section.genes)
    np.testing.assert_array_equal(other[section.counts.obs_names].X.toarray(), section.counts.X.toarray())


def test_the_matrix_goes_from_the_picture_to_xenium_as_the_maker_says(root: Path) -> None:
    # The maker's own example: the upper left corner of the H&E picture is Xenium's pixel (807.98, 73097.66), 0.2125 um wide.
    matrix = (
        "0.011071028838929093,1.2895790134339569,807.9788953065927\n-1.2895790134339569,0.011071028838929093,73097.655174759\n"
    )
    (root / "s1_he_imagealignment.csv").write_text(matrix + "0,0,1\n")
    (root / "s1_outs" / "experiment.xenium").write_text(json.dumps({**FILES.EXPERIMENT, "pixel_size": 0.2125}))
    table = cells(root)
    right, down = np.array([1.2895790134339569, 0.011071028838929093]), np.array([0.011071028838929093, -1.2895790134339569])
    at = (np.array([807.9788953065927, 73097.655174759]) + 100 * down + 50 * right) * 0.2125
    table["x_centroid"], table["y_centroid"] = at
    table.to_parquet(root / "s1_outs" / "cells.parquet", index=False)
    section = read(root)
    np.testing.assert_allclose(section.xy, np.tile([100.0, 50.0], (100, 1)), atol=1e-6)
    assert section.mpp == pytest.approx(0.2125 * np.hypot(0.011071028838929093, 1.2895790134339569))


@pytest.mark.parametrize("kind", ["bytes", "numbers", "csv.gz", "csv"])
def test_tables_of_every_version_are_read(root: Path, kind: str) -> None:
    folder, table = root / "s1_outs", cells(root)
    names = pd.Index(range(1, 101)).astype(str) if kind == "numbers" else pd.Index(table["cell_id"])
    if kind == "bytes":
        table.assign(cell_id=[name.encode() for name in table["cell_id"]]).to_parquet(folder / "cells.parquet", index=False)
    elif kind == "numbers":
        table.assign(cell_id=np.arange(1, 101)).to_parquet(folder / "cells.parquet", index=False)
        FILES.write_h5(
            FILES.Tissue(FILES.tissue().spots.set_axis(names), FILES.tissue().counts), folder / "cell_feature_matrix.h5"
        )
    else:
        (folder / "cells.parquet").unlink()
        table.to_csv(folder / f"cells.{kind}", index=False)
    section = read(root)
    assert list(section.counts.obs_names) == list(names)
    np.testing.assert_allclose(section.xy, FILES.tissue().spots[["x", "y"]].to_numpy(), atol=1e-9)


def to_mtx(folder: Path) -> None:
    (folder / "cell_feature_matrix.h5").unlink()
    of = FILES.numbered(FILES.tissue(), "xenium")
    rows = [f"{gene + 1} {cell + 1} {count}" for (cell, gene), count in np.ndenumerate(of.counts)]
    texts = {
        "matrix.mtx": ["%%MatrixMarket matrix coordinate integer general", f"9 100 {len(rows)}", *rows],
        "features.tsv": [f"{i}\t{n}\tGene Expression" for i, n in zip(FILES.IDS, FILES.SYMBOLS)]
        + ["BLANK_1\tBLANK_1\tBlank Codeword"],
        "barcodes.tsv": list(of.spots.index),
    }
    (folder / "cell_feature_matrix").mkdir()
    for name, lines in texts.items():
        (folder / "cell_feature_matrix" / f"{name}.gz").write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))


def move_in(root: Path) -> None:
    for path in root.glob("s1_he*"):
        path.rename(root / "s1_outs" / path.name.replace("s1_", "Xenium_V1_"))


def rename_outs(root: Path) -> None:
    (root / "s1").mkdir()
    for path in list(root.glob("s1_*")):
        path.rename(root / "s1" / path.name.replace("s1_outs", "outs").replace("s1_he", "Other_he"))


def flatten(root: Path) -> None:
    for path in list((root / "s1_outs").iterdir()):
        path.rename(root / f"s1_{path.name}")
    (root / "s1_outs").rmdir()


def unaligned(root: Path) -> None:
    (root / "s1_he_image.ome.tif").rename(root / "s1_he_unaligned_image.ome.tif")


def matrix(root: Path) -> None:
    (root / "s1_he_imagealignment.csv").rename(root / "matrix.csv")


LAYOUTS: dict[str, Callable[[Path], Any]] = {
    "inside": move_in, "outs": rename_outs, "flat": flatten, "unaligned": unaligned, "matrix.csv": matrix,
    "mtx": lambda root: to_mtx(root / "s1_outs"),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_xenium_that_occur_are_read(root: Path, layout: str) -> None:
    LAYOUTS[layout](root)
    section = read(root)
    assert section.name == "s1"
    assert FILES.same(section, FILES.tissue())


def test_a_root_that_is_the_region_takes_its_own_picture_from_beside_it(root: Path) -> None:
    assert FILES.same(read(root / "s1_outs"), FILES.tissue())
    (root / "s1_he_image.ome.tif").rename(root / "other_he_image.ome.tif")
    with pytest.raises(DataError, match=r"has no H&E picture, neither in it nor beside it; expected s1_he_image.ome.tif"):
        read(root / "s1_outs")
    named = {"image": "other_he_image.ome.tif", "alignment": "s1_he_imagealignment.csv"}
    assert FILES.same(read(root / "s1_outs", **named), FILES.tissue())


def test_each_of_several_regions_takes_the_picture_called_by_its_name(root: Path) -> None:
    FILES.xenium(FILES.Tissue(FILES.tissue().spots, FILES.tissue().counts, 255 - FILES.RGB), root, "s1_2")
    one, two = read_sections(DataConfig(source="xenium", root=root))
    assert (one.name, two.name) == ("s1", "s1_2")
    np.testing.assert_array_equal(one.slide.region(0, 0, 100, "white"), 255 - two.slide.region(0, 0, 100, "white"))
    (root / "s1_he_image.ome.tif").unlink()
    with pytest.raises(DataError, match="has no H&E picture"):
        read(root, sections=["s1"])


@pytest.mark.parametrize("planes", ["CYX", "YXS"])
def test_pictures_with_colours_in_planes_or_beside_each_other_show_the_same(root: Path, planes: str) -> None:
    pixels = np.moveaxis(FILES.RGB, 2, 0) if planes == "CYX" else FILES.RGB
    photometric = "minisblack" if planes == "CYX" else "rgb"
    common: Any = {"tile": (64, 64), "photometric": photometric, "compression": "deflate"}
    with tifffile.TiffWriter(root / "s1_he_image.ome.tif", bigtiff=True, ome=True) as file:
        file.write(pixels, subifds=1, metadata={"axes": planes}, **common)
        coarse = pixels[:, ::2, ::2] if planes == "CYX" else pixels[::2, ::2]
        file.write(coarse, subfiletype=1, metadata=None, **common)
    slide = read(root).slide
    assert slide.size == (260, 240)
    np.testing.assert_array_equal(slide.region(30, 40, 80, "white"), FILES.RGB[40:120, 30:110])


def test_cells_without_counts_stay_and_controls_do_not_count(root: Path) -> None:
    of = FILES.numbered(FILES.tissue(), "xenium")
    counts = of.counts.copy()
    counts[:3] = 0
    FILES.write_h5(FILES.Tissue(of.spots, counts), root / "s1_outs" / "cell_feature_matrix.h5", FILES.CONTROLS)
    section = read(root)
    totals = np.asarray(section.counts.X.sum(axis=1)).ravel()
    assert (len(section), list(totals[:3])) == (100, [0.0, 0.0, 0.0])
    np.testing.assert_array_equal(totals, counts.sum(axis=1))
    assert len(read(root, min_counts=1.0)) == 97


def test_without_counts_cells_can_be_queried(root: Path) -> None:
    (root / "s1_outs" / "cell_feature_matrix.h5").unlink()
    section = read(root)
    assert (len(section), len(section.genes)) == (100, 0)
    with pytest.raises(DataError, match=r"has no counts; expected cell_feature_matrix.h5"):
        GenePanel.fit([section], PanelConfig())


def test_the_folder_is_known_by_its_experiment(root: Path) -> None:
    assert has_form(root, "xenium")
    assert form_of(root) == ("xenium", "s1_outs/experiment.xenium is there")
    made = plan(root, {})
    assert (made.config().data.source, made.config().data.species, made.sections[0].mpp) == (
        "xenium",
        "human",
        pytest.approx(5),
    )
    with pytest.raises(DataError, match="there are files as of the form xenium"):
        read_sections(DataConfig(source="st2k", root=root))
    (root / "s1_outs" / "experiment.xenium").unlink()
    with pytest.raises(DataError, match=r"beside cell_feature_matrix.h5 the file experiment.xenium is missing"):
        read(root)


def rows(text: str) -> Callable[[Path], Any]:
    return lambda root: (root / "s1_he_imagealignment.csv").write_text(text)


def facts(**more: Any) -> Callable[[Path], Any]:
    return lambda root: (root / "s1_outs" / "experiment.xenium").write_text(json.dumps({**FILES.EXPERIMENT, **more}))


def place(value: Any) -> Callable[[Path], Any]:
    def change(root: Path) -> None:
        table = cells(root)
        table["x_centroid"] = [value, *table["x_centroid"].astype(type(value))[1:]]
        table.to_parquet(root / "s1_outs" / "cells.parquet", index=False)

    return change


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no matrix": (lambda root: (root / "s1_he_imagealignment.csv").unlink(), "expected s1_he_imagealignment.csv beside it"),
    "keypoints": (rows("fixedX,fixedY,alignmentX,alignmentY\n1,2,3,4\n"), "holds the keypoints of an alignment; expected"),
    "words": (rows("a,b,c\n"), "is no matrix"),
    "two rows": (rows("1,0,0\n0,1,0\n"), "holds 2 x 3 values"),
    "perspective": (rows("1,0,0\n0,1,0\n0.1,0,1\n"), "a last line other than 0,0,1"),
    "flat": (rows("1,0,0\n2,0,0\n0,0,1\n"), "has no inverse"),
    "no size": (facts(pixel_size=None), "pixel_size is None; expected the microns per pixel"),
    "damaged": (lambda root: (root / "s1_outs" / "experiment.xenium").write_text("{"), "is damaged"),
    "no place": (place(float("nan")), "cell 'aaaaaaaa-1' has no finite number for its place"),
    "text": (place("here"), "do not hold numbers alone"),
    "no column": (
        lambda root: cells(root).drop(columns="y_centroid").to_parquet(root / "s1_outs" / "cells.parquet"),
        "has no column 'y_centroid'",
    ),
    "no cells": (lambda root: (root / "s1_outs" / "cells.parquet").unlink(), "has no cells.parquet or cells.csv.gz"),
    "twice": (
        lambda root: pd.concat([cells(root), cells(root)[:1]]).to_parquet(root / "s1_outs" / "cells.parquet"),
        "stands more than once in the positions",
    ),
    "other picture": (rows("40,0,-100000\n0,40,0\n0,0,1\n"), "100 of 100 spots lie outside the slide"),
    "two pictures": (
        lambda root: [(root / "s1_outs" / f"{name}_he_image.ome.tif").write_bytes(b"") for name in "ab"],
        "has several H&E pictures, a_he_image.ome.tif and b_he_image.ome.tif; name one with data.image",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_said_with_the_file(root: Path, what: str) -> None:
    damage, words = BAD[what]
    damage(root)
    with pytest.raises(DataError, match=words):
        read(root)


def test_a_panel_for_another_species_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"its panel is for Human, but data.species is mouse"):
        read(root, species="mouse")
    facts(panel_organism="N/A")(root)
    assert read(root, species="mouse").species == "mouse"


def test_pixels_that_are_longer_than_wide_are_said(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    moved = np.diag([20.0, 22.0, 1.0])
    np.savetxt(root / "s1_he_imagealignment.csv", moved, delimiter=",")
    table = cells(root)
    xy = FILES.microns(FILES.tissue().spots[["x", "y"]].to_numpy(), moved)
    table.assign(x_centroid=xy[:, 0], y_centroid=xy[:, 1]).to_parquet(root / "s1_outs" / "cells.parquet")
    section = read(root)
    assert FILES.same(section, FILES.tissue())
    assert section.mpp == pytest.approx(0.25 * np.sqrt(440))
    assert "makes pixels 1.1 times as long as they are wide" in caplog.text
