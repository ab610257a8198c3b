"""AnnData files by scanpy's convention read to the tissue they were written from."""

import inspect
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, concat, read_h5ad
from scipy import sparse

from bleep.config import DataConfig
from bleep.data.labels import labels_of, one_hot
from bleep.data.readers import has_form, read_sections
from bleep.data.readers.h5ad import from_anndata
from bleep.data.readers.lattice import mpp_by_array
from bleep.data.section import Section
from bleep.data.slides import ArraySlide, PictureSlide, pixels_of, save_png
from bleep.data.toy import toy_section
from bleep.errors import ConfigError, DataError

TOY = toy_section("toy", "donor", 3, side=256, pitch=32)
HIRES, LOWRES = 0.25, 0.125
"""The toy slide stands for the hires picture of a full-resolution one four times as large."""


def annotated(library: str = "V1", toy: Section = TOY) -> AnnData:
    """Return a section as `scanpy.read_visium` would: positions at full resolution, two pictures, ids beside symbols."""
    picture = toy.slide.region(0, 0, 256, "white")
    return AnnData(
        X=sparse.csr_matrix(toy.counts.X),
        obs=pd.DataFrame({"in_tissue": 1}, index=toy.counts.obs_names),
        var=pd.DataFrame(
            {"gene_ids": [f"ENSG{number:011d}" for number in range(len(toy.genes))], "feature_types": "Gene Expression"},
            index=toy.genes,
        ),
        obsm={"spatial": toy.xy / HIRES},
        uns={
            "spatial": {
                library: {
                    "images": {"hires": picture.astype(np.float32) / 255, "lowres": picture[::2, ::2]},
                    "scalefactors": {
                        "tissue_hires_scalef": HIRES,
                        "tissue_lowres_scalef": LOWRES,
                        "spot_diameter_fullres": 60.0,
                    },
                    "metadata": {"chemistry_description": "Spatial 3' v1"},
                }
            }
        },
    )


def honeycomb(data: AnnData, pitch: float = 96.0) -> AnnData:
    """Give the spots places as on a Visium slide, `pitch` full-resolution pixels apart."""
    row, column = np.divmod(np.arange(data.n_obs), 7)
    places = np.stack([(column + 0.5 * (row % 2)) * pitch, row * pitch * np.sqrt(0.75)], axis=1) + 40
    data.obsm["spatial"] = places
    return data


