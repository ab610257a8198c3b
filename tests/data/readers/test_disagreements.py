"""Statements of the files that disagree are noticed, and an advice is true for the files at hand."""

import json
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from scipy import sparse

from bleep.config import DataConfig, PanelConfig
from bleep.data.panel import GenePanel
from bleep.data.readers import has_form, read_sections
from bleep.data.readers.forms import form_of
from bleep.data.readers.lattice import lattice
from bleep.data.section import Section
from bleep.data.slides import PictureSlide, as_rgb, open_slide
from bleep.errors import DataError, MismatchError

CAREFUL = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("form_files.py"))))
RGB = CAREFUL.RGB


def read(form: str, root: Path, **more: object) -> Section:
    (section,) = read_sections(DataConfig.model_validate({"source": form, "root": root, **more}))
    return section


def few(of: Any, count: int = 12) -> Any:
    rows = np.sort(np.random.default_rng(3).permutation(len(of.spots))[:count])
    return CAREFUL.Tissue(of.spots.iloc[rows], of.counts[rows])


@pytest.mark.parametrize("form", ["visium", "h5ad"])
def test_the_scale_is_that_of_the_array_where_only_some_spots_are_listed(form: str, tmp_path: Path) -> None:
    whole = read(form, CAREFUL.FORMS[form](CAREFUL.tissue(), tmp_path / "whole"))
    some = read(form, CAREFUL.FORMS[form](few(CAREFUL.tissue()), tmp_path / "some"))
    assert whole.mpp == pytest.approx(5.0, rel=0.003)
    assert some.mpp == pytest.approx(5.0, rel=0.003)


def test_a_square_array_in_the_form_of_visium_is_not_taken_for_100_microns(tmp_path: Path) -> None:
    of = CAREFUL.tissue()
    row, column = np.divmod(np.arange(100), 10)
    of = CAREFUL.Tissue(of.spots.assign(array_row=row, array_col=column, x=30.0 + 20 * column, y=30.0 + 20 * row), of.counts)
    with pytest.raises(DataError, match=r"square array 20 pixels apart, not as on a Visium slide; set data.mpp"):
        read("visium", CAREFUL.visium(of, tmp_path / "a"))
    assert read("visium", tmp_path / "a", mpp=2.5).mpp == 2.5


@pytest.mark.parametrize(("fiducial", "fits"), [(20.95, True), (41.9, False)])
def test_the_array_and_the_fiducials_must_agree(fiducial: float, fits: bool, tmp_path: Path) -> None:
    root = CAREFUL.visium(CAREFUL.tissue(), tmp_path)
    path = root / "s1" / "spatial" / "scalefactors_json.json"
    path.write_text(json.dumps({"tissue_hires_scalef": 1.0, "fiducial_diameter_fullres": fiducial}))
    if fits:
        assert read("visium", root).mpp == pytest.approx(5.0, rel=0.003)
    else:
        with pytest.raises(DataError, match=r"array of spots says 5 microns .* fiducials 2.5"):
            read("visium", root)


def test_an_array_is_told_whichever_way_it_lies_in_the_picture() -> None:
    steps = CAREFUL.tissue().spots[["array_col", "array_row"]].to_numpy(np.float64)
    xy = CAREFUL.tissue().spots[["x", "y"]].to_numpy(np.float64)
    for turn in ([[0, -1], [1, 0]], [[-1, 0], [0, 1]], [[0.8, -0.6], [0.6, 0.8]]):
        found = lattice(steps, xy @ np.array(turn))
        assert found is not None
        assert (found.pitch, found.neighbours) == (pytest.approx(20.0, rel=1e-3), 6)
    assert lattice(steps, np.random.default_rng(0).permutation(xy)) is None
    assert lattice(steps[:, :1].repeat(2, axis=1), xy) is None


WAYS = {
    "twice as large": lambda full: full.repeat(2, axis=0).repeat(2, axis=1),
    "mirrored left to right": lambda full: full[:, ::-1],
    "turned by 180 degrees": lambda full: full[::-1, ::-1],
    "turned by 90 degrees": lambda full: full.transpose(1, 0, 2),
    "with a border": lambda full: np.pad(full, ((0, 40), (0, 40), (0, 0)), constant_values=255),
}


