"""A prediction is an AnnData: it knows how its tiles were cut, and is sliced and joined as one."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bleep.data.prediction import Prediction
from bleep.data.section import Section
from bleep.data.tiles import Tiles, TileSpec
from bleep.errors import MismatchError
from bleep.records import Neighbors

GENES = ("A", "B", "C")
rng = np.random.default_rng(0)


@pytest.fixture
def tiles(toys: tuple[Section, ...]) -> Tiles:
    return Tiles(toys[:2], TileSpec(8, (20.0, 40.0)))


@pytest.fixture
def prediction(tiles: Tiles) -> Prediction:
    values = rng.normal(size=(4, len(tiles), 3)).astype(np.float32)
    found = Neighbors(rng.random((len(tiles), 5), np.float32), rng.integers(0, 9, (len(tiles), 5)))
    weights = np.full((len(tiles), 5), 0.2, np.float32)
    marks = {"distance": np.arange(len(tiles))}
    return Prediction(
        values[0], tiles, GENES, "as is", "made up", spread=values[1], lower=values[2], upper=values[3],
        neighbors=found, weights=weights, marks=marks, confidence=pd.DataFrame({"grade": list("hml")}, index=list(GENES)),
    )  # fmt: skip


def test_it_says_how_its_tiles_were_cut(prediction: Prediction, toys: tuple[Section, ...]) -> None:
    facts = prediction.to_anndata().uns["bleep"]
    assert (facts["scale"], facts["predictor"]) == ("as is", "made up")
    assert facts["sections"] == [section.name for section in toys[:2]]
    assert facts["mpp"] == [section.mpp for section in toys[:2]]
    assert (facts["tile_pixels"], facts["tile_microns"], facts["ready_cut"]) == (8, [20.0, 40.0], [False, False])


def test_tiles_of_a_grid_have_their_places_on_it_and_those_of_spots_none(tiles: Tiles) -> None:
    def gridded(section: Section) -> Section:
        counts = section.counts.copy()
        counts.obs["grid_x"], counts.uns["step"] = np.arange(len(section)) + 7, 20.0
        return replace(section, counts=counts)

    grid = replace(tiles, sections=tuple(map(gridded, tiles.sections)))
    made = Prediction(np.zeros((len(grid), 3), np.float32), grid, GENES, "as is", "made up")
    expected = [place + 7 for section in grid.sections for place in range(len(section))]
    assert list(made.spots["grid_x"]) == expected
    assert list(made.spots["x"]) == [x for section in grid.sections for x in section.xy[:, 0]]
    mixed = replace(tiles, sections=(grid.sections[0], tiles.sections[1]))
    assert "grid_x" not in mixed.frame()


def test_a_part_of_it_holds_those_tiles_and_genes_in_every_table(prediction: Prediction) -> None:
    rows, columns = np.array([5, 2, 60]), np.array([2, 0])
    part, genes = prediction[rows], prediction[:, columns]
    assert prediction.neighbors is not None
    assert part.neighbors is not None
    np.testing.assert_array_equal(part.neighbors.rows, prediction.neighbors.rows[rows])
    np.testing.assert_array_equal(part.neighbors.similarity, prediction.neighbors.similarity[rows])
    pd.testing.assert_frame_equal(part.spots, prediction.spots.iloc[rows])
    assert genes.genes == ("C", "A")
    assert genes.confidence is not None
    assert list(genes.confidence["grade"]) == ["l", "h"]
    for name in ("expression", "spread", "lower", "upper"):
        whole = getattr(prediction, name)
        np.testing.assert_array_equal(getattr(part, name), whole[rows])
        np.testing.assert_array_equal(getattr(genes, name), whole[:, columns])


def test_its_parts_joined_are_the_whole(prediction: Prediction) -> None:
    joined = Prediction.joined([prediction[:7], prediction[7:60], prediction[60:]])
    pd.testing.assert_frame_equal(joined.spots, prediction.spots)
    assert joined.facts == prediction.facts
    assert joined.neighbors is not None
    assert prediction.neighbors is not None
    np.testing.assert_array_equal(joined.neighbors.rows, prediction.neighbors.rows)
    for name in ("expression", "spread", "lower", "upper", "weights"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(prediction, name))
    assert joined.confidence is not None
    assert list(joined.confidence["grade"]) == list("hml")


def test_another_part_is_put_in_without_a_copy_and_leaves_the_first_as_it_was(prediction: Prediction) -> None:
    other = prediction.replaced(obs=prediction.adata.obs.assign(label="x"))
    assert set(other.spots["label"]) == {"x"}
    assert "label" not in prediction.spots
    assert np.shares_memory(other.expression, prediction.expression)


def test_what_the_search_found_is_not_part_of_the_file(prediction: Prediction) -> None:
    data = prediction.to_anndata()
    assert list(data.obsm) == ["spatial"]
    np.testing.assert_array_equal(data.obsm["spatial"], prediction.spots[["x", "y"]])
    assert prediction.neighbors is not None


def test_numbers_of_values_and_tiles_that_differ_are_refused(tiles: Tiles) -> None:
    with pytest.raises(MismatchError, match=f"came with {len(tiles)} tiles and 3 genes"):
        Prediction(np.zeros((2, 3), np.float32), tiles, GENES, "as is", "made up")
