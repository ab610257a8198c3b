"""The layout of HEST-1k, with a pyramidal TIFF, reads to the tissue it was written from."""

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from anndata import AnnData
from scipy import sparse

from bleep.config import DataConfig
from bleep.data.readers import has_form, read_sections
from bleep.data.section import Section
from bleep.data.slides import PyramidSlide
from bleep.data.toy import toy_section
from bleep.errors import DataError
from bleep.retrieval.reference.identity import annotated as spots_of

TOY = toy_section("toy", "donor", 3, side=512, pitch=64)
FACTS = {
    "dataset_title": "A study",
    "id": "T1",
    "patient": "Patient 1",
    "species": "Homo sapiens",
    "st_technology": "Visium",
    "pixel_size_um_embedded": 0.26,
    "pixel_size_um_estimated": 0.5,
}


def annotated() -> AnnData:
    """Return what stands in `st/`: a downscaled picture in uns, quality numbers in obs, `in_tissue` without a meaning."""
    return AnnData(
        X=sparse.csr_matrix(TOY.counts.X),
        obs=pd.DataFrame({"in_tissue": [0] * 9 + [1] * (len(TOY) - 9), "total_counts": 7.0}, index=TOY.counts.obs_names),
        var=pd.DataFrame({"mito": False}, index=TOY.genes),
        obsm={"spatial": TOY.xy.copy()},
        uns={
            "spatial": {
                "ST": {
                    "images": {"downscaled_fullres": np.zeros((64, 64, 3), np.uint8)},
                    "scalefactors": {"tissue_downscaled_fullres_scalef": 0.125, "spot_diameter_fullres": 30.0},
                }
            }
        },
    )


