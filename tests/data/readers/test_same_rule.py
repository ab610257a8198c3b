"""What one reader notices, its siblings do too: scale, samples, ids, z-scores, labels; and pictures over white, in any file."""

import json
import runpy
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from bleep.config import Config, DataConfig, PanelConfig
from bleep.data.gene_names import genes_among
from bleep.data.labels import labels_of
from bleep.data.panel import GenePanel
from bleep.data.readers import read_sections
from bleep.data.section import Section
from bleep.data.slides import as_rgb, open_slide
from bleep.errors import DataError
from bleep.runs import Run
from bleep.workflows.query import open_tiles

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("form_files.py"))))


def read(form: str, root: Path, **more: object) -> Section:
    (section,) = read_sections(DataConfig.model_validate({"source": form, "root": root, **more}))
    return section


def h5ad(tmp_path: Path, change: Any) -> Path:
    """Write the tissue as h5ad, changed."""
    root = FILES.h5ad(FILES.tissue(), tmp_path)
    (path,) = tmp_path.rglob("*.h5ad")
    data = anndata.read_h5ad(path)
    change(data)
    data.write_h5ad(path)
    return root


@pytest.mark.parametrize("form", ["h5ad", "spatialdata", "hest"])
def test_a_column_of_obs_is_there_as_labels(form: str, tmp_path: Path) -> None:
    of = FILES.tissue()
    region = np.where(of.spots["x"] < 100, "left", "right")
    frame, root = FILES.frame, tmp_path / form
    FILES.h5ad.__globals__["frame"] = lambda one: _with(frame(one), region)
    try:
        root = FILES.FORMS[form](of, root)
    finally:
        FILES.h5ad.__globals__["frame"] = frame
    section = read(form, root, label="tissue")
    told = pd.Series(labels_of(section, "tissue"), section.counts.obs_names)
    assert set(told) == {"left", "right"}
    assert ((section.xy[:, 0] < 100) == (told == "left")).all()
    assert "tissue" not in read(form, root).counts.obs


def _with(data: Any, region: np.ndarray) -> Any:
    data.obs["tissue"] = region
    return data


def stated(form: str, root: Path, mpp: float) -> Path:
    """Write the tissue with a stated scale beside its array, and fiducials that agree with the array."""
    if form == "visium":
        out: Path = FILES.visium(FILES.tissue(), root)
        path = out / "s1" / "spatial" / "scalefactors_json.json"
        factors = {"tissue_hires_scalef": 1.0, "fiducial_diameter_fullres": 20.95, "microns_per_pixel": mpp}
        path.write_text(json.dumps(factors))
        return out

    def change(data: Any) -> None:
        (library,) = data.uns["spatial"].values()
        library["scalefactors"] |= {"fiducial_diameter_fullres": 20.95, "microns_per_pixel": mpp}

    return h5ad(root, change)


@pytest.mark.parametrize("form", ["visium", "h5ad"])
def test_a_stated_scale_that_array_and_fiducials_contradict_is_refused(form: str, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"state 1 microns per full-resolution pixel, but its array of spots says 5 and its fid"
    ):
        read(form, stated(form, tmp_path / "wrong", 1.0))
    assert read(form, tmp_path / "wrong", mpp=5.0).mpp == 5.0
    assert read(form, stated(form, tmp_path / "right", 5.02)).mpp == pytest.approx(5.02)


