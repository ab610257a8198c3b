"""The liver of BLEEP, laid out as its authors did, and the recipe for it."""

import gzip
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from bleep.config import Config, DataConfig
from bleep.data.readers import read_sections
from bleep.data.section import Section
from bleep.data.toy import toy_section
from bleep.errors import DataError
from bleep.workflows.fit import fit
from bleep.workflows.tissue import load_split

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("spaceranger_files.py"))))
TOYS = {number: toy_section(f"toy{number}", "donor", 40 + number, side=256, pitch=32) for number in (1, 2, 3, 4)}


def read(root: Path, **more: object) -> dict[str, Section]:
    sections = read_sections(DataConfig.model_validate({"source": "liver", "root": root, **more}))
    return {section.name: section for section in sections}


def test_the_four_sections_read_to_the_tissue_they_were_written_from(tmp_path: Path) -> None:
    found = read(FILES.liver(TOYS, tmp_path))
    assert list(found) == ["A1", "B1", "C1", "D1"]
    for section, toy in zip(found.values(), TOYS.values(), strict=True):
        np.testing.assert_array_equal(sparse.csr_matrix(section.counts.X).toarray(), toy.counts.X.toarray())
        np.testing.assert_allclose(section.xy, toy.xy, atol=0.5)
        assert list(section.counts.obs_names) == list(toy.counts.obs_names)
        assert (section.patient, section.species) == ("C73", "human")


def test_rows_of_the_table_run_downwards_in_the_picture(tmp_path: Path) -> None:
    section = read(FILES.liver(TOYS, tmp_path), sections=["B1"])["B1"]
    table = pd.read_csv(tmp_path / "data/tissue_pos_matrices/tissue_positions_list_2.csv", header=None, index_col=0)
    spot = section.counts.obs_names[3]
    x, y = section.xy[3]
    assert x != y
    # The authors cut `picture[row - 112 : row + 112, column - 112 : column + 112]`.
    assert (y, x) == tuple(table.loc[spot, [4, 5]])
    cut = section.slide.region(int(x) - 8, int(y) - 8, 16, "white")
    toy = TOYS[2].slide.region(int(x) - 8, int(y) - 8, 16, "white")
    np.testing.assert_array_equal(cut, toy)


def test_the_scale_follows_from_the_pitch_of_visium_and_is_said_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "bleep")
    section = read(FILES.liver(TOYS, tmp_path), sections=["A1"])["A1"]
    assert section.mpp == pytest.approx(100 / section.pitch(), rel=0.05)
    assert "section A1" in caplog.text
    assert "microns per pixel of GEX_C73_A1_Merged.tif (from the pitch of 100 um)" in caplog.text
    assert read(tmp_path, mpp=0.3, sections=["A1"])["A1"].mpp == 0.3


@pytest.mark.parametrize("options", [{}, {"tile": (64, 64)}])
def test_pictures_may_be_named_as_geo_names_them(options: dict[str, object], tmp_path: Path) -> None:
    found = read(FILES.liver(TOYS, tmp_path, "GSM7697868_GEX_C73_{}_Merged.tiff", **options))
    shown = found["D1"].slide.region(0, 0, 256, "white")
    np.testing.assert_array_equal(shown, TOYS[4].slide.region(0, 0, 256, "white"))


def test_sections_that_were_not_fetched_are_not_read(tmp_path: Path) -> None:
    assert list(read(FILES.liver({1: TOYS[1], 3: TOYS[3]}, tmp_path))) == ["A1", "C1"]
    with pytest.raises(DataError, match="has no section 'B1'; found A1, C1"):
        read(tmp_path, sections=["B1"])


def test_a_picture_that_is_packed_or_missing_is_said(tmp_path: Path) -> None:
    path = FILES.liver(TOYS, tmp_path) / "image" / "GEX_C73_A1_Merged.tif"
    packed = path.with_suffix(".tif.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    with pytest.raises(DataError, match=r"A1_Merged\.tif\.gz: is packed, .*gunzip"):
        read(tmp_path)
    packed.unlink()
    with pytest.raises(DataError, match=r"has no picture of section A1; expected a file named .*GEX_C73_A1_Merged\.tif"):
        read(tmp_path)


def test_the_recipe_holds_out_a_section_and_says_that_it_is_of_the_same_patient(tmp_path: Path, repository: Path) -> None:
    config = Config.load(repository / "configs/visium-liver.yaml", {"data": {"root": str(FILES.liver(TOYS, tmp_path))}})
    split = load_split(config)
    assert [section.name for section in split.train] == ["A1", "B1", "D1"]
    assert [section.name for section in split.test] == ["C1"]
    assert (split.leak.status, split.leak.detail) == ("same patient", "other sections of patient C73 were trained on")


def test_a_tile_of_the_recipe_shows_what_bleep_cut(repository: Path) -> None:
    config = Config.load(repository / "configs/visium-liver.yaml")
    # Neighbouring spots of the published tables, (row, column) in pixels, lie 100 um apart.
    first, second = np.array([1791, 2239]), np.array([1792, 2568])
    mpp = 100 / np.linalg.norm(first - second)
    assert config.tiles.microns[0] == pytest.approx(224 * mpp, rel=0.005)
    assert config.tiles.pixels == 224


@pytest.mark.slow
def test_the_recipe_trains_on_a_small_copy(tmp_path: Path, repository: Path) -> None:
    root = FILES.liver(TOYS, tmp_path / "liver")
    small = {
        "data": {"root": str(root)},
        "tiles": {"pixels": 32},
        "panel": {"size": 10},
        "image": {"trunk": "test_resnet", "weights": "random", "layer": None},
        "optim": {"epochs": 2, "batch": 32},
        "out": str(tmp_path / "run"),
        "cache": str(tmp_path / "cache"),
    }
    run = fit(Config.load(repository / "configs/visium-liver.yaml", small))
    assert run.facts.leak.status == "same patient"
    assert 10 <= len(run.panel.genes) <= 30
    assert run.panel.sections == ("A1", "B1", "D1")
