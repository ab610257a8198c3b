"""A scale that the array of spots contradicts is told; arrays of other makers, or none, contradict nothing."""

import logging
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bleep.config import Config, DataConfig
from bleep.data.array_scale import check_arrays, mpp_by_array, pitch_of
from bleep.data.qc import Finding, alone, measure
from bleep.data.readers import read_sections
from bleep.data.section import Section
from bleep.data.tiles import TileSpec
from bleep.data.toy import toy_section
from bleep.errors import DataError
from bleep.runs import Run, SectionFacts
from bleep.workflows.query import open_tiles, read_measured

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("form_files.py"))))
HD = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("spaceranger_files.py"))))
RIGHT = 5.0
"""The array of the made-up tissue has 20 pixels from spot to spot."""


def read(form: str, root: Path, **more: object) -> Section:
    (section,) = read_sections(DataConfig.model_validate({"source": form, "root": root, **more}))
    return section


def found(section: Section, form: str) -> list[Finding]:
    settings = Config.model_validate({"data": {"source": form}, "tiles": {"pixels": 32, "microns": [100.0]}})
    return [one for one in alone(measure(section, TileSpec(32, (100.0,))), settings) if one.kind == "scale"]


@pytest.mark.parametrize("form", ["visium", "h5ad", "spatialdata"])
def test_the_scale_of_another_picture_is_an_error_with_the_right_way_out(form: str, tmp_path: Path) -> None:
    """The nearest of several pitches was meant once, so that 8 um bins were seen in spots read at a twelfth of their scale."""
    section = read(form, FILES.FORMS[form](FILES.tissue(), tmp_path), mpp=RIGHT)
    assert found(section, form) == []
    for mpp in (0.4, 0.8, 1.25):
        (finding,) = found(replace(section, mpp=mpp), form)
        assert (finding.severity, "it is 100 um; set data.mpp to about 5," in finding.message) == ("error", True)


def test_bins_are_as_wide_as_they_are_called(tmp_path: Path) -> None:
    toy = toy_section("toy", "donor", 3, side=256, pitch=32)
    section = read("visium", HD.visium_hd({8: toy}, tmp_path / "sample"), bin=8, mpp=0.25)
    assert found(section, "visium") == []
    (finding,) = found(replace(section, mpp=0.5), "visium")
    assert "it is 8 um; set data.mpp to about 0.25" in finding.message


def test_a_honeycomb_is_known_without_rows_and_columns_and_other_places_are_none(tmp_path: Path) -> None:
    of = FILES.tissue()
    spots = of.spots.assign(array_row=0, array_col=0)
    known = read("h5ad", FILES.h5ad(FILES.Tissue(spots, of.counts), tmp_path / "honeycomb"), mpp=1.0)
    assert mpp_by_array(known) == pytest.approx(RIGHT, rel=1e-3)
    places = np.random.default_rng(0).uniform(20, 220, (100, 2))
    row, column = np.divmod(np.arange(100), 10)
    square = np.stack([30.0 + 20 * column, 30.0 + 20 * row], axis=1)
    for name, xy in {"cells": places, "square": square}.items():
        other = FILES.Tissue(spots.assign(x=xy[:, 0], y=xy[:, 1]), of.counts)
        section = read("h5ad", FILES.h5ad(other, tmp_path / name), mpp=1.0)
        assert (mpp_by_array(section), pitch_of(section), found(section, "h5ad")) == (None, 0.0, [])


def on_scale(form: str, root: Path, pixels: float) -> Section:
    """Read the tissue with `pixels` from spot to spot, at a `data.mpp` that is right where these are 20."""
    of = FILES.tissue()
    spots = of.spots.assign(x=of.spots["x"] * pixels / 20, y=of.spots["y"] * pixels / 20)
    return read(form, FILES.FORMS[form](FILES.Tissue(spots, of.counts), root), mpp=RIGHT)


def test_one_scale_for_two_pictures_is_refused_and_a_wrong_one_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fine = replace(on_scale("h5ad", tmp_path / "fine", 20), name="fine")
    coarse = replace(on_scale("visium", tmp_path / "coarse", 5), name="coarse")
    with pytest.raises(DataError, match=r"section coarse: data.mpp is 5 .* says 20 .* section fine 5: .* leave data.mpp out"):
        check_arrays([fine, coarse], RIGHT)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        check_arrays([fine, replace(coarse, mpp=20.0)], None)
        assert caplog.messages == []
        check_arrays([coarse, replace(coarse, name="other")], RIGHT)
    (told,) = caplog.messages
    assert "coarse (and 1 more): at 5 microns per pixel the spots lie 25 um apart" in told
    assert "set data.mpp to about 20" in told


@pytest.mark.parametrize("trained_at", [None, 100.0, 50.0])
def test_a_query_and_an_addition_go_by_the_array(
    trained_at: float | None, trained: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The array is read as that of the training tissue was, which may have had another pitch; runs of old did not note it."""
    root = FILES.h5ad(FILES.tissue(), tmp_path)
    before = Run.load(trained["contrastive"])

    def run(mpp: float) -> Run:
        config = Config.load(before.config.dump(), {"data": {"source": "h5ad", "mpp": mpp}, "cache": str(tmp_path / "cache")})
        facts = tuple(replace(one, pitch=trained_at or 0.0) for one in before.facts.train)
        return replace(before, config=config, facts=replace(before.facts, train=facts))

    wanted = (trained_at or 100.0) / 20
    for section in (*open_tiles(root, run(1.25)).sections, *read_measured(run(1.25), root)):
        assert section.mpp == pytest.approx(wanted, rel=1e-3)
    assert "its spots lie 25 um apart" in caplog.text
    caplog.clear()
    assert open_tiles(root, run(wanted * 1.01)).sections[0].mpp == pytest.approx(wanted * 1.01)
    assert "are taken" not in caplog.text
    assert open_tiles(root, run(1.25), mpp=3.0).sections[0].mpp == 3.0
    assert "set --mpp to about 5" in caplog.text


def test_a_run_notes_the_array_of_its_tissue(tmp_path: Path) -> None:
    assert SectionFacts.of(on_scale("h5ad", tmp_path, 20)).pitch == pytest.approx(100.0, rel=1e-3)