@pytest.mark.parametrize("form", ["visium", "h5ad", "segmented", "xenium"])
def test_a_query_goes_by_the_scale_of_its_own_files(
    form: str, trained: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`data.mpp` was said of the training tissue; what is asked for with the query comes first."""
    root = stated(form, tmp_path, 5.0) if form in ("visium", "h5ad") else FILES.FORMS[form](FILES.tissue(), tmp_path)
    before = Run.load(trained["contrastive"])
    config = Config.load(before.config.dump(), {"data": {"source": form, "mpp": 2.0}, "cache": str(tmp_path / "cache")})
    run = replace(before, config=config)
    (own,), (asked,) = open_tiles(root, run).sections, open_tiles(root, run, mpp=3.0).sections
    assert own.mpp == pytest.approx(read(form, root).mpp, rel=1e-6)
    assert own.mpp != pytest.approx(2.0)
    assert asked.mpp == 3.0
    assert "its own files state" in caplog.text


@pytest.mark.parametrize("form", ["segmented", "xenium", "spatialdata", "hest", "st2k", "liver"])
def test_a_run_on_visium_predicts_sections_of_every_form(form: str, trained: dict[str, Path], tmp_path: Path) -> None:
    before = Run.load(trained["contrastive"])
    config = Config.load(before.config.dump(), {"data": {"source": "visium", "mpp": 5.0}, "cache": str(tmp_path / "cache")})
    root = FILES.FORMS[form](FILES.tissue(), tmp_path / form)
    (section,) = open_tiles(root, replace(before, config=config)).sections
    assert FILES.same(section, FILES.tissue())
    assert section.mpp == pytest.approx(7.07 if form == "st2k" else 5.0, rel=1e-3)


def test_a_square_array_with_a_given_scale_is_no_finding(tmp_path: Path) -> None:
    of = FILES.tissue()
    row, column = np.divmod(np.arange(100), 10)
    of = FILES.Tissue(of.spots.assign(array_row=row, array_col=column, x=30.0 + 20 * column, y=30.0 + 20 * row), of.counts)
    section = read("visium", FILES.visium(of, tmp_path), mpp=2.5)
    assert section.counts.uns["bleep"]["pitch"] == 0


@pytest.mark.parametrize("way", ["mirrored", "another scale"])
def test_the_pictures_of_a_library_must_be_of_one_slide(way: str, tmp_path: Path) -> None:
    def change(data: Any) -> None:
        (library,) = data.uns["spatial"].values()
        hires = np.asarray(library["images"]["hires"]).copy()
        hires[:, :80] = hires[:, :80] // 3
        library["images"]["hires"], low = hires, hires[::2, ::2]
        library["images"]["lowres"] = low[:, ::-1].copy() if way == "mirrored" else low.copy()
        library["scalefactors"] |= {"tissue_lowres_scalef": 0.5 if way == "mirrored" else 0.25, "tissue_hires_scalef": 1.0}

    words = "looks like the lowres picture mirrored" if way == "mirrored" else "belong to a picture of"
    with pytest.raises(DataError, match=words):
        read("h5ad", h5ad(tmp_path, change))


@pytest.mark.parametrize("column", ["Sample", "SampleID", "slide", "section", "orig.ident", "capture_area"])
def test_samples_are_known_under_any_heading(column: str, tmp_path: Path) -> None:
    def change(data: Any) -> None:
        data.obs[column] = ["a"] * 50 + ["b"] * 50

    with pytest.raises(DataError, match="names 2 samples"):
        read("h5ad", h5ad(tmp_path, change))


@pytest.mark.parametrize("column", ["gene_ids-0", "id", "gene_stable_id", "GeneID", "ensembl.id"])
def test_ids_are_known_under_any_heading(column: str, tmp_path: Path) -> None:
    """Two genes have changed their symbols: ids decide."""
    panel = GenePanel.fit((read("h5ad", FILES.h5ad(FILES.tissue(), tmp_path / "a")),), PanelConfig(choice="all"))
    ids = [FILES.IDS[1], FILES.IDS[0], *FILES.IDS[2:]]

    def change(data: Any) -> None:
        data.var = pd.DataFrame({column: ids}, index=data.var_names)

    plain = panel.values(read("h5ad", tmp_path / "a"))
    changed = panel.values(read("h5ad", h5ad(tmp_path / "b", change)))
    np.testing.assert_allclose(changed[:, 0], plain[:, 1])


@pytest.mark.parametrize("form", ["st2k", "her2st"])
def test_z_scores_in_tables_are_no_expression_whatever_normalise_says(form: str, tmp_path: Path) -> None:
    of = FILES.tissue()
    logs = np.log1p(of.counts)
    root = FILES.FORMS[form](FILES.Tissue(of.spots, (logs - logs.mean(axis=0)) / logs.std(axis=0)), tmp_path)
    section = read(form, root, mpp=5.0)
    for normalise in ("none", "log1p"):
        with pytest.raises(DataError, match="holds z-scores"):
            GenePanel.fit((section,), PanelConfig(choice="all", normalise=normalise))


def test_what_seurat_and_scanpy_count_of_a_spot_is_no_gene() -> None:
    counted = [
        "nCount_RNA",
        "nFeature_SCT",
        "total_counts_mt",
        "log1p_total_counts",
        "pct_counts_mito",
        "percent.mt",
        "row",
        "col",
    ]
    genes = ["NCOA1", "ROW1", "PCT1", "TOTAL", "NFE2"]
    assert genes_among([*counted, *genes], Path("t.csv")) == genes


@pytest.mark.parametrize("alpha", [0, 1, 64, 128, 254, 255])
def test_what_is_half_transparent_lies_over_white_in_every_file(alpha: int, tmp_path: Path) -> None:
    colours = np.full((64, 64, 3), 40, np.uint8)
    straight = np.dstack([colours, np.full((64, 64), alpha, np.uint8)])
    multiplied = np.dstack([np.full((64, 64, 3), round(40 * alpha / 255), np.uint8), straight[..., 3]])
    over = 40 * alpha / 255 + 255 - alpha
    Image.fromarray(straight).save(tmp_path / "a.png")
    shown = {"png": open_slide(tmp_path / "a.png").region(0, 0, 64, "white"), "array": as_rgb(straight, "it")}
    for kind, table in (("unassalpha", straight), ("assocalpha", multiplied)):
        for tile in (None, (32, 32)):
            path = tmp_path / f"{kind}{tile}.tif"
            tifffile.imwrite(path, table, photometric="rgb", extrasamples=[kind], tile=tile)
            shown[path.name] = open_slide(path).region(0, 0, 64, "white")
    for name, pixels in shown.items():
        assert np.abs(pixels.astype(float) - over).max() <= 1.5, name


def test_shares_a_little_above_one_are_not_taken_for_bytes() -> None:
    picture = np.full((8, 8, 3), 0.7, np.float32)
    picture[0, 0, 0] = 1.004
    assert as_rgb(picture, "it")[4, 4].tolist() == [178, 178, 178]
    assert as_rgb(picture, "it")[0, 0, 0] == 255


@pytest.mark.parametrize("tile", [None, (32, 32)])
@pytest.mark.parametrize("kind", ["three greys", "white is zero"])
def test_strips_and_tiles_are_read_alike(kind: str, tile: tuple[int, int] | None, tmp_path: Path) -> None:
    if kind == "three greys":
        table = np.dstack([np.full((64, 64), value, np.uint8) for value in (10, 200, 50)])
        tifffile.imwrite(tmp_path / "a.tif", table, photometric="minisblack", planarconfig="contig", tile=tile)
        expected = [10, 200, 50]
    else:
        tifffile.imwrite(tmp_path / "a.tif", np.full((64, 64), 10, np.uint8), photometric="miniswhite", tile=tile)
        expected = [245, 245, 245]
    slide = open_slide(tmp_path / "a.tif")
    assert slide.size == (64, 64)
    assert slide.region(0, 0, 64, "white")[3, 3].tolist() == expected


def test_fluorescence_in_a_store_is_no_stain(tmp_path: Path) -> None:
    import spatialdata

    of = FILES.tissue()
    warnings.simplefilter("ignore")  # The library warns of its own future; pytest puts the filters back.
    made = spatialdata.read_zarr(FILES.spatialdata(of, tmp_path / "a") / "s1.zarr")
    names = ["DAPI", "CD45", "PanCK"]
    image = spatialdata.models.Image2DModel.parse(np.moveaxis(of.picture, 2, 0), dims=("c", "y", "x"), c_coords=names)
    tables, shapes = dict(made.tables), dict(made.shapes)
    (tmp_path / "b").mkdir()
    spatialdata.SpatialData(images={next(iter(made.images)): image}, shapes=shapes, tables=tables).write(tmp_path / "b/s1.zarr")
    with pytest.raises(DataError, match=r"3 channels \(DAPI, CD45, PanCK\)"):
        read("spatialdata", tmp_path / "b")
