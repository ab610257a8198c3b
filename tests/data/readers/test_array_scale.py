"""A scale that the array of spots contradicts is told; arrays of other makers, or none, contradict nothing."""

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bleep.config import Config, DataConfig
from bleep.data.array_scale import mpp_by_array, pitch_of
from bleep.data.qc import Finding, alone, measure
from bleep.data.readers import read_sections
from bleep.data.section import Section
from bleep.data.tiles import TileSpec

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("form_files.py"))))
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