@pytest.mark.parametrize("way", [*WAYS, "right"])
@pytest.mark.parametrize("form", ["visium", "h5ad"])
def test_a_picture_that_positions_do_not_belong_to_is_noticed(form: str, way: str, tmp_path: Path) -> None:
    small = np.zeros((240, 260, 3), np.uint8) + np.linspace(40, 220, 260).astype(np.uint8)[None, :, None]
    small[:120] //= 2
    root = CAREFUL.FORMS[form](CAREFUL.Tissue(CAREFUL.tissue().spots, CAREFUL.tissue().counts, small), tmp_path)
    full = small.repeat(2, axis=0).repeat(2, axis=1)
    place = root / ("s1" if form == "visium" else "in")
    Image.fromarray(WAYS[way](full) if way in WAYS else full).save(place / "full.png")
    if form == "visium":
        (place / "spatial" / "scalefactors_json.json").write_text(json.dumps({"tissue_hires_scalef": 0.5}))
    else:
        import anndata

        data = anndata.read_h5ad(place / "s1.h5ad")
        data.uns["spatial"]["V1"]["scalefactors"]["tissue_hires_scalef"] = 0.5
        data.write_h5ad(place / "s1.h5ad")
    if way == "right":
        assert read(form, root, image="full.png", mpp=2.5).slide.size == (520, 480)
    else:
        with pytest.raises(DataError, match=r"belong to a picture of 520 x 480|looks like .* turn the picture back"):
            read(form, root, image="full.png", mpp=2.5)


def test_ids_decide_where_both_sides_state_them(tmp_path: Path) -> None:
    sections = {}
    for name, twin, gene in (("old", 0, IDS[0]), ("new", 1, IDS[0]), ("probe", 0, IDS[1])):
        root = CAREFUL.h5ad(CAREFUL.tissue(), tmp_path / name)
        import anndata

        data = anndata.read_h5ad(root / "in" / "s1.h5ad")
        names = [f"G{number}" for number in range(8)]
        names[twin] = "TWIN"
        ids = [f"ENSG{number + 100:011d}" for number in range(8)]
        ids[twin] = gene if name != "new" else IDS[1]
        if name == "new":
            names[5], ids[5] = "TWIN-1", IDS[0]
        data.var = pd.DataFrame({"gene_ids": ids}, index=names)
        data.X = sparse.csr_matrix(data.X.toarray() * np.where(np.array(ids) == IDS[0], 10, 1).astype(np.float32))
        data.write_h5ad(root / "in" / "s1.h5ad")
        sections[name] = read("h5ad", root, mpp=5.0)
    panel = GenePanel.fit([sections["old"], sections["new"]], PanelConfig(choice="all"))
    assert panel.genes[0] == "TWIN"
    assert panel.columns(sections["new"])[0] == 5
    with pytest.raises(MismatchError, match=f"TWIN stands there for {IDS[1]}, while the panel's is {IDS[0]}"):
        panel.check(sections["probe"])


IDS = CAREFUL.IDS


def scaled(root: Path, *, raw: bool, counts: bool) -> Path:
    import anndata

    CAREFUL.h5ad(CAREFUL.tissue(), root)
    data = anndata.read_h5ad(root / "in" / "s1.h5ad")
    table = np.log1p(data.X.toarray())
    if counts:
        data.layers["umi"] = data.X.copy()
    data.X = table
    if raw:
        data.raw = data
    data.X = ((table - table.mean(axis=0)) / table.std(axis=0)).astype(np.float32)
    data.write_h5ad(root / "in" / "s1.h5ad")
    return root


def test_z_scores_are_refused_with_what_the_file_holds_instead(tmp_path: Path) -> None:
    one = scaled(tmp_path / "a", raw=True, counts=True)
    with pytest.raises(DataError, match=r"X holds z-scores.*layers\['umi'\] holds whole numbers: set data.layer to it"):
        read("h5ad", one)
    assert CAREFUL.same(read("h5ad", one, layer="umi"), CAREFUL.tissue())
    two = scaled(tmp_path / "b", raw=True, counts=False)
    with pytest.raises(DataError, match=r"raw holds logarithms: set data.raw to true and panel.normalise to none"):
        read("h5ad", two)
    np.testing.assert_allclose(read("h5ad", two, raw=True).counts.X.toarray(), np.log1p(CAREFUL.tissue().counts), rtol=1e-6)
    with pytest.raises(DataError, match="write the counts into the file"):
        read("h5ad", scaled(tmp_path / "c", raw=False, counts=False))
    with pytest.raises(DataError, match="has no layer 'no'; found umi"):
        read("h5ad", one, layer="no")
    for root, more in ((one, {}), (two, {}), (one, {"layer": "no"})):
        asked = DataConfig.model_validate({"source": "h5ad", "root": root, "mpp": 5.0, **more})
        (section,) = read_sections(asked, purpose="query")
        assert (len(section), len(section.genes)) == (100, 0)
    # The other way out that is named.
    import anndata

    data = anndata.read_h5ad(one / "in" / "s1.h5ad")
    data.layers["counts"] = data.layers.pop("umi")
    data.write_h5ad(one / "in" / "s1.h5ad")
    assert CAREFUL.same(read("h5ad", one), CAREFUL.tissue())


