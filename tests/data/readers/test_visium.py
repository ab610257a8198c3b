"""Space Ranger's folders, of every version, read to the same tissue."""

import contextlib
import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from bleep.config import DataConfig
from bleep.data.readers import read_sections
from bleep.data.section import Section
from bleep.data.slides import save_png
from bleep.data.toy import toy_section
from bleep.errors import DataError

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("spaceranger_files.py"))))
TOY = toy_section("toy", "donor", 3, side=256)
OTHER = toy_section("other", "donor", 4, side=256)


def read(root: Path, **more: object) -> Section:
    (section,) = read_sections(DataConfig.model_validate({"source": "visium", "root": root, **more}))
    return section


def dense(section: Section) -> np.ndarray:
    return sparse.csr_matrix(section.counts.X).toarray()


def is_toy(section: Section, toy: Section = TOY) -> bool:
    np.testing.assert_array_equal(dense(section), dense(toy))
    np.testing.assert_allclose(section.xy, toy.xy)
    return list(section.counts.obs_names) == list(toy.counts.obs_names)


@pytest.mark.parametrize("positions", ["tissue_positions_list.csv", "tissue_positions.csv", "tissue_positions.parquet"])
@pytest.mark.parametrize("counts", ["h5", "mtx", "genes"])
def test_every_version_reads_to_the_same_tissue(positions: str, counts: str, tmp_path: Path) -> None:
    section = read(FILES.visium(TOY, tmp_path / "sample" / "outs", positions, counts))
    assert section.name == "sample"
    assert is_toy(section)
    assert section.mpp == pytest.approx(100.0 / section.pitch(), rel=0.3)


def test_columns_of_a_parquet_may_stand_in_any_order_and_kind(tmp_path: Path) -> None:
    root = FILES.visium(TOY, tmp_path / "sample", "tissue_positions.parquet")
    path = root / "spatial" / "tissue_positions.parquet"
    table = pd.read_parquet(path).assign(more="x").astype({"in_tissue": bool, "barcode": "category", "array_row": "uint8"})
    table[table.columns[::-1]].set_index("barcode", drop=False).to_parquet(path)
    assert is_toy(read(root))


def test_counts_behind_a_prefix_are_found(tmp_path: Path) -> None:
    root = FILES.visium(TOY, tmp_path / "sample")
    (root / "filtered_feature_bc_matrix.h5").rename(root / "S1_filtered_feature_bc_matrix.h5")
    assert is_toy(read(root))


def test_the_older_folder_of_one_genome_is_found(tmp_path: Path) -> None:
    root = FILES.visium(TOY, tmp_path / "sample", counts="genes")
    (root / "filtered_gene_bc_matrices").mkdir()
    (root / "filtered_feature_bc_matrix").rename(root / "filtered_gene_bc_matrices" / "GRCh38")
    assert is_toy(read(root))


def test_symbols_that_stand_twice_are_made_unique_and_ids_kept(tmp_path: Path) -> None:
    section = read(FILES.visium(TOY, tmp_path / "a"))
    assert list(section.genes[[0, -1]]) == ["TOY01", "TOY01-1"]
    assert list(section.counts.var["gene_id"].iloc[:2]) == ["ENSTOY00000", "ENSTOY00001"]


def test_a_gene_without_a_symbol_goes_by_its_id_and_one_called_na_keeps_its_name(tmp_path: Path) -> None:
    root = FILES.visium(TOY, tmp_path / "a", counts="mtx")
    path = root / "filtered_feature_bc_matrix" / "features.tsv"
    text = path.read_text().replace("\tTOY02\t", "\t\t").replace("\tTOY03\t", "\tNA\t").replace("\tTOY04\t", "\tTOY01-1\t")
    path.write_text(text)
    assert list(read(root).genes[[0, 1, 2, 3, -1]]) == ["TOY01", "ENSTOY00001", "NA", "TOY01-1", "TOY01-2"]


def test_features_that_are_no_genes_are_left_out(tmp_path: Path) -> None:
    root = FILES.visium(TOY, tmp_path / "a")
    FILES.write_h5(TOY, root / "filtered_feature_bc_matrix.h5", ("Antibody Capture",) * 3)
    section = read(root)
    assert len(section.genes) == len(TOY.genes) - 3
    np.testing.assert_array_equal(dense(section), dense(TOY)[:, :-3])


