from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from scipy import sparse

from bleep.config import PanelConfig
from bleep.data.panel import GenePanel
from bleep.errors import DataError
from bleep.viz import describe as exploration
from bleep.viz.describe import Pooled, gene_pairs, gene_table, outliers, pool, section_table
from bleep.viz.figures import described as exploration_heatmaps
from bleep.viz.figures import on_tissue as exploration_maps
from bleep.viz.figures import save
from bleep.viz.figures.described import library_size
from bleep.viz.figures.on_tissue import distance, mixing, mixing_words, principal, sample, spatial_map, tsne, umap


@pytest.fixture(scope="module")
def pooled(toys: tuple[Any, ...]) -> Pooled:
    return pool(toys, PanelConfig(denominator="panel"))


def made(values: np.ndarray, sections: list[str], total: np.ndarray | None = None) -> Pooled:
    """Pool values as they are."""
    count = len(values)
    spots = pd.DataFrame(
        {
            "section": sections,
            "spot": [f"s{row}" for row in range(count)],
            "patient": [f"p{name}" for name in sections],
            "total": np.full(count, 100.0) if total is None else total,
            "seen": np.arange(count) % 3 + 10,
        }
    ).set_axis([f"{name}/s{row}" for row, name in enumerate(sections)])
    genes = pd.Index([f"G{column}" for column in range(values.shape[1])])
    table = sparse.csc_matrix(np.asarray(values, np.float64))
    return Pooled(table, genes, ("",) * len(genes), spots, "made up", "total counts")


def test_totals_are_drawn_where_spots_lie_and_the_rim_is_told(pooled: Pooled) -> None:
    x, y = np.meshgrid(np.arange(12) * 100.0, np.arange(10) * 100.0)
    rim = (x == 0) | (x == 1100) | (y == 0) | (y == 900)
    tissue = made(np.ones((120, 3)), ["S1"] * 120, np.where(rim, 50.0, 200.0).ravel())
    placed = replace(tissue, spots=tissue.spots.assign(x=x.ravel(), y=y.ravel()))
    odd = pd.DataFrame({"section": ["S1"], "spot": ["s7"]})
    (drawn,) = spatial_map(placed, odd)
    assert drawn.finding == "Spots at the rim of S1 have 0.25 times the median total of those inside"
    axes = drawn.figure.axes[0]
    spots, ringed = axes.collections
    np.testing.assert_array_equal(spots.get_offsets(), placed.spots[["x", "y"]])
    np.testing.assert_array_equal(ringed.get_offsets(), [[700.0, 0.0]])
    assert axes.yaxis_inverted()
    (four,) = spatial_map(pooled, odd)
    assert sum(axes.get_label() != "<colorbar>" for axes in four.figure.axes) == 4


def test_ready_cut_tiles_have_no_map() -> None:
    tissue = made(np.ones((20, 3)), ["S1"] * 20)
    assert list(spatial_map(replace(tissue, spots=tissue.spots.assign(x=np.arange(20.0), y=5.0)), pd.DataFrame())) == []