@pytest.mark.parametrize("odd", [np.nan, -3.0])
@pytest.mark.parametrize("form", [form for form in CAREFUL.FORMS if form not in ("patches", "wsi")])
def test_a_query_needs_no_values_and_leaves_out_those_that_are_none(
    form: str, odd: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    of = CAREFUL.tissue()
    counts = of.counts.astype(float)
    counts[3, 4] = odd
    root = CAREFUL.FORMS[form](replace(of, counts=counts), tmp_path / "in")
    with pytest.raises(DataError, match=r"not numbers|negative values") as refused:
        read(form, root)
    asked = DataConfig.model_validate({"source": form, "root": root, "mpp": 5.0})
    (section,) = read_sections(asked, purpose="query")
    assert (len(section), len(section.genes)) == (100, 0)
    assert f"is queried without its expression ({refused.value})" in caplog.text


def test_a_query_needs_no_counts_of_the_tissue_alone(tmp_path: Path) -> None:
    root = CAREFUL.visium(CAREFUL.tissue(), tmp_path)
    (root / "s1" / "filtered_feature_bc_matrix.h5").rename(root / "s1" / "raw_feature_bc_matrix.h5")
    with pytest.raises(DataError, match="holds the whole array"):
        read("visium", root)
    (section,) = read_sections(DataConfig(source="visium", root=root, mpp=5.0), purpose="query")
    assert (len(section), len(section.genes)) == (100, 0)


@pytest.mark.parametrize("column", ["sample", "batch", "sample_id", "library_id"])
def test_two_samples_on_one_picture_are_refused(column: str, tmp_path: Path) -> None:
    import anndata

    root = CAREFUL.h5ad(CAREFUL.tissue(), tmp_path)
    data = anndata.read_h5ad(root / "in" / "s1.h5ad")
    data.obs[column] = ["A"] * 50 + ["B"] * 50
    data.write_h5ad(root / "in" / "s1.h5ad")
    with pytest.raises(DataError, match=r"names 2 samples \(A, B\)|holds several libraries"):
        read("h5ad", root)


def test_a_file_without_counts_can_be_queried_and_says_why_it_cannot_be_trained_on(tmp_path: Path) -> None:
    import anndata

    for form in ("visium", "h5ad"):
        root = CAREFUL.FORMS[form](CAREFUL.tissue(), tmp_path / form)
        if form == "visium":
            (root / "s1" / "filtered_feature_bc_matrix.h5").unlink()
        else:
            data = anndata.read_h5ad(root / "in" / "s1.h5ad")
            data.X = None
            data.write_h5ad(root / "in" / "s1.h5ad")
        section = read(form, root)
        assert (len(section), len(section.genes)) == (100, 0)
        with pytest.raises(DataError, match="can only be queried"):
            GenePanel.fit([section], PanelConfig())


def test_a_third_coordinate_of_zero_positions_in_obs_and_a_library_without_a_name_are_read(tmp_path: Path) -> None:
    import anndata

    root = CAREFUL.h5ad(CAREFUL.tissue(), tmp_path)
    path = root / "in" / "s1.h5ad"
    data = anndata.read_h5ad(path)
    data.uns["spatial"] = data.uns["spatial"]["V1"]
    data.obsm["spatial"] = np.column_stack([data.obsm["spatial"], np.zeros(100)])
    data.write_h5ad(path)
    assert CAREFUL.same(read("h5ad", root), CAREFUL.tissue())
    data.obs[["pxl_col_in_fullres", "pxl_row_in_fullres"]] = data.obsm["spatial"][:, :2]
    del data.obsm["spatial"]
    data.write_h5ad(path)
    assert CAREFUL.same(read("h5ad", root), CAREFUL.tissue())


LAYOUTS = ("flat", "without a header", "prefix begins another", "NAME_spatial", "header by another name", "leftovers", "quoted")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_visium_that_were_met_are_read(layout: str, tmp_path: Path) -> None:
    out = CAREFUL.visium(CAREFUL.tissue(), tmp_path / "made") / "s1"
    spatial, root = out / "spatial", tmp_path / "in"
    root.mkdir()
    files = [*spatial.iterdir(), out / "filtered_feature_bc_matrix.h5"]
    names = ["s1"]
    if layout in ("flat", "prefix begins another"):
        names = ["in"] if layout == "flat" else ["Liver", "Liver_2"]
        for prefix in [""] if layout == "flat" else ["Liver_", "Liver_2_"]:
            for path in files:
                (root / f"{prefix}{path.name}").write_bytes(path.read_bytes())
    else:
        out.rename(root / "s1")
        if layout == "NAME_spatial":
            (root / "s1" / "spatial").rename(root / "s1" / "s1_spatial")
        elif layout == "without a header":
            table = root / "s1" / "spatial" / "tissue_positions.csv"
            table.write_text("\n".join(table.read_text().splitlines()[1:]) + "\n")
        elif layout == "header by another name":
            (root / "s1" / "spatial" / "tissue_positions.csv").rename(root / "s1" / "spatial" / "tissue_positions_list.csv")
        else:
            _as_mtx(root / "s1", '"' if layout == "quoted" else "")
    sections = read_sections(DataConfig(source="visium", root=root, mpp=5.0))
    assert [section.name for section in sections] == names
    assert all(CAREFUL.same(section, CAREFUL.tissue()) for section in sections)


def _as_mtx(outs: Path, quote: str) -> None:
    import gzip

    (outs / "filtered_feature_bc_matrix.h5").unlink()
    folder = outs / "filtered_feature_bc_matrix"
    folder.mkdir()
    of = CAREFUL.tissue()
    entries = [f"{g + 1} {s + 1} {v}" for (s, g), v in np.ndenumerate(of.counts)]
    texts = {
        "matrix.mtx": "\n".join(["%%MatrixMarket matrix coordinate integer general", f"8 100 {len(entries)}", *entries]),
        "features.tsv": "\n".join(
            f"{quote}{i}{quote}\t{quote}{n}{quote}\t{quote}Gene Expression{quote}" for i, n in zip(IDS, CAREFUL.SYMBOLS)
        ),
        "barcodes.tsv": "\n".join(f"{quote}{name}{quote}" for name in of.spots.index),
    }
    for name, text in texts.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(f"{text}\n".encode()))
    if not quote:
        (folder / "features.tsv").write_text(texts["features.tsv"])