def test_where_the_scale_comes_from_is_said_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = FILES.visium(TOY, tmp_path / "a")
    caplog.set_level("INFO", "bleep")
    read(root)
    assert "tissue_hires_image.png (hires)" in caplog.text
    assert "(from the fiducials)" in caplog.text
    assert read(root, mpp=1.5).mpp == 1.5
    assert "1.5 microns per pixel (from data.mpp)" in caplog.text
    factors = root / "spatial" / "scalefactors_json.json"
    factors.write_text(json.dumps(json.loads(factors.read_text()) | {"microns_per_pixel": 0.5}))
    assert read(root).mpp == 2.0
    assert "2 microns per pixel (from scalefactors_json.json)" in caplog.text


LEVELS = {
    "sample": "",
    "outs": "outs",
    "binned_outputs": "outs/binned_outputs",
    "the folder of the bins": "outs/binned_outputs/square_016um",
}


@pytest.mark.parametrize("level", LEVELS)
def test_hd_is_read_from_each_of_its_folders(level: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "bleep")
    section = read(FILES.visium_hd({16: TOY, 8: OTHER}, tmp_path / "tonsil") / LEVELS[level])
    assert section.name == "tonsil"
    assert is_toy(section)
    assert section.mpp == 1.0
    said = "section tonsil: bins of 16 um, tiles from tissue_hires_image.png (hires), 1 microns per pixel"
    assert f"{said} (from scalefactors_json.json)" in caplog.text


def test_hd_is_read_at_the_size_of_bins_asked_for(tmp_path: Path) -> None:
    root = FILES.visium_hd({16: TOY, 8: OTHER}, tmp_path / "tonsil")
    assert is_toy(read(root, bin=8), OTHER)
    with pytest.raises(DataError, match=r"section tonsil: has no bins of 2 um; found 8, 16 um: set data\.bin"):
        read(root, bin=2)


def test_a_root_that_is_the_folder_of_one_size_of_bins_decides(tmp_path: Path) -> None:
    root = FILES.visium_hd({16: TOY, 8: OTHER}, tmp_path / "tonsil")
    assert is_toy(read(root / "outs/binned_outputs/square_008um"), OTHER)
    (root / "outs/binned_outputs/square_008um").rename(tmp_path / "square_008um")
    shutil.copytree(root / "outs/spatial", tmp_path / "square_008um/spatial", dirs_exist_ok=True)
    assert is_toy(read(tmp_path / "square_008um"), OTHER)


def test_several_samples_of_hd_and_of_visium_may_lie_side_by_side(tmp_path: Path) -> None:
    FILES.visium_hd({16: TOY, 8: OTHER}, tmp_path / "one")
    FILES.visium_hd({16: OTHER}, tmp_path / "two")
    third = toy_section("toy3", "donor3", 63, side=256, pitch=26)
    FILES.visium(third, tmp_path / "three" / "outs")
    found = read_sections(DataConfig(source="visium", root=tmp_path))
    assert [section.name for section in found] == ["one", "three", "two"]
    assert all(is_toy(section, toy) for section, toy in zip(found, (TOY, third, OTHER), strict=True))


def test_outlines_of_cells_and_shared_pictures_of_hd_are_no_sections(tmp_path: Path) -> None:
    root = FILES.visium_hd({16: TOY}, tmp_path / "tonsil")
    factors = root / "outs/binned_outputs/square_016um/spatial/scalefactors_json.json"
    for folder in ("outs/segmented_outputs/spatial", "outs/spatial"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(factors, root / folder)
    assert is_toy(read(root))


def test_the_full_picture_of_hd_may_lie_beside_outs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "bleep")
    root = FILES.visium_hd({16: TOY}, tmp_path / "tonsil")
    save_png(np.full((1024, 1024, 3), 200, np.uint8), root / "he.png")
    section = read(root, image="he.png")
    np.testing.assert_allclose(section.xy, TOY.xy / FILES.SCALE)
    assert section.mpp == 0.25
    assert "he.png (full), 0.25 microns per pixel" in caplog.text


def test_the_scale_of_hd_follows_from_its_bins_where_the_file_does_not_say(tmp_path: Path) -> None:
    root = FILES.visium_hd({16: TOY}, tmp_path / "tonsil")
    path = next(root.rglob("scalefactors_json.json"))
    path.write_text(json.dumps({"tissue_hires_scalef": FILES.SCALE}))
    nearest = np.median(np.sort(np.linalg.norm(TOY.xy[:, None] - TOY.xy[None], axis=2), axis=1)[:, 1])
    assert read(root).mpp == pytest.approx(16 / nearest)