def write_pyramid(path: Path, pixels: np.ndarray, mpp: float | None = None) -> None:
    """Write a generic tiled TIFF of three levels."""
    told = {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"} if mpp else {}
    with tifffile.TiffWriter(path) as file:
        for level in (1, 2, 4):
            file.write(
                pixels[::level, ::level], tile=(128, 128), photometric="rgb", compression="deflate",
                subfiletype=int(level > 1), **(told if level == 1 else {}),
            )  # fmt: skip


def layout(root: Path, name: str = "T1", mpp: float | None = 0.5, **facts: object) -> Path:
    for folder in ("st", "wsis", "metadata"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    annotated().write_h5ad(root / "st" / f"{name}.h5ad")
    pixels = TOY.slide.region(0, 0, 512, "white").copy()
    if name != "T1":
        # No two sections have one picture.
        pixels[0, 0] = int(name[1:])
    write_pyramid(root / "wsis" / f"{name}.tif", pixels, mpp)
    (root / "metadata" / f"{name}.json").write_text(json.dumps({**FACTS, "id": name, **facts}))
    return root


def read(root: Path, **more: object) -> Section:
    (section,) = read_sections(DataConfig.model_validate({"source": "hest", "root": root, **more}))
    return section


def test_the_layout_reads_to_the_tissue_it_was_written_from(tmp_path: Path) -> None:
    section = read(layout(tmp_path))
    assert (section.name, section.patient, section.species, section.mpp) == ("T1", "A study: Patient 1", "human", 0.5)
    assert list(section.counts.obs_names) == list(TOY.counts.obs_names)
    np.testing.assert_array_equal(section.xy, TOY.xy)
    np.testing.assert_array_equal(sparse.csr_matrix(section.counts.X).toarray(), TOY.counts.X.toarray())
    assert isinstance(section.slide, PyramidSlide)
    assert len(section.slide.levels) == 3
    np.testing.assert_array_equal(section.slide.region(-9, 40, 200, "white"), TOY.slide.region(-9, 40, 200, "white"))


def test_the_estimated_pixel_size_is_taken_and_a_slide_that_disagrees_is_said_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read(layout(tmp_path, mpp=0.26)).mpp == 0.5
    assert "the metadata say 0.5000 microns per pixel, the slide's file 0.2600; the first is taken" in caplog.text
    assert read(tmp_path, mpp=0.7).mpp == 0.7


@pytest.mark.parametrize("stated", [None, float("nan"), 0, "half"])
def test_without_an_estimate_the_slide_says_its_scale(stated: object, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read(layout(tmp_path, mpp=0.25, pixel_size_um_estimated=stated)).mpp == pytest.approx(0.25, rel=1e-3)
    assert "the metadata do not say the scale" in caplog.text


def test_without_either_the_scale_is_asked_for(tmp_path: Path) -> None:
    root = layout(tmp_path, mpp=None, pixel_size_um_estimated=None)
    with pytest.raises(DataError, match=r"pixel_size_um_estimated in its metadata is None.*set data\.mpp"):
        read(root)
    assert read(root, mpp=0.4).mpp == 0.4


def test_patients_of_different_studies_are_different_patients(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    layout(tmp_path, "T1")
    layout(tmp_path, "T2", dataset_title="Another study")
    layout(tmp_path, "T3", patient=None)
    layout(tmp_path, "T4")
    sections = read_sections(DataConfig(source="hest", root=tmp_path, patients={"T4": "mine"}))
    assert [s.patient for s in sections] == ["A study: Patient 1", "Another study: Patient 1", "T3", "mine"]
    assert "section T3: the metadata name no patient" in caplog.text


def test_the_organ_is_a_column_of_the_spots_that_answer(tmp_path: Path) -> None:
    named = read(layout(tmp_path / "named", organ="Liver"))
    bare = read(layout(tmp_path / "bare"))
    assert set(spots_of(named)["organ"]) == {"Liver"}
    assert "organ" not in spots_of(bare)
    assert named.digest() == bare.digest()


def test_species_come_from_the_metadata_and_may_not_contradict_the_recipe(tmp_path: Path) -> None:
    root = layout(tmp_path, species="Mus musculus")
    assert read(root).species == read(root, species="mouse").species == "mouse"
    with pytest.raises(DataError, match=r"its metadata say Mus musculus, but data\.species is human"):
        read(root, species="human")
    layout(tmp_path, "T2")
    with pytest.raises(DataError, match="several species"):
        read_sections(DataConfig(source="hest", root=root))


def test_the_table_of_the_collection_stands_in_for_a_file_of_metadata(tmp_path: Path) -> None:
    root = layout(tmp_path)
    (root / "metadata" / "T1.json").unlink()
    with pytest.raises(DataError, match=r"T1\.json: no such file"):
        read(root)
    pd.DataFrame([{**FACTS, "patient": None}]).to_csv(root / "HEST_v1_1_0.csv", index=False)
    section = read(root)
    assert (section.patient, section.species, section.mpp) == ("T1", "human", 0.5)
    for patient in (7, 7.0, " 7 "):
        pd.DataFrame([{**FACTS, "patient": patient}]).to_csv(root / "HEST_v1_1_0.csv", index=False)
        assert read(root).patient == "A study: 7"
    pd.DataFrame([{**FACTS, "id": "T9"}]).to_csv(root / "HEST_v1_1_0.csv", index=False)
    with pytest.raises(DataError, match=r"HEST_v1_1_0\.csv has no line for T1"):
        read(root)


def test_a_few_spots_beyond_the_slide_are_left_out_and_many_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, path = layout(tmp_path), tmp_path / "st" / "T1.h5ad"
    data = annotated()
    data.obsm["spatial"][:2, 0] += 1000
    data.write_h5ad(path)
    section = read(root)
    assert list(section.counts.obs_names) == list(TOY.counts.obs_names[2:])
    np.testing.assert_array_equal(section.xy, TOY.xy[2:])
    assert f"left out 2 of {len(TOY)} spots, whose centre lies outside the slide" in caplog.text
    data.obsm["spatial"][:20, 0] += 1000
    data.write_h5ad(path)
    with pytest.raises(DataError, match=f"20 of {len(TOY)} spots lie outside the slide of 512 x 512"):
        read(root)


def test_controls_of_xenium_are_no_genes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = layout(tmp_path)
    data = annotated()
    data.var_names = [*TOY.genes[:-3], "BLANK_0006", "NegControlProbe_00042", "antisense_LY6E"]
    data.write_h5ad(root / "st" / "T1.h5ad")
    with caplog.at_level(logging.INFO):
        assert list(read(root).genes) == list(TOY.genes[:-3])
    assert "left out 3 features that are controls, not genes" in caplog.text


def test_sections_asked_for_are_read_alone(tmp_path: Path) -> None:
    layout(tmp_path, "T1")
    layout(tmp_path, "T2")
    (tmp_path / "wsis" / "T1.tif").unlink()
    assert read(tmp_path, sections=["T2"]).name == "T2"
    with pytest.raises(DataError, match="has no section 'T7'; found T1, T2"):
        read(tmp_path, sections=["T7"])


def test_the_folder_is_known_by_its_form(tmp_path: Path) -> None:
    root = layout(tmp_path / "in")
    (tmp_path / "empty").mkdir()
    assert has_form(root, "hest")
    assert not has_form(tmp_path / "empty", "hest")
