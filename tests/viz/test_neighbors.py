"""Which genes neighbours agree and disagree on, in cases where the answer is known."""

import numpy as np
import pytest

from bleep.errors import MismatchError
from bleep.viz.neighbors import LISTED, Explanation, GeneView, NeighborView, gene_rows, gene_views, neighbor_rows

GENES = ("high", "low", "split", "usual", "constant")
MEAN = np.array([1.0, 2.0, 1.0, 1.0, 0.5])
SPREAD = np.array([0.5, 0.5, 1.0, 1.0, 0.0])
VALUES = np.array(
    [[3.0, 0.1, 0.0, 1.1, 2.0], [3.1, 0.0, 2.2, 0.9, 0.0], [2.9, 0.2, 0.0, 1.0, 2.0], [3.0, 0.1, 2.0, 1.0, 0.0]], np.float32
)


def views(values: np.ndarray = VALUES, weights: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)) -> tuple[list[str], list[str]]:
    predicted = np.zeros(len(GENES), np.float32)
    sides = gene_views(GENES, predicted, values, np.array(weights, np.float32), MEAN, SPREAD)
    return [view.gene for view in sides[0]], [view.gene for view in sides[1]]


def neighbors(tiles: int = 4) -> tuple[NeighborView, ...]:
    return tuple(NeighborView(f"s{i % 2}/{i}", f"s{i % 2}", str(i), "p", 0.9 - i / 10, 0.1 * (i + 1)) for i in range(tiles))


def explanation(agreed: tuple[GeneView, ...], disputed: tuple[GeneView, ...]) -> Explanation:
    tile = np.zeros((1, 3, 4, 4), np.uint8)
    return Explanation("t/1", tile, (64.0,), neighbors(), agreed, disputed, "log1p", "retrieval")


def test_neighbours_agree_where_they_are_alike_and_far_from_the_training_mean_and_disagree_where_they_scatter() -> None:
    assert views() == (["high", "low"], ["split"])


def test_what_neighbours_say_alike_to_be_as_usual_is_on_neither_side_nor_is_a_gene_that_never_varied() -> None:
    agreed, disputed = views()
    assert not {"usual", "constant"} & {*agreed, *disputed}


def test_a_neighbour_without_weight_has_no_say() -> None:
    odd = VALUES.copy()
    odd[3, 0] = 0.0
    assert "high" not in views(odd)[0]
    assert "high" in views(odd, (1 / 3, 1 / 3, 1 / 3, 0.0))[0]


def test_mean_spread_and_shift_are_the_weighted_ones() -> None:
    weights = np.array([0.4, 0.3, 0.2, 0.1], np.float32)
    (view,) = gene_views(GENES, VALUES[0], VALUES, weights, MEAN, SPREAD)[1]
    mean = np.average(VALUES[:, 2], weights=weights)
    spread = np.sqrt(np.average((VALUES[:, 2] - mean) ** 2, weights=weights))
    assert (view.mean, view.spread) == pytest.approx((mean, spread), rel=1e-5)
    assert (view.shift, view.relative_spread) == pytest.approx((mean - 1.0, spread), rel=1e-4)
    assert view.clearance == pytest.approx(abs(view.shift) - view.relative_spread)
    np.testing.assert_array_equal(view.values, VALUES[:, 2])


def test_at_most_the_listed_number_of_genes_is_given_the_clearest_first() -> None:
    many, rng = 40, np.random.default_rng(0)
    shift = rng.permutation(many).astype(np.float32) + 2
    values = np.stack([shift - 0.1, shift + 0.1])
    genes = tuple(f"g{int(size)}" for size in shift)
    half = np.array([0.5, 0.5], np.float32)
    agreed, disputed = gene_views(genes, shift, values, half, np.zeros(many), np.ones(many))
    assert [view.gene for view in agreed] == [f"g{size}" for size in range(many + 1, many + 1 - LISTED, -1)]
    assert disputed == ()


def test_the_sentence_names_sections_by_weight_and_says_which_genes_are_high_and_low() -> None:
    agreed, disputed = gene_views(GENES, VALUES[0], VALUES, np.full(4, 0.25, np.float32), MEAN, SPREAD)
    words = explanation(agreed, disputed).describe()
    assert words == "t/1: 4 neighbours (weight from s1 60 %, s0 40 %) agree most on high high and low low"
    assert "agree on no gene" in explanation((), disputed).describe()


def test_the_tables_have_a_row_for_each_neighbour_and_each_gene_listed() -> None:
    agreed, disputed = gene_views(GENES, VALUES[0], VALUES, np.full(4, 0.25, np.float32), MEAN, SPREAD)
    both = [explanation(agreed, disputed)] * 2
    table = neighbor_rows(both)
    assert list(table["rank"]) == [1, 2, 3, 4] * 2
    assert list(table["spot"][:4]) == ["s0/0", "s1/1", "s0/2", "s1/3"]
    genes = gene_rows(both)
    assert list(genes["neighbours"][:3]) == ["agree", "agree", "disagree"]
    assert list(genes["gene"][:3]) == ["high", "low", "split"]


def test_a_gene_with_values_of_other_neighbours_is_refused() -> None:
    agreed, _ = gene_views(GENES, VALUES[0], VALUES[:2], np.full(2, 0.5, np.float32), MEAN, SPREAD)
    with pytest.raises(MismatchError, match="2 values for 4 neighbours"):
        explanation(agreed, ())
