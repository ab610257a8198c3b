"""Results are possible values under names of their own, do not depend on order, and survive what one file breaks."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from bleep.config import IndexConfig
from bleep.data.batch_correction import correction
from bleep.data.gene_names import genes_among
from bleep.data.prediction import Prediction
from bleep.data.qc.cohort_rules import twice
from bleep.data.slides import save_png
from bleep.errors import DataError
from bleep.predictors.io import write_prediction
from bleep.retrieval.index import build_index, keeps
from bleep.runs import Run
from bleep.workflows.slides import open_slides

VALUES = np.array([[-0.5, 1.0], [0.25, -2.0]], np.float32)


def prediction(scale: str, genes: tuple[str, ...] = ("A", "B"), half: float = 1) -> Prediction:
    spots = pd.DataFrame(
        {"section": "s", "spot": ["a", "b"], "patient": "p", "x": [1.0, 2.0], "y": [3.0, 4.0]}, index=["s/a", "s/b"]
    )
    return Prediction(VALUES, spots, genes, scale, "made up", lower=VALUES - np.float32(half), upper=VALUES + np.float32(half))


def test_a_logarithm_of_counts_and_its_bounds_are_not_below_0() -> None:
    floored = prediction("log1p of counts per 10000, total over all genes of the section")
    np.testing.assert_array_equal(floored.expression, [[0, 1], [0.25, 0]])
    assert floored.lower is not None
    assert floored.lower.min() == 0
    np.testing.assert_array_equal(VALUES[1], [0.25, -2.0])
    np.testing.assert_array_equal(prediction("values as in the files").expression, VALUES)


def test_no_interval_ends_beyond_a_spot_all_of_whose_counts_are_of_one_gene() -> None:
    # Far from the training tiles intervals were up to 199 wide, in logarithms.
    far = prediction("log1p of counts per 10000, total over the panel's genes, training sections corrected by median", half=100)
    assert far.upper is not None
    np.testing.assert_allclose(far.upper, np.log1p(10_000), rtol=1e-5)
    assert (far.upper >= np.float32(np.log1p(10_000))).all()
    for unknown in ("log1p of counts", "values as in the files"):
        plain = prediction(unknown, half=100).upper
        assert plain is not None
        assert plain.max() == 101


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_genes_that_are_called_like_other_columns_get_names_of_their_own(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    write_prediction(prediction("values as in the files", ("y", "spot")), path)
    table = pd.read_csv(path) if ending == ".csv" else pd.read_parquet(path)
    assert list(table.columns) == ["section", "spot", "x", "y", "y (gene)", "spot (gene)"]
    np.testing.assert_array_equal(table["y (gene)"], VALUES[:, 0])


def test_columns_that_are_no_genes_are_left_out_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert genes_among(["TP53", "x", "y", "in_tissue", "total_counts"], tmp_path / "a.csv") == ["TP53"]
    assert "left out x, y, in_tissue, total_counts, which by their names are no genes" in caplog.text
    tiles = ["x_center", "y_center", "fold", "batch", "tile_size", "Width", "label"]
    assert genes_among(["TP53", *tiles], tmp_path / "a.csv") == ["TP53"]
    assert genes_among(["w", "y"], tmp_path / "a.csv") == ["w", "y"]


@pytest.mark.parametrize("kind", ["center", "harmony"])
def test_a_batch_correction_does_not_depend_on_the_order_of_spots_or_sections(kind: Any, toys: tuple[Any, ...]) -> None:
    if kind == "harmony":
        pytest.importorskip("harmonypy")
    first, second = toys[:2]
    turn = np.random.default_rng(0).permutation(len(first))

    def added(sections: list[Any]) -> pd.DataFrame:
        values = np.concatenate([np.log1p(sparse.csr_matrix(s.counts.X).toarray()).astype(np.float64) for s in sections])
        found = correction(kind, values, sections)
        assert found is not None
        return pd.DataFrame(found.codes @ found.parts, index=list(found.ids)).sort_index()

    one, other = added([first, second]), added([second, first.subset(turn)])
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_an_index_of_8_bits_knows_what_lies_beyond_its_range() -> None:
    rng = np.random.default_rng(0)
    near = rng.normal(size=(400, 16)).astype(np.float32)
    index = build_index(near, IndexConfig(kind="sq"), 0)
    assert keeps(index, rng.normal(size=(50, 16)).astype(np.float32))
    beyond = rng.normal(size=(50, 16)).astype(np.float32) + 12
    assert not keeps(index, beyond)
    assert keeps(build_index(near, IndexConfig(kind="flat"), 0), beyond)
    assert keeps(build_index(np.concatenate([near, beyond]), IndexConfig(kind="sq"), 0), beyond)


def test_the_same_tissue_with_a_few_counts_changed_is_found(toys: tuple[Any, ...]) -> None:
    one = toys[0]
    table = sparse.csr_matrix(one.counts.X).toarray()
    changed = np.random.default_rng(0).random(table.shape) < 0.02
    counts = one.counts.copy()
    counts.X = sparse.csr_matrix(table + changed)
    slide = toys[2].slide
    other = replace(one, name="again", counts=counts, slide=slide)
    assert [finding.kind for finding in twice([one, other])] == ["same-tissue"]
    assert not [finding for finding in twice([one, toys[1]]) if finding.kind == "same-tissue"]


def test_a_broken_slide_does_not_stop_a_folder(
    trained: dict[str, Path], toys: tuple[Any, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run.load(next(iter(trained.values())))
    caplog.set_level(logging.WARNING)
    for name, pixels in (("good", toys[0].slide.region(0, 0, 512, "white")), ("blank", np.full((512, 512, 3), 245, np.uint8))):
        save_png(pixels, tmp_path / f"{name}.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:90])
    broken: dict[str, str] = {}
    tiles = open_slides([tmp_path], run, 1.0, 64.0, broken=broken)
    assert [section.name for section in tiles.sections] == ["good"]
    assert sorted(Path(path).name for path in broken) == ["blank.png", "cut.png"]
    assert "blank.png: left out" in caplog.text
    with pytest.raises(DataError):
        open_slides([tmp_path], run, 1.0, 64.0)