def test_spots_are_described_by_their_own_counts_whatever_is_pooled(
    pooled: Pooled, toys: tuple[Any, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """The scale says nothing of sums, and those of all genes of a dense grid would fill any memory."""
    found = pool(toys, PanelConfig(pool=100.0))
    assert (found.values != pooled.values).nnz == 0
    assert found.scale == pooled.scale
    assert "panel.pool is left out here" in caplog.text


def test_values_are_those_a_panel_over_all_genes_would_have(pooled: Pooled, toys: tuple[Any, ...]) -> None:
    panel = GenePanel.fit(toys, PanelConfig(choice="all"))
    order = pd.Index(panel.genes).get_indexer(pooled.genes)
    expected = np.concatenate([panel.values(section)[:, order] for section in toys])
    np.testing.assert_allclose(pooled.values.toarray(), expected, rtol=1e-6)
    assert pooled.sections == ("toy1", "toy2", "toy3", "toy4")
    assert list(pooled.spots.index) == [name for section in toys for name in section.ids]


def test_genes_are_described_as_numpy_does(pooled: Pooled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exploration, "CELLS", 7 * pooled.values.shape[0])
    table = gene_table(pooled).set_index("gene")
    dense = pd.DataFrame(pooled.values.toarray(), columns=pooled.genes)
    np.testing.assert_allclose(table[["min", "q1", "median", "q3", "max"]].T, dense.quantile([0, 0.25, 0.5, 0.75, 1]))
    np.testing.assert_allclose(table["mean"], dense.mean())
    np.testing.assert_allclose(table["variance"], dense.var(ddof=0))
    np.testing.assert_allclose(table["cv"], dense.std(ddof=0) / dense.mean())
    np.testing.assert_allclose(table["zeros"], (dense == 0).mean())
    for name in ("mean", "variance", "cv"):
        assert table.sort_values(f"rank_{name}")[name].is_monotonic_decreasing
        assert sorted(table[f"rank_{name}"]) == list(range(1, len(table) + 1))


def test_a_gene_that_is_never_seen_has_no_cv_and_ranks_last() -> None:
    table = gene_table(made(np.array([[0, 1.0], [0, 2.0], [0, 4.0]]), ["a"] * 3))
    assert np.isnan(table["cv"][0])
    assert list(table["rank_cv"]) == [2, 1]
    assert list(table["zeros"]) == [1.0, 0.0]


def test_sections_are_described_by_the_quartiles_of_their_totals(pooled: Pooled, toys: tuple[Any, ...]) -> None:
    table = section_table(pooled).set_index("section")
    totals = np.asarray(toys[2].counts.X.sum(axis=1)).ravel()
    assert table.loc["toy3", "spots"] == len(toys[2])
    assert table.loc["toy3", "patient"] == "donor2"
    np.testing.assert_allclose(
        table.loc["toy3", ["total_q1", "total_median", "total_q3"]].astype(float), np.quantile(totals, [0.25, 0.5, 0.75])
    )
    np.testing.assert_allclose(table.loc["toy3", "seen_median"], np.median(np.asarray((toys[2].counts.X > 0).sum(axis=1))))


def test_pooling_leaves_the_sections_as_they_are_even_with_unsorted_columns(toys: tuple[Any, ...]) -> None:
    first = toys[0]
    tidy = sparse.csr_matrix(first.counts.X)
    order = np.concatenate([np.arange(a, b)[::-1] for a, b in zip(tidy.indptr, tidy.indptr[1:], strict=False)])
    mixed = sparse.csr_matrix((tidy.data[order], tidy.indices[order], tidy.indptr), shape=tidy.shape)
    assert not mixed.has_sorted_indices
    section = replace(first, counts=AnnData(X=mixed, obs=first.counts.obs, var=first.counts.var))
    found = pool((section,), PanelConfig())
    np.testing.assert_array_equal(section.counts.X.toarray(), tidy.toarray())
    assert (found.values != pool((first,), PanelConfig()).values).nnz == 0


def test_sections_that_name_genes_by_id_are_labelled_by_symbol(toys: tuple[Any, ...]) -> None:
    renamed = []
    for section in toys[:2]:
        counts = section.counts.copy()
        counts.var["symbol"] = list(counts.var_names)
        counts.var_names = [f"ENSG{number:011d}" for number in range(counts.n_vars)]
        renamed.append(replace(section, counts=counts))
    found = pool(renamed, PanelConfig())
    assert list(found.labels) == list(toys[0].genes)
    assert gene_table(found)["gene"][0] == "ENSG00000000000"


def test_what_was_not_measured_is_left_out_and_nothing_measured_is_refused(
    toys: tuple[Any, ...], caplog: pytest.LogCaptureFixture
) -> None:
    bare = replace(toys[1], counts=toys[1].counts[:, :0].copy())
    assert pool((toys[0], bare), PanelConfig()).sections == ("toy1",)
    assert "left out, since nothing was measured there: toy2" in caplog.text
    with pytest.raises(DataError, match="nothing was measured in toy2"):
        pool((bare,), PanelConfig())
    with pytest.raises(DataError, match="3 spots x 60 shared genes; describing needs 5"):
        pool((toys[0].subset(np.arange(3)),), PanelConfig())


def test_an_odd_spot_is_found_with_its_reason_and_the_others_are_not() -> None:
    draw = np.random.default_rng(3)
    total = np.concatenate([draw.uniform(3000, 4000, 40), draw.uniform(50, 60, 40)])
    total[5], total[50] = 10.0, 2000.0
    far = draw.uniform(1, 1.2, 80)
    far[70] = 40.0
    found = outliers(made(np.ones((80, 5)), ["a"] * 40 + ["b"] * 40, total), far)
    assert list(zip(found["spot"], found["section"], found["measure"], strict=True)) == [
        ("s5", "a", "total"),
        ("s50", "b", "total"),
        ("s70", "b", "distance"),
    ]
    assert list(found["value"]) == [10.0, 2000.0, 40.0]
    assert found["reason"][0] == "total counts below the median - 5 MAD of its section"
    assert found["limit"][0] > 10
    assert found["limit"][1] < 2000


def test_the_limit_is_the_median_and_five_deviations_of_the_logarithm() -> None:
    total = np.expm1(np.array([1.0, 2, 3, 4, 5, 3, 3, 2, 4, 9.01]))
    found = outliers(made(np.ones((10, 5)), ["a"] * 10, total), np.ones(10))
    assert list(found["spot"]) == ["s9"]
    np.testing.assert_allclose(np.log1p(found["limit"][0]), 3 + 5 * 1)


def test_where_most_spots_are_the_same_none_is_called_odd() -> None:
    total = np.full(20, 1.0)
    total[3] = 5.0
    assert outliers(made(np.ones((20, 5)), ["a"] * 20, total), np.ones(20)).empty


def test_totals_below_0_are_measured_as_they_are_and_rounding_makes_none_odd() -> None:
    total = np.random.default_rng(0).normal(-30, 2, 40)
    total[3] = 25
    found = outliers(made(np.ones((40, 5)), ["a"] * 40, total), np.ones(40))
    middle = np.median(total)
    assert list(found["spot"]) == ["s3"]
    assert found["limit"].iloc[0] == pytest.approx(middle + 5 * np.median(np.abs(total - middle)))
    millions = 1e6 + np.random.default_rng(0).standard_cauchy(40).clip(-9, 9) / 20
    assert outliers(made(np.ones((40, 5)), ["a"] * 40, millions), np.ones(40)).empty


def test_pairs_are_those_of_corrcoef_whatever_the_blocks(pooled: Pooled, monkeypatch: pytest.MonkeyPatch) -> None:
    strong = 0.4
    r = np.corrcoef(pooled.values.toarray(), rowvar=False)
    a, b = np.nonzero(np.triu(np.abs(r) >= strong, 1))
    expected = {(pooled.genes[i], pooled.genes[j]): r[i, j] for i, j in zip(a, b, strict=True)}
    assert len(expected) > 20
    for cells in (exploration.CELLS, 4 * 7 * pooled.values.shape[0]):
        monkeypatch.setattr(exploration, "CELLS", cells)
        found = gene_pairs(pooled, strong)
        assert found.found == len(found.table) == len(expected)
        assert found.tested == len(pooled.genes)
        for row in found.table.itertuples():
            np.testing.assert_allclose(row.r, expected[row.gene_a, row.gene_b], atol=1e-5)
        assert found.table["r"].abs().is_monotonic_decreasing


def test_r_within_takes_off_what_only_sections_differ_in() -> None:
    draw = np.random.default_rng(0)
    values = draw.normal(0, 1, (200, 5)) + 20.0
    values[100:, :2] += 10
    values[:, 3] = -values[:, 2] + 40
    found = gene_pairs(made(values, ["a"] * 100 + ["b"] * 100))
    table = found.table.set_index(["gene_a", "gene_b"])
    assert set(table.index) == {("G0", "G1"), ("G2", "G3")}
    np.testing.assert_allclose(table.loc[("G2", "G3")], [-1, -1], atol=1e-5)
    expected = np.corrcoef(np.vstack([part[:, :2] - part[:, :2].mean(axis=0) for part in (values[:100], values[100:])]).T)[0, 1]
    np.testing.assert_allclose(table.loc[("G0", "G1"), "r_within"], expected, atol=1e-5)
    assert "2 pairs of 5 common genes reach |r| = 0.8; 1 do so within sections too" in found.describe()


def test_genes_hardly_seen_are_not_paired() -> None:
    values = np.zeros((100, 5))
    values[7, :2] = 3.0
    values[:, 2] = np.arange(100)
    assert gene_pairs(made(values, ["a"] * 100)).table.empty
    assert gene_pairs(made(values, ["a"] * 100)).tested == 1


def test_with_very_many_pairs_the_strongest_are_kept(pooled: Pooled, monkeypatch: pytest.MonkeyPatch) -> None:
    every = gene_pairs(pooled, 0.2)
    monkeypatch.setattr(exploration, "PAIRS", 10)
    monkeypatch.setattr(exploration, "CELLS", 4 * 7 * pooled.values.shape[0])
    few = gene_pairs(pooled, 0.2)
    assert few.found == every.found > 40
    np.testing.assert_allclose(few.table["r"], every.table["r"][:10], atol=1e-6)
    assert "the strongest 10 are listed" in few.describe()


def test_components_are_those_of_a_singular_value_decomposition(pooled: Pooled) -> None:
    columns = np.arange(30)
    scores = principal(pooled, columns)
    dense = pooled.values.toarray()[:, columns]
    u, s, _ = np.linalg.svd(dense - dense.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(scores), np.abs(u * s), atol=1e-6)


def test_distance_is_measured_from_the_middle_of_the_own_section() -> None:
    scores = np.array([[0.0, 0], [0, 0], [3, 4], [10, 10], [10, 10], [10, 11]])
    np.testing.assert_allclose(distance(scores, np.array([0, 0, 0, 1, 1, 1])), [0, 0, 5, 0, 0, 1])


def test_a_random_part_is_drawn_of_many_spots_alike_for_one_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exploration_maps, "MOST_POINTS", 50)
    assert list(sample(50, 0)) == list(range(50))
    part = sample(500, 1)
    assert len(set(part)) == 50
    assert list(part) == sorted(part) == list(sample(500, 1))
    assert list(part) != list(sample(500, 2))


def test_mixing_is_full_within_far_groups_and_by_chance_within_one_cloud() -> None:
    draw = np.random.default_rng(0)
    codes = np.repeat(np.arange(2), 100)
    cloud = draw.normal(0, 1, (200, 3))
    own, free = mixing(cloud + 100 * codes[:, None], codes)
    assert (own, free) == (1.0, 0.5)
    assert abs(mixing(cloud, codes)[0] - 0.5) < 0.05


def test_patients_are_said_where_some_have_several_sections(pooled: Pooled) -> None:
    scores, rows = principal(pooled, np.arange(30)), np.arange(len(pooled.spots))
    assert "of its own patient (5" in mixing_words(pooled, scores, rows)
    alone = replace(pooled, spots=pooled.spots.assign(patient=pooled.spots["section"]))
    assert "patient" not in mixing_words(alone, scores, rows)


@pytest.mark.slow
@pytest.mark.parametrize("method", [tsne, umap])
def test_maps_repeat_themselves_and_keep_far_groups_apart(method: Any) -> None:
    draw = np.random.default_rng(0)
    codes = np.repeat(np.arange(2), 30)
    scores = draw.normal(0, 1, (60, 5)) + 50 * codes[:, None]
    threads = torch.get_num_threads()
    places = method(scores, 0)
    assert torch.get_num_threads() == threads, "what computes afterwards has as many threads as before"
    assert places.shape == (60, 2)
    np.testing.assert_array_equal(places, method(scores, 0))
    assert mixing(places.astype(np.float64), codes)[0] > 0.95
    assert method(scores[:5], 0).shape == (5, 2)


def test_genes_that_go_together_stand_together_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    shared = draw.normal(0, 1, (80, 1))
    values = draw.normal(0, 0.5, (80, 9)) + 10
    values[:, [0, 4, 8]] += 3 * shared
    pooled = made(values, ["a"] * 80)
    drawing = exploration_heatmaps.heatmap(pooled, gene_table(pooled), values, np.arange(80))
    names = [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()]
    places = sorted(names.index(name) for name in ("G0", "G4", "G8"))
    assert places[2] - places[0] == 2
    assert "3 of the 9 genes that vary most rise and fall together" in drawing.finding


def test_a_figure_is_written_as_png_and_svg_the_same_each_time(pooled: Pooled, tmp_path: Path) -> None:
    named = replace(pooled, spots=pooled.spots.replace("toy1", r"a $tricky_name$ that is much too long to be printed whole"))
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        save(library_size(named, section_table(named)), folder)
    for name in ("library_size.png", "library_size.svg"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert (tmp_path / "one" / "library_size.png").read_bytes()[:4] == b"\x89PNG"
