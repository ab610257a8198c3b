"""Finished blocks of a query: kept whole, read back as they were, and never taken for those of another query."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bleep.data.prediction import Prediction
from bleep.errors import DataError, MismatchError
from bleep.predictors.io import Parts
from bleep.records import Neighbors

KEY = {"run": "a", "set of tiles": "b"}


def block(number: int) -> Prediction:
    rng = np.random.default_rng(number)
    spots = pd.DataFrame(
        {"section": "s", "spot": ["x", "y"], "patient": "p", "x": [1.0, 2.0], "y": [0.5, 0.25]},
        index=pd.Index([f"s/{number}x", f"s/{number}y"], name="id"),
    )
    values = rng.normal(size=(3, 2, 3)).astype(np.float32)
    found = Neighbors(values[2], rng.integers(0, 9, (2, 3)))
    made = Prediction(
        values[0], spots, ("A", "B", "C"), "log1p", "made up", spread=values[1], neighbors=found, weights=values[2] / 2
    )
    picture = {"images": {"hires": rng.integers(0, 255, (4, 5, 3), dtype=np.uint8)}, "scalefactors": {"scale": 0.1}}
    return made.replaced(uns=made.adata.uns | {"spatial": {"s": picture}})


def same(one: Prediction, other: Prediction) -> None:
    here, there = one.adata, other.adata
    pd.testing.assert_frame_equal(here.obs, there.obs)
    pd.testing.assert_frame_equal(here.var, there.var)
    assert (one.genes, one.scale, one.predictor) == (other.genes, other.scale, other.predictor)
    tables = [{"X": data.X, **data.layers, **data.obsm} for data in (here, there)]
    assert tables[0].keys() == tables[1].keys()
    for name, values in tables[0].items():
        assert values.dtype == tables[1][name].dtype
        np.testing.assert_array_equal(values, tables[1][name])
    assert here.uns.keys() == there.uns.keys()
    for name, library in here.uns.get("spatial", {}).items():
        assert library["scalefactors"] == there.uns["spatial"][name]["scalefactors"]
        np.testing.assert_array_equal(library["images"]["hires"], there.uns["spatial"][name]["images"]["hires"])


def test_a_block_is_read_back_as_it_was(tmp_path: Path) -> None:
    parts = Parts.open(tmp_path / "p", KEY, resume=False)
    one = block(1)
    plain = Prediction(one.expression, one.spots, one.genes, "log1p", "plain")
    for each in (block(0), plain):
        parts.add(each)
    again = Parts.open(tmp_path / "p", KEY, resume=True)
    assert len(again) == 2
    for found, expected in zip(again, (block(0), plain), strict=True):
        same(found, expected)


def test_nothing_is_written_before_the_first_block_and_nothing_left_at_the_end(tmp_path: Path) -> None:
    parts = Parts.open(tmp_path / "p", KEY, resume=True)
    assert len(parts) == 0
    assert list(tmp_path.iterdir()) == []
    parts.add(block(0))
    parts.remove()
    assert list(tmp_path.iterdir()) == []


def test_another_query_is_refused_and_what_differs_is_named(tmp_path: Path) -> None:
    Parts.open(tmp_path / "p", KEY, resume=False).add(block(0))
    with pytest.raises(MismatchError, match="had another set of tiles than this one; leave --resume out"):
        Parts.open(tmp_path / "p", KEY | {"set of tiles": "c"}, resume=True)
    with pytest.raises(MismatchError, match="another run and another set of tiles"):
        Parts.open(tmp_path / "p", {"run": "", "set of tiles": ""}, resume=True)
    assert len(Parts.open(tmp_path / "p", KEY, resume=True)) == 1


def test_without_resume_a_stopped_query_is_started_anew(tmp_path: Path) -> None:
    Parts.open(tmp_path / "p", KEY, resume=False).add(block(0))
    assert len(Parts.open(tmp_path / "p", KEY, resume=False)) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_half_written_block_does_not_count(tmp_path: Path) -> None:
    parts = Parts.open(tmp_path / "p", KEY, resume=False)
    parts.add(block(0))
    (tmp_path / "p" / ".000001.h5ad.77.part").write_bytes(b"half")
    assert len(parts) == 1
    parts.add(block(1))
    assert [list(found.spots.index) for found in parts] == [["s/0x", "s/0y"], ["s/1x", "s/1y"]]


@pytest.mark.parametrize("kept", [0, 20, 5000])
def test_a_damaged_block_is_said_in_a_sentence(kept: int, tmp_path: Path) -> None:
    parts = Parts.open(tmp_path / "p", KEY, resume=False)
    parts.add(block(0))
    path = tmp_path / "p" / "000000.h5ad"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match="is damaged"):
        list(parts)