PLANES = np.moveaxis(RGB, -1, 0).copy()
NAMED = {"axes": "CYX", "Channel": {"Name": ["DAPI", "FITC", "Cy5"]}}
TIFFS: dict[str, tuple[np.ndarray, dict[str, Any], str]] = {
    "three pages": (PLANES, {"photometric": "minisblack", "metadata": {"axes": "CYX"}, "ome": True}, ""),
    "planes": (PLANES, {"photometric": "rgb", "planarconfig": "separate"}, ""),
    "tiled planes": (PLANES, {"photometric": "rgb", "planarconfig": "separate", "tile": (64, 64)}, ""),
    "pages of unknown meaning": (PLANES, {"photometric": "minisblack"}, "3 x 240 x 260 .* a single layer"),
    "two layers": (np.stack([RGB, RGB]), {"photometric": "rgb"}, "2 x 240 x 260 x 3 .* a single layer"),
    "12 bits in 16": (RGB.astype(np.uint16) * 16, {"photometric": "rgb"}, "more than 8 bits"),
    "12 bits in 16, tiled": (RGB.astype(np.uint16) * 16, {"photometric": "rgb", "tile": (64, 64)}, "more than 8 bits"),
    "fluorescence": (PLANES, {"photometric": "minisblack", "metadata": NAMED, "ome": True}, "channels dapi, fitc, cy5"),
    "fluorescence, tiled": (
        PLANES, {"photometric": "minisblack", "metadata": NAMED, "ome": True, "tile": (64, 64)}, "channels dapi, fitc, cy5",
    ),
    "z-stack": (PLANES, {"photometric": "minisblack", "metadata": {"axes": "ZYX"}, "ome": True}, "ZYX"),
    **{f"orientation {n}": (RGB, {"photometric": "rgb", "extratags": [(274, "H", 1, n, True)]}, "") for n in (3, 6, 8)},
}  # fmt: skip


