"""Spots of few counts, and those named, are left out as sections are read."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bleep.config import DataConfig
from bleep.data.section import Section, without_spots
from bleep.errors import BleepError


def _totals(section: Section) -> np.ndarray:
    return np.asarray(section.counts.X.sum(axis=1)).ravel()


def test_spots_of_few_counts_go_and_their_number_is_said(toys: tuple[Section, ...], caplog: pytest.LogCaptureFixture) -> None:
    least = float(np.median(_totals(toys[0])))
    with caplog.at_level(logging.WARNING):
        kept, *_ = without_spots(toys, DataConfig(min_counts=least))
    assert (_totals(kept) >= least).all()
    assert len(kept) == (_totals(toys[0]) >= least).sum() < len(toys[0])
    assert f"section toy1: {len(toys[0]) - len(kept)} of {len(toys[0])} spots are left out" in caplog.text
    assert f"of fewer than {least:g} counts" in caplog.text


def test_named_spots_go_from_their_own_section_alone(toys: tuple[Section, ...], tmp_path: Path) -> None:
    first, second = toys[0].counts.obs_names[:2]
    table = tmp_path / "outliers.csv"
    table.write_text(f"section,spot,measure\ntoy1,{first},total\ntoy1,{first},seen\n", encoding="utf-8")
    kept, other, *_ = without_spots(toys, DataConfig(drop=(str(table), f"toy1/{second}")))
    assert list(kept.counts.obs_names) == list(toys[0].counts.obs_names[2:])
    np.testing.assert_array_equal(kept.xy, toys[0].xy[2:])
    assert other is toys[1]


def test_without_a_rule_sections_are_the_same_objects(toys: tuple[Section, ...]) -> None:
    assert without_spots(toys, DataConfig()) is toys


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"drop": ("toy9/1",)}, "section 'toy9', which is not there; found toy1"),
        ({"drop": ("toy1/nowhere",)}, "spot 'nowhere' of section toy1, which it has not, such as"),
        ({"drop": ("toy1",)}, "expected SECTION/SPOT"),
        ({"drop": ("missing.csv",)}, "cannot be read as a table of spots"),
        ({"min_counts": 1e9}, "none of its .* spots is left"),
    ],
)
def test_what_cannot_be_left_out_is_told_in_a_sentence(settings: dict[str, Any], words: str, toys: tuple[Section, ...]) -> None:
    with pytest.raises(BleepError, match=words):
        without_spots(toys, DataConfig(**settings))