@pytest.mark.slow
def test_a_large_hd_section_stays_sparse(tmp_path: Path) -> None:
    spots, genes = 120_000, 15_000
    rng = np.random.default_rng(0)
    root = FILES.visium_hd({8: TOY}, tmp_path / "tonsil")
    square = root / "outs/binned_outputs/square_008um"
    barcodes = [f"s_008um_{number // 400:05d}_{number % 400:05d}-1" for number in range(spots)]
    places = pd.DataFrame({"barcode": barcodes, "in_tissue": np.ones(spots, np.uint8)})
    places["array_row"], places["array_col"] = np.divmod(np.arange(spots, dtype=np.int32), 400)
    places["pxl_row_in_fullres"] = places["array_row"] * 2.5 + 1
    places["pxl_col_in_fullres"] = places["array_col"] * 2.5 + 1
    places.sample(frac=1, random_state=0).to_parquet(square / "spatial/tissue_positions.parquet", index=False)
    matrix = sparse.random(genes, spots, 0.001, "csc", np.float32, random_state=rng)
    matrix.data = np.ceil(matrix.data * 5).astype(np.int32)
    with h5py.File(square / "filtered_feature_bc_matrix.h5", "r+") as file:
        part = file["matrix"]
        for key in ("data", "indices", "indptr", "shape", "barcodes", "features"):
            del part[key]
        part["data"], part["indices"], part["indptr"] = matrix.data, matrix.indices, matrix.indptr
        part["shape"], part["barcodes"] = matrix.shape, np.array(barcodes, dtype="S")
        names = np.array([f"G{number}" for number in range(genes)], dtype="S")
        part["features/id"], part["features/name"] = names, names
        part["features/feature_type"] = np.array([b"Gene Expression"] * genes)
    section = read(root, bin=8)
    assert section.counts.shape == (spots, genes)
    assert sparse.issparse(section.counts.X)
    assert section.counts.X.nnz == matrix.nnz
    rows = [barcodes.index(spot) for spot in section.counts.obs_names[:50]]
    assert rows != sorted(rows)
    np.testing.assert_array_equal(section.counts.X[:50].toarray(), matrix.T.tocsr()[rows].toarray())
    wanted = places[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy()[rows] * FILES.SCALE
    np.testing.assert_allclose(section.xy[:50], wanted)


@pytest.mark.parametrize("counts", ["h5", "mtx"])
def test_the_flat_packed_files_of_geo_read_to_the_same_tissue(counts: str, tmp_path: Path) -> None:
    FILES.geo(TOY, tmp_path, "GSM1_liver_", counts)
    FILES.geo(OTHER, tmp_path, "GSM2_liver_", counts)
    one, two = read_sections(DataConfig(source="visium", root=tmp_path))
    assert (one.name, two.name) == ("GSM1_liver", "GSM2_liver")
    assert is_toy(one)
    assert is_toy(two, OTHER)


def test_each_section_has_its_own_full_picture(tmp_path: Path) -> None:
    for name, toy in (("GSM1", TOY), ("GSM2", OTHER)):
        FILES.geo(toy, tmp_path, f"{name}_")
        save_png(np.full((1024, 1024, 3), 200 + int(name[-1]), np.uint8), tmp_path / f"{name}.png")
    found = read_sections(DataConfig(source="visium", root=tmp_path, image="{name}.png"))  # type: ignore[arg-type]
    assert [section.slide.path.name for section in found] == ["GSM1.png", "GSM2.png"]
    with pytest.raises(DataError, match=r"is the same picture for sections 'GSM1' and 'GSM2'; write \{name\}"):
        read_sections(DataConfig(source="visium", root=tmp_path, image="GSM1.png"))  # type: ignore[arg-type]


def test_what_must_be_unpacked_first_is_said(tmp_path: Path) -> None:
    FILES.geo(TOY, tmp_path, "GSM1_")
    counts, picture = (tmp_path / f"GSM1_{name}" for name in ("filtered_feature_bc_matrix.h5", "tissue_hires_image.png"))
    counts.rename(f"{counts}.gz")
    with pytest.raises(DataError, match=r"bc_matrix\.h5\.gz: is packed, .*gunzip"):
        read(tmp_path)
    picture.rename(f"{picture}.gz")
    with pytest.raises(DataError, match=r"image\.png\.gz: is packed, .*gunzip"):
        read(tmp_path)


def test_two_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    FILES.visium(TOY, tmp_path / "first" / "liver" / "outs")
    FILES.visium(OTHER, tmp_path / "second" / "liver" / "outs")
    with pytest.raises(DataError, match=r"section 'liver' is found in .*first.* and in .*second"):
        read(tmp_path)


def older_h5(at: Path) -> None:
    with h5py.File(at / "filtered_feature_bc_matrix.h5", "w") as file:
        part = file.create_group("GRCh38")
        part["gene_names"], part["genes"], part["barcodes"] = [b"TOY01"], [b"ENS1"], [b"AC-1"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda at: (at / "spatial/tissue_positions.csv").unlink(), "has no positions"),
        (lambda at: (at / "spatial/scalefactors_json.json").write_text("{}"), "tissue_hires_scalef is None"),
        (lambda at: (at / "spatial/tissue_hires_image.png").unlink(), r"name the picture with data\.image"),
        (lambda at: (at / "filtered_feature_bc_matrix.h5").write_bytes(b"\x89HDF"), "is no count file"),
        (lambda at: (at / "other_filtered_feature_bc_matrix.h5").write_bytes(b""), "has several count files"),
        (older_h5, "layout of Cell Ranger 2"),
        (
            lambda at: (at / "filtered_feature_bc_matrix.h5").rename(at / "raw_feature_bc_matrix.h5"),
            r"raw_feature_bc_matrix\.h5: holds the whole array, .*expected filtered_feature_bc_matrix\.h5",
        ),
        (
            lambda at: FILES.write_h5(TOY, at / "filtered_feature_bc_matrix.h5", ("Antibody Capture",) * len(TOY.genes)),
            "no feature of the kind 'Gene Expression'; found 'Antibody Capture'",
        ),
    ],
)
def test_a_damaged_folder_is_refused_in_one_sentence(damage: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    root = FILES.visium(TOY, tmp_path / "sample")
    damage(root)
    with pytest.raises(DataError, match=words) as caught:
        read(root)
    assert "\n" not in str(caught.value)


def test_matrices_of_different_runs_are_refused(tmp_path: Path) -> None:
    root = FILES.visium(TOY, tmp_path / "sample", counts="mtx")
    path = root / "filtered_feature_bc_matrix" / "barcodes.tsv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match="they are of different runs"):
        read(root)


def test_a_zero_byte_in_a_matrix_does_not_end_the_process(tmp_path: Path) -> None:
    # scipy's own reader of MTX does, at a zero byte behind the last number of a line; pandas 2 reads over it, pandas 3 refuses.
    root = FILES.visium(TOY, tmp_path / "sample", counts="mtx")
    path = root / "filtered_feature_bc_matrix" / "matrix.mtx"
    head, *rest = path.read_text().splitlines()
    path.write_text("\n".join([head, *rest[:2], f"{rest[2]}\0", *rest[3:]]))
    with contextlib.suppress(DataError):
        assert is_toy(read(root))


@pytest.mark.data
def test_the_public_sections_read_as_their_readmes_say(shared: Path) -> None:
    muscle = read(
        shared / "data/visium_mouse_muscle", image="derived_hires_pansharpened.jpg", image_scale="hires", species="mouse"
    )
    assert muscle.counts.shape == (982, 33217)
    assert np.median(np.asarray(muscle.counts.X.sum(axis=1))) == 4903
    assert muscle.mpp == pytest.approx(4.0, abs=0.05)
    assert muscle.pitch() == pytest.approx(25, abs=0.5)
    assert read(shared / "data/visium_mini_spaniel").counts.shape == (3352, 815)
    assert read(shared / "data/visium_cytassist_mouse_embryo").counts.shape == (2898, 19465)


@pytest.mark.data
def test_h5_and_mtx_of_one_sample_hold_the_same_counts(shared: Path, tmp_path: Path) -> None:
    source = shared / "data/visium_cytassist_mouse_embryo"
    packed = read(source)
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in ("spatial", "filtered_feature_bc_matrix"):
        (plain / name).symlink_to(source / name)
    other = read(plain)
    assert list(packed.genes) == list(other.genes)
    assert (sparse.csr_matrix(packed.counts.X) != sparse.csr_matrix(other.counts.X)).nnz == 0