@pytest.mark.parametrize("kind", TIFFS)
def test_a_tiff_shows_its_colours_as_they_are_stored_or_is_refused_with_what_it_is(kind: str, tmp_path: Path) -> None:
    array, options, words = TIFFS[kind]
    tifffile.imwrite(tmp_path / "a.tif", array, **options)
    if words:
        with pytest.raises(DataError, match=words):
            open_slide(tmp_path / "a.tif")
    else:
        slide = open_slide(tmp_path / "a.tif")
        assert slide.size == (260, 240)
        np.testing.assert_array_equal(slide.region(100, 90, 64, "white"), RGB[90:154, 100:164])


def test_a_deep_png_is_refused(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.tobytes() for row in (RGB.astype(">u2") * 16))
    head = struct.pack(">IIBBBBB", 260, 240, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    with pytest.raises(DataError, match="more than 8 bits"):
        open_slide(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"ZISRAWFILE" + bytes(400), "is a Zeiss CZI file"),
        (bytes(128) + b"DICM" + bytes(99), "a DICOM file"),
        (b'{"type": 1}', "GeoJSON"),
    ],
)
def test_what_is_not_read_is_not_called_damaged(head: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(head)
    with pytest.raises(DataError, match=words):
        PictureSlide.open(tmp_path / "a.bin")


def test_a_picture_in_memory_is_grey_or_coloured_with_transparency_or_without() -> None:
    grey = RGB[..., 0]
    for array in (grey, grey[..., None], np.dstack([grey, np.full_like(grey, 255)])):
        np.testing.assert_array_equal(as_rgb(array, "it"), np.repeat(grey[..., None], 3, axis=2))
    np.testing.assert_array_equal(as_rgb(RGB.astype(np.float32) / 255, "it"), RGB)
    assert (as_rgb(np.zeros((4, 4, 4), np.float32), "it") == 255).all()
    with pytest.raises(DataError, match="it has shape"):
        as_rgb(np.zeros((4, 4, 5), np.uint8), "it")


def test_a_folder_without_a_section_says_what_was_found_and_what_is_missing(tmp_path: Path) -> None:
    root = CAREFUL.visium(CAREFUL.tissue(), tmp_path / "a")
    path = root / "s1" / "spatial" / "scalefactors_json.json"
    path.write_text(json.dumps({"serialNumber": "V1", "transform": []}))
    with pytest.raises(DataError, match="holds serialNumber, transform; expected Space Ranger's scale factors"):
        read("visium", root)
    path.unlink()
    with pytest.raises(DataError, match=r"found filtered_feature_bc_matrix.h5.*the file scalefactors_json.json is missing"):
        read("visium", root)
    with pytest.raises(DataError, match="there are files as of the form st2k"):
        read("visium", CAREFUL.st2k(CAREFUL.tissue(), tmp_path / "b"))


def test_the_skin_cancer_of_geo_is_read_and_its_scale_asked_for(tmp_path: Path) -> None:
    root = tmp_path / "in"
    CAREFUL.legacy(CAREFUL.tissue(), root, "table.tsv")
    (root / "s1.tsv.gz").rename(root / "GSM1_P2_ST_rep1_stdata.tsv.gz")
    (root / "table.tsv").rename(root / "GSM1_spot_data-selection-P2_ST_rep1.tsv")
    (root / "s1.jpg").rename(root / "GSM1_P2_ST_rep1.jpg")
    with pytest.raises(DataError, match=r"its spots stand 20 pixels apart; set data.mpp"):
        read("her2st", root)
    assert has_form(root, "her2st")
    assert form_of(root) == ("her2st", "GSM1_spot_data-selection-P2_ST_rep1.tsv is there")
    section = read("her2st", root, mpp=5.0)
    assert (section.name, section.patient) == ("P2_ST_rep1", "P2")
    assert CAREFUL.same(section, CAREFUL.tissue())


def test_a_picture_of_another_size_is_not_of_her2st(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read("her2st", CAREFUL.her2st(CAREFUL.tissue(), tmp_path)).mpp == 0.69
    assert "spots stand 290 pixels apart, and its spots stand 20 pixels apart; data.mpp says how" in caplog.text


def test_a_file_without_counts_says_why_where_it_is_trained_on(tmp_path: Path) -> None:
    root = CAREFUL.visium(CAREFUL.tissue(), tmp_path)
    (root / "s1" / "filtered_feature_bc_matrix.h5").unlink()
    with pytest.raises(DataError, match="has no counts; expected"):
        GenePanel.fit([read("visium", root)], PanelConfig())