def write(data: AnnData, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data.write_h5ad(path)
    return path


def read(root: Path, **more: object) -> Section:
    (section,) = read_sections(DataConfig.model_validate({"source": "h5ad", "root": root, "mpp": 1.0, **more}))
    return section


def dense(section: Section) -> np.ndarray:
    return sparse.csr_matrix(section.counts.X).toarray()


@pytest.mark.parametrize("folder", [False, True])
def test_a_file_or_a_folder_of_one_reads_to_the_tissue_it_was_written_from(folder: bool, tmp_path: Path) -> None:
    path = write(annotated(), tmp_path / "in" / "sample.h5ad")
    section = read(path.parent if folder else path)
    assert section.name == section.patient == "sample"
    assert list(section.counts.obs_names) == list(TOY.counts.obs_names)
    np.testing.assert_allclose(section.xy, TOY.xy)
    np.testing.assert_array_equal(dense(section), TOY.counts.X.toarray())
    assert isinstance(section.slide, ArraySlide)
    np.testing.assert_array_equal(section.slide.region(0, 0, 256, "white"), TOY.slide.region(0, 0, 256, "white"))


def test_several_files_are_several_sections_in_the_order_asked_for(tmp_path: Path) -> None:
    for name in "abc":
        own = annotated()
        own.uns["spatial"]["V1"]["images"]["hires"][0, 0] = ord(name) / 255
        write(own, tmp_path / name / f"{name}.h5ad")
    data = DataConfig(source="h5ad", root=tmp_path, mpp=1.0)
    assert [section.name for section in read_sections(data)] == ["a", "b", "c"]
    asked = data.model_copy(update={"sections": ("c", "a"), "patients": {"c": "donor"}})
    assert [(section.name, section.patient) for section in read_sections(asked)] == [("c", "donor"), ("a", "a")]


def test_controls_of_xenium_are_no_genes_where_no_column_says_what_a_feature_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = annotated()
    data.var_names = [*TOY.genes[:-3], "BLANK_0006", "NegControlProbe_00042", "UnassignedCodeword_0001"]
    with caplog.at_level(logging.INFO):
        assert list(read(write(data, tmp_path / "a.h5ad")).genes) == list(TOY.genes[:-3])
    assert "left out 3 features that are controls, not genes" in caplog.text


def test_lowres_is_taken_where_there_is_no_hires(tmp_path: Path) -> None:
    data = annotated()
    del data.uns["spatial"]["V1"]["images"]["hires"]
    section = read(write(data, tmp_path / "a.h5ad"))
    assert section.slide.size == (128, 128)
    np.testing.assert_allclose(section.xy, TOY.xy / 2)


@pytest.mark.parametrize(("scale", "factor"), [("full", 1.0), ("hires", HIRES), ("lowres", LOWRES)])
def test_a_named_picture_is_seen_from_the_file_and_has_the_scale_that_is_given(
    scale: str, factor: float, tmp_path: Path
) -> None:
    side = int(1024 * factor)
    save_png(np.full((side, side, 3), 90, np.uint8), tmp_path / "slide.png")
    data = annotated()
    data.uns["spatial"]["V1"]["scalefactors"]["microns_per_pixel"] = 0.5
    section = read(write(data, tmp_path / "a.h5ad"), image="slide.png", image_scale=scale, mpp=None)
    assert isinstance(section.slide, PictureSlide)
    np.testing.assert_allclose(section.xy, TOY.xy / HIRES * factor)
    assert section.mpp == pytest.approx(0.5 / factor)


def test_a_full_picture_needs_no_library_in_uns(tmp_path: Path) -> None:
    save_png(np.full((1024, 1024, 3), 90, np.uint8), tmp_path / "slide.png")
    data = annotated()
    data.uns.clear()
    np.testing.assert_allclose(read(write(data, tmp_path / "a.h5ad"), image="slide.png").xy, TOY.xy / HIRES)


def test_one_named_picture_for_two_sections_is_refused_and_a_name_in_its_path_helps(tmp_path: Path) -> None:
    for name in "ab":
        write(annotated(), tmp_path / f"{name}.h5ad")
        save_png(np.full((1024, 1024, 3), ord(name), np.uint8), tmp_path / f"{name}.png")
    asked = {"source": "h5ad", "root": tmp_path, "mpp": 1.0}
    with pytest.raises(DataError, match="the same picture for sections 'a' and 'b'"):
        read_sections(DataConfig.model_validate({**asked, "image": "a.png"}))
    found = read_sections(DataConfig.model_validate({**asked, "image": "{name}.png"}))
    assert [int(section.slide.region(0, 0, 1, "white")[0, 0, 0]) for section in found] == [ord("a"), ord("b")]


def test_the_scale_follows_from_the_pitch_of_a_visium_slide(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        section = read(write(honeycomb(annotated(), 96.0), tmp_path / "a.h5ad"), mpp=None)
    assert section.mpp == pytest.approx(100 / (96 * HIRES))
    assert "100 microns apart on a Visium slide" in caplog.text


def test_spots_in_squares_do_not_give_the_scale(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"do not stand as on a Visium slide; set data\.mpp"):
        read(write(annotated(), tmp_path / "a.h5ad"), mpp=None)


def test_a_stated_scale_wins_over_the_pitch_and_a_given_one_over_both(tmp_path: Path) -> None:
    data = honeycomb(annotated())
    data.uns["spatial"]["V1"]["scalefactors"]["microns_per_pixel"] = 0.3
    path = write(data, tmp_path / "a.h5ad")
    assert read(path, mpp=None).mpp == pytest.approx(0.3 / HIRES)
    assert read(path, mpp=0.7).mpp == 0.7


def _logged(data: AnnData) -> AnnData:
    data.X = sparse.csr_matrix(np.log1p(data.X.toarray()))
    return data


def test_counts_come_from_the_layer_then_from_whole_numbers_in_raw_then_from_x(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = TOY.counts.X.toarray()
    layered = _logged(annotated())
    layered.layers["counts"] = sparse.csr_matrix(whole)
    layered.raw = annotated()
    kept = annotated()
    raw = annotated()
    raw.raw = kept
    raw = _logged(raw[:, :20].copy())
    logged_raw = annotated()
    logged_raw.raw = _logged(annotated())
    for data, where in ((layered, "layers['counts']"), (raw, "raw.X"), (logged_raw, "X"), (annotated(), "X")):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            section = read(write(data, tmp_path / "a.h5ad"))
        assert f"counts from {where}, {len(TOY)} spots x 60 genes" in caplog.text
        np.testing.assert_array_equal(dense(section), whole)
        assert "whole numbers" not in caplog.text


def test_values_that_are_no_counts_are_read_and_said_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    section = read(write(_logged(annotated()), tmp_path / "a.h5ad"))
    np.testing.assert_allclose(dense(section), np.log1p(TOY.counts.X.toarray()), rtol=1e-6)
    assert "X does not hold whole numbers" in caplog.text


def test_dense_counts_and_64_bit_numbers_are_read_alike(tmp_path: Path) -> None:
    data = annotated()
    data.X = data.X.toarray().astype(np.int64)
    section = read(write(data, tmp_path / "a.h5ad"))
    np.testing.assert_array_equal(dense(section), TOY.counts.X.toarray())


def test_names_are_made_unique_and_ids_kept_beside_symbols(tmp_path: Path) -> None:
    data = annotated()
    data.var_names = [*TOY.genes[:-1], TOY.genes[0]]
    section = read(write(data, tmp_path / "a.h5ad"))
    assert list(section.genes[[0, -1]]) == ["TOY01", "TOY01-1"]
    assert list(section.counts.var["symbol"].iloc[[0, -1]]) == ["TOY01", "TOY01"]
    assert section.counts.var["gene_id"].iloc[1] == "ENSG00000000001"


def test_ensembl_ids_as_names_are_known_for_ids(tmp_path: Path) -> None:
    data = annotated()
    data.var = pd.DataFrame({"feature_name": list(TOY.genes)}, index=list(data.var["gene_ids"]))
    section = read(write(data, tmp_path / "a.h5ad"))
    assert list(section.counts.var["gene_id"]) == list(section.genes)
    assert list(section.counts.var["symbol"]) == list(TOY.genes)


def test_features_that_are_no_genes_are_left_out(tmp_path: Path) -> None:
    data = annotated()
    data.var["feature_types"] = ["Gene Expression"] * 58 + ["Antibody Capture"] * 2
    assert list(read(write(data, tmp_path / "a.h5ad")).genes) == list(TOY.genes[:58])


@pytest.mark.parametrize("kind", [int, bool, str])
def test_spots_beside_the_tissue_are_left_out(kind: type, tmp_path: Path) -> None:
    data = annotated()
    data.obs["in_tissue"] = [kind(value) for value in ([0] * 5 + [1] * (len(TOY) - 5))]
    section = read(write(data, tmp_path / "a.h5ad"))
    assert list(section.counts.obs_names) == list(TOY.counts.obs_names[5:])
    np.testing.assert_allclose(section.xy, TOY.xy[5:])


def test_libraries_in_one_file_are_sections_each_with_its_own_picture(tmp_path: Path) -> None:
    other = toy_section("other", "donor", 4, side=256, pitch=32)
    joined = concat(
        {"V1": annotated("V1"), "V2": annotated("V2", other)}, label="library_id", uns_merge="unique", index_unique="-"
    )
    joined.obs["patient"] = ["p1"] * len(TOY) + ["p2"] * len(other)
    path = write(joined, tmp_path / "both.h5ad")
    first, second = read_sections(DataConfig(source="h5ad", root=path, mpp=1.0))
    assert [(s.name, s.patient, len(s)) for s in (first, second)] == [("V1", "p1", len(TOY)), ("V2", "p2", len(other))]
    np.testing.assert_allclose(second.xy, other.xy)
    np.testing.assert_array_equal(second.slide.region(0, 0, 256, "white"), other.slide.region(0, 0, 256, "white"))
    assert read(path, sections=["V2"]).digest() == second.digest()


def test_a_subset_of_libraries_that_keeps_the_pictures_of_all_has_the_sections_it_has_spots_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts = {"V1": annotated("V1"), "V2": annotated("V2", toy_section("other", "donor", 4, side=256, pitch=32))}
    joined = concat(parts, label="library_id", uns_merge="unique", index_unique="-")
    kept = joined[joined.obs["library_id"] == "V2"]
    (section,) = from_anndata(kept, mpp=1.0)
    assert (section.name, list(section.counts.obs_names)) == ("V2", list(kept.obs_names))
    path = write(kept.copy(), tmp_path / "one.h5ad")
    assert read(path).digest() == section.digest()
    assert "left out section V1: its picture is there, and none of its spots" in caplog.text
    with pytest.raises(DataError, match="no spot is of library 'V1'"):
        read(path, sections=["V1"])
    del joined.uns["spatial"]["V1"]
    caplog.clear()
    assert len(from_anndata(joined, mpp=1.0)[0]) == len(kept)
    assert f"{len(kept)} of {len(joined)} spots, those with obs['library_id'] = V2" in caplog.text


def test_a_patient_in_obs_counts_and_data_patients_wins(tmp_path: Path) -> None:
    data = annotated()
    data.obs["donor_id"] = "D7"
    path = write(data, tmp_path / "a.h5ad")
    assert read(path).patient == "D7"
    assert read(path, patients={"a": "mine"}).patient == "mine"


@pytest.mark.parametrize("said", [1, 1.0, "1", " 1 ", [1.0, np.nan]])
def test_a_patient_and_a_class_are_the_same_however_their_column_is_typed(said: Any, tmp_path: Path) -> None:
    data = annotated()
    data.obs["patient"] = data.obs["kind"] = [said[row % 2] for row in range(len(TOY))] if isinstance(said, list) else said
    section = read(write(data, tmp_path / "a.h5ad"), label="kind")
    assert section.patient == "1"
    assert set(labels_of(section, "kind")) - {""} == {"1"}
    assert one_hot([section], "kind", ("0", "1")).sum(axis=0).tolist() == [
        0,
        (len(TOY) + 1) // 2 if isinstance(said, list) else len(TOY),
    ]
    # Classes as version 0.1 wrote those of a column of fractions.
    assert np.array_equal(one_hot([section], "kind", ("0.0", "1.0")), one_hot([section], "kind", ("0", "1")))


@pytest.mark.parametrize("nothing", ["", " ", np.nan])
def test_an_empty_patient_is_none(nothing: Any, tmp_path: Path) -> None:
    data = annotated()
    data.obs["patient"] = nothing
    assert read(write(data, tmp_path / "a.h5ad")).patient == "a"
    data.obs["donor_id"] = "D7"
    assert read(write(data, tmp_path / "a.h5ad")).patient == "D7"


def test_pictures_of_bytes_of_shares_and_with_alpha_show_the_same(tmp_path: Path) -> None:
    shown = []
    for change in (lambda p: p, lambda p: np.rint(p * 255).astype(np.uint8), lambda p: np.dstack([p, np.ones(p.shape[:2])])):
        data = annotated()
        images = data.uns["spatial"]["V1"]["images"]
        images["hires"] = change(images["hires"])
        shown.append(read(write(data, tmp_path / "a.h5ad")).slide.digest())
    assert len(set(shown)) == 1


def test_a_file_and_a_folder_are_known_by_their_form(tmp_path: Path) -> None:
    path = write(annotated(), tmp_path / "in" / "a.h5ad")
    (tmp_path / "empty").mkdir()
    assert has_form(path, "h5ad")
    assert has_form(path.parent, "h5ad")
    assert not has_form(tmp_path / "empty", "h5ad")
    assert not has_form(path, "visium")


def _unequal(data: AnnData) -> None:
    data.obs["library_id"] = ["V1x"] * 5 + ["V2x"] * (len(TOY) - 5)


def _two_patients(data: AnnData) -> None:
    data.obs["patient"] = ["p1"] * 5 + ["p2"] * (len(TOY) - 5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_unequal, r"names 2 samples \(V1x, V2x\), but uns\['spatial'\] holds no picture of these names; keep each there"),
        (_two_patients, "names 'p1' and 'p2'; name one patient in data.patients"),
    ],
)
def test_what_contradicts_itself_is_refused(change: Any, words: str, tmp_path: Path) -> None:
    data = annotated()
    change(data)
    with pytest.raises(DataError, match=words):
        read(write(data, tmp_path / "a.h5ad"))


def test_two_libraries_that_no_column_tells_apart_are_refused(tmp_path: Path) -> None:
    data = annotated()
    data.uns["spatial"]["V2"] = data.uns["spatial"]["V1"]
    with pytest.raises(DataError, match="holds several libraries, but no column of obs"):
        read_sections(DataConfig(source="h5ad", root=write(data, tmp_path / "a.h5ad"), mpp=1.0))


def test_a_file_without_a_name_of_its_own_is_refused(tmp_path: Path) -> None:
    for folder in "ab":
        write(annotated(), tmp_path / folder / "adata.h5ad")
    with pytest.raises(DataError, match="section 'adata' is found more than once"):
        read_sections(DataConfig(source="h5ad", root=tmp_path, mpp=1.0))


@pytest.mark.data
def test_a_honeycomb_is_told_from_squares_on_real_slides(shared: Path) -> None:
    for name in ("visium_mini_spaniel", "visium_cytassist_mouse_embryo"):
        (section,) = read_sections(DataConfig(source="visium", root=shared / "data" / name))
        assert mpp_by_array(name, section.xy, section.counts.obs) == pytest.approx(section.mpp, rel=0.01)
    for form, name in (("her2st", "her2st"), ("st2k", "mob_st2k")):
        for section in read_sections(DataConfig.model_validate({"source": form, "root": shared / "data" / name})):
            with pytest.raises(DataError, match="do not stand as on a Visium slide"):
                mpp_by_array(section.name, section.xy, section.counts.obs)


@pytest.mark.data
def test_a_real_slide_written_by_the_convention_reads_as_by_the_reader_of_space_ranger(shared: Path, tmp_path: Path) -> None:
    root = shared / "data" / "visium_mini_spaniel"
    (section,) = read_sections(DataConfig(source="visium", root=root))
    (folder,) = {path.parent for path in root.rglob("scalefactors_json.json")}
    factors = json.loads((folder / "scalefactors_json.json").read_text())
    assert isinstance(section.slide, PictureSlide)
    kind = "hires" if "hires" in section.slide.path.name else "lowres"
    data = AnnData(
        section.counts.X,
        pd.DataFrame(index=section.counts.obs_names),
        section.counts.var.rename(columns={"gene_id": "gene_ids"}),
        obsm={"spatial": section.xy / factors[f"tissue_{kind}_scalef"]},
        uns={"spatial": {"S": {"images": {kind: pixels_of(section.slide.path)}, "scalefactors": factors}}},
    )
    again = read(write(data, tmp_path / "spaniel.h5ad"), mpp=None)
    np.testing.assert_allclose(again.xy, section.xy)
    assert again.mpp == pytest.approx(section.mpp, rel=0.01)
    assert list(again.genes) == list(section.genes)
    pd.testing.assert_frame_equal(again.counts.var[["symbol", "gene_id"]], section.counts.var[["symbol", "gene_id"]])
    assert (sparse.csr_matrix(again.counts.X) != sparse.csr_matrix(section.counts.X)).nnz == 0
    np.testing.assert_array_equal(again.slide.region(100, 100, 300, "white"), section.slide.region(100, 100, 300, "white"))


def test_an_annotated_table_in_memory_is_what_its_file_would_be(tmp_path: Path) -> None:
    held = annotated()
    before = held.obs.copy(), held.uns["spatial"]["V1"]["images"]["hires"].copy()
    held.write_h5ad(tmp_path / "S1.h5ad")
    (from_file,) = read_sections(DataConfig(source="h5ad", root=tmp_path, mpp=1.0, species="human", patients={"S1": "P1"}))
    (in_memory,) = from_anndata(held, "S1", patient="P1", species="human", mpp=1.0)
    assert in_memory.digest() == from_file.digest()
    assert (in_memory.name, in_memory.patient, in_memory.species, in_memory.mpp) == ("S1", "P1", "human", from_file.mpp)
    pd.testing.assert_frame_equal(held.obs, before[0])
    np.testing.assert_array_equal(held.uns["spatial"]["V1"]["images"]["hires"], before[1])


def test_what_is_wrong_with_a_table_in_memory_is_told_by_its_name() -> None:
    bare = annotated()
    del bare.uns["spatial"]
    with pytest.raises(DataError, match=r"mine: uns.*no picture of section mine"):
        from_anndata(bare, "mine", mpp=1.0)
    with pytest.raises(ConfigError, match=r"data\.speces"):
        from_anndata(annotated(), "mine", speces="human")
    with pytest.raises(DataError, match="mine: holds no spots"):
        from_anndata(annotated()[:0], "mine")


def test_a_path_and_a_backed_file_are_no_anndata_in_memory(tmp_path: Path) -> None:
    path = write(annotated(), tmp_path / "a.h5ad")
    with pytest.raises(DataError, match=r"mine: is a \w+Path, no AnnData; read a file by anndata.read_h5ad first"):
        inspect.unwrap(from_anndata)(path, "mine")
    held = read_h5ad(path, backed="r")
    with pytest.raises(DataError, match=r"mine: is an AnnData backed by a file; give what its to_memory\(\) returns"):
        from_anndata(held, "mine", mpp=1.0)
    held.file.close()
