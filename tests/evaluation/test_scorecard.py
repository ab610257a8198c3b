"""Scores, and the tables made of them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bleep.config import PanelConfig
from bleep.data.panel import GenePanel
from bleep.data.prediction import Prediction
from bleep.data.section import Section
from bleep.errors import DataError, MismatchError
from bleep.evaluation import report
from bleep.evaluation.scorecard import SCORES, Truth, correlations, meaning, score
from bleep.evaluation.statistics import (
    MARKERS,
    gene_sets,
    listed,
    marker_sets,
    morans_i,
    more_gene_sets,
    neighbour_graph,
    sets_of_test,
)
from bleep.marks import is_ours
from bleep.records import Leak, Scorecard

LEAK = Leak("none", "no patient of the test tissue was trained on")


def prediction(expression: np.ndarray, section: str = "s") -> Prediction:
    rows, genes = expression.shape
    spots = pd.DataFrame(
        {"section": section, "spot": [str(row) for row in range(rows)], "patient": "p", "x": 0.0, "y": 0.0},
        index=[f"{section}/{row}" for row in range(rows)],
    )
    return Prediction(expression.astype(np.float32), spots, tuple(f"g{gene}" for gene in range(genes)), "as is", "test")


@pytest.fixture
def measured() -> np.ndarray:
    return np.random.default_rng(0).random((25, 6)).astype(np.float32)


def test_a_perfect_prediction_has_perfect_scores(measured: np.ndarray) -> None:
    card = score(prediction(measured), measured, {"pcc_heg50": np.array([0, 1])}, 3, "perfect")
    assert card.summary == pytest.approx({"pcc": 1, "pcc_heg50": 1, "pcc_spot": 1, "mse": 0, "variance_ratio": 1}, abs=1e-6)
    assert (card.predictor, card.section, card.seed, card.skipped) == ("perfect", "s", 3, 0)
    assert set(card.summary) <= set(SCORES)


def test_a_gene_set_is_scored_on_its_own_columns(measured: np.ndarray) -> None:
    guess = measured.copy()
    guess[:, 2] = -guess[:, 2]
    card = score(prediction(guess), measured, {"pcc_heg50": np.array([2]), "pcc_hvg50": np.array([0, 2])}, 0, "x")
    assert card.summary["pcc_heg50"] == pytest.approx(-1)
    assert card.summary["pcc_hvg50"] == pytest.approx(0, abs=1e-6)
    assert card.summary["pcc"] == pytest.approx(4 / 6)


def test_genes_that_a_section_does_not_list_are_left_out_and_named(measured: np.ndarray) -> None:
    absent = measured.copy()
    absent[:, 2] = np.nan
    others = np.arange(6) != 2
    guess = prediction(measured + np.random.default_rng(1).random((25, 6)).astype(np.float32))
    card = score(guess, absent, {"pcc_heg50": np.array([2, 3])}, 0, "x")
    whole = score(guess, measured, {"pcc_heg50": np.array([3])}, 0, "x")
    assert (card.absent, card.skipped) == (("g2",), 1)
    assert card.summary["pcc"] == pytest.approx(whole.genes["pearson"][others].mean())
    assert card.summary["pcc_heg50"] == pytest.approx(whole.summary["pcc_heg50"])
    text = report.as_text(report.compare([card], "test", LEAK, {}))
    assert "not measured in s, and left out of its scores: 1 of 6 genes (g2)" in text
    assert "do not vary" not in text
    assert "not measured in s" in report.as_markdown(report.compare([card], "test", LEAK, {}))


def test_genes_that_do_not_vary_are_left_out_and_counted(measured: np.ndarray) -> None:
    measured[:, 0] = 0.5
    card = score(prediction(measured + 0.1), measured, {}, 0, "x")
    assert card.skipped == 1
    assert card.summary["pcc"] == pytest.approx(1)
    assert np.isnan(card.genes["pearson"].iloc[0])


def test_a_flat_prediction_scores_0_and_has_no_variance(measured: np.ndarray) -> None:
    card = score(prediction(np.tile(measured.mean(axis=0), (25, 1))), measured, {}, 0, "mean")
    assert card.summary["pcc"] == 0
    assert card.summary["variance_ratio"] == pytest.approx(0, abs=1e-6)
    assert card.summary["mse"] == pytest.approx(measured.var(axis=0).mean(), rel=1e-4)


def test_shapes_that_differ_and_several_sections_are_refused(measured: np.ndarray) -> None:
    with pytest.raises(MismatchError, match="meets measured values"):
        score(prediction(measured), measured[:-1], {}, 0, "x")
    one = prediction(measured)
    two = one.replaced(obs=one.adata.obs.assign(section=["a"] * 12 + ["b"] * 13))
    with pytest.raises(MismatchError, match="of a, b"):
        score(two, measured, {}, 0, "x")


def test_gene_sets_are_the_top_50_of_training_and_none_for_a_small_panel(toys: tuple[Section, ...]) -> None:
    panel = GenePanel.fit(toys[:2], PanelConfig(choice="all"))
    sets = gene_sets(panel)
    assert sorted(sets) == ["pcc_heg50", "pcc_hvg50"]
    for name, ranks in (("pcc_heg50", panel.mean), ("pcc_hvg50", panel.variance)):
        assert len(sets[name]) == 50
        assert ranks[sets[name]].min() >= np.delete(ranks, sets[name]).max()
    assert gene_sets(GenePanel.fit(toys[:2], PanelConfig(size=50))) == {}


def cards() -> list[Scorecard]:
    names = pd.Index(["ACTB", "GNAS", "FLAT"], name="gene")
    numbers = {("a", "s1", 0): 0.2, ("a", "s1", 1): 0.4, ("a", "s2", 0): 0.5, ("b", "s1", 0): 0.1, ("b", "s2", 0): 0.9}
    return [
        Scorecard(
            p, s, seed, pd.DataFrame({"pearson": [r - 0.1, r + 0.1, np.nan], "mse": 1.0, "variance_ratio": r}, index=names),
            {"pcc": r, "mse": 1 - r},
        )
        for (p, s, seed), r in numbers.items()
    ]  # fmt: skip


def test_each_gene_has_its_score_by_every_predictor_and_the_range_over_sections(tmp_path: Path) -> None:
    path = report.save(report.compare(cards(), "p", LEAK, {}), tmp_path)[2]
    assert path.name == "genes.csv"
    found = pd.read_csv(path, index_col="gene")
    assert list(found.index) == ["GNAS", "ACTB", "FLAT"]
    assert list(found)[:2] == ["b", "a"]
    assert found.loc["GNAS", "a"] == pytest.approx((0.4 + 0.6) / 2)
    assert tuple(found.loc["GNAS", ["sections", "least", "most"]]) == pytest.approx((2, 0.2, 1.0))
    assert found.loc["FLAT", "sections"] == 0
    assert np.isnan(found.loc["FLAT", "b"])
    assert is_ours(path)


def test_seeds_are_averaged_before_sections() -> None:
    table = report.compare(cards(), "p", LEAK, {"split": "by section"})
    assert list(table.rows.index) == ["b", "a"]
    assert table.rows.loc["a", "pcc"] == pytest.approx((0.3 + 0.5) / 2)
    assert table.rows.loc["a", "pcc_sd"] == pytest.approx(np.std([0.3, 0.5], ddof=1))
    assert table.rows.loc["b", "pcc_sd"] == pytest.approx(np.std([0.1, 0.9], ddof=1))


def test_parts_of_a_section_count_once_each_whatever_their_seeds_and_sections_alike(tmp_path: Path) -> None:
    """Section A has two blocks, one of them by two seeds, and B none: .4 and .8 are A's, whose mean counts as B's .3 does."""

    def card(section: str, part: str, seed: int, r: float) -> Scorecard:
        genes = pd.DataFrame({"pearson": [r], "mse": r, "variance_ratio": r}, index=pd.Index(["ACTB"], name="gene"))
        return Scorecard("a", section, seed, genes, {"pcc": r}, patient="P", part=part)

    numbers = (("A", "1", 0, 0.2), ("A", "1", 1, 0.6), ("A", "2", 0, 0.8), ("B", "", 0, 0.3))
    table = report.compare([card(*one) for one in numbers], "p", LEAK, {})
    assert table.rows.loc["a", "pcc"] == pytest.approx((0.6 + 0.3) / 2)
    assert json.loads(report.save(table, tmp_path)[0].read_text())["patients"][0]["pcc"] == pytest.approx(0.45)
    assert "| a | 0.600 | 0.300 |" in report.as_markdown(table)
    row = report.by_gene(table).loc["ACTB"]
    assert row[["a", "mse", "variance_ratio"]].tolist() == pytest.approx([0.45] * 3)
    assert row[["sections", "least", "most"]].tolist() == pytest.approx([2, 0.3, 0.6])
    assert correlations(table.cards).loc["ACTB", "a"] == pytest.approx(0.45)


def test_errors_of_values_of_a_small_unit_are_told_by_their_digits(tmp_path: Path) -> None:
    """Of shares of a total, .000 would say that nothing was wrong, and six places in a file that all predictors are alike."""
    small = [replace(c, summary=c.summary | {"mse": (1.5 if c.predictor == "a" else 3) * 1e-8, "mae": 1e-4}) for c in cards()]
    table = report.compare(small, "p", LEAK, {})
    assert json.loads(report.save(table, tmp_path)[0].read_text())["predictors"]["a"]["mse"] == pytest.approx(1.5e-8)
    for text in (report.as_text(table), report.as_markdown(table), report.more_as_text(table)):
        assert "1.5e-08" in text
    assert "0.0001" in report.more_as_text(table)
    assert r"$1.5 \cdot 10^{-8} \pm " in report.as_latex(table)
    assert "0.400" in report.as_text(table)


def test_a_score_that_some_sections_lack_is_said_to_be_over_the_others() -> None:
    more = [replace(c, summary=c.summary | {"ssim": 0.5 if c.section == "s2" else np.nan}) for c in cards()]
    table = report.compare(more, "p", LEAK, {})
    for text in (report.as_text(table), report.as_markdown(table)):
        assert "no ssim in s1: means are over the others" in text
    assert "means are over the others" not in report.as_text(report.compare(cards(), "p", LEAK, {}))


def test_the_table_names_protocol_leak_and_facts_in_every_form(tmp_path: Path) -> None:
    table = report.compare(cards(), "her2st-x", Leak("random spots", "too high"), {"split": "by spot"})
    text, markdown = report.as_text(table), report.as_markdown(table)
    paths = report.save(table, tmp_path)
    plain = json.loads(paths[0].read_text())
    for words in ("her2st-x", "random spots", "by spot", "0.400", "s1, s2"):
        assert words in text
        assert words in markdown
    assert paths[1].read_text() == markdown + "\n<!-- written by bleep -->\n"
    assert plain["leak"]["status"] == "random spots"
    assert plain["predictors"]["a"]["pcc"] == pytest.approx(0.4)
    assert len(plain["sections"]) == 5


def test_one_section_has_no_spread() -> None:
    table = report.compare([card for card in cards() if card.section == "s1"], "p", LEAK, {})
    assert np.isnan(table.rows.loc["a", "pcc_sd"])
    assert "±" not in report.as_text(table)
    assert "nan" not in report.as_text(table)


def test_a_section_in_which_no_gene_varies_is_named_and_left_out_of_the_mean() -> None:
    flat = [replace(card, section="s3", summary={"pcc": np.nan, "mse": 0.5}) for card in cards() if card.section == "s2"]
    flat = [replace(card, predictor={"b": "ridge"}.get(card.predictor, "a")) for card in flat]
    table = report.compare([*cards(), *flat], "p", LEAK, {})
    assert table.rows.loc["a", "pcc"] == pytest.approx(0.4)
    words = "no PCC in s3: no gene of the panel varies there"
    for text in (report.as_text(table), report.as_markdown(table)):
        assert f"{words}, and its mean is over the others" in text
        assert "nan" not in text
        assert "no section in which both have a pcc" in text
    alone = report.as_text(report.compare(flat, "p", LEAK, {}))
    assert f"{words}\n" in alone
    assert "nan" not in alone


PLACES = np.stack(np.meshgrid(np.arange(5), np.arange(5)), -1).reshape(-1, 2) * 100.0


def test_a_truth_gives_every_score_and_a_perfect_prediction_the_best_of_each(measured: np.ndarray) -> None:
    perfect = prediction(measured)
    bounds = {"lower": perfect.expression - 1, "upper": perfect.expression + 1}
    sure = perfect.replaced(layers=bounds)
    summary = score(sure, Truth.of(measured, PLACES), {}, 0, "x").summary
    best = {"spearman": 1, "spearman_spot": 1, "mae": 0, "r2": 1, "moran_error": 0, "ssim": 1, "coverage": 1, "width": 2}
    assert {name: summary[name] for name in best} == pytest.approx(best, abs=1e-5)
    assert summary["moran_measured"] == pytest.approx(summary["moran_predicted"])
    assert all(meaning(name) for name in summary)


def test_scores_of_maps_need_places_and_a_flat_map_has_a_morans_i_of_0(measured: np.ndarray) -> None:
    flat = prediction(np.tile(measured.mean(axis=0), (25, 1)))
    summary = score(flat, Truth.of(measured, PLACES), {}, 0, "mean").summary
    assert summary["moran_predicted"] == 0
    assert summary["r2"] == pytest.approx(0, abs=1e-5)
    assert summary["spearman"] == 0
    assert "ssim" not in score(flat, Truth.of(measured, None), {}, 0, "mean").summary
    assert "coverage" not in summary


def test_values_that_were_not_measured_are_left_out_and_those_not_predicted_refused(measured: np.ndarray) -> None:
    holed = measured.copy()
    holed[3, 1], holed[:, 5] = np.nan, np.nan
    card = score(prediction(measured), Truth.of(holed, PLACES), {}, 0, "x")
    assert card.summary["pcc"] == pytest.approx(1)
    assert card.summary["mse"] == pytest.approx(0)
    assert card.skipped == 1
    with pytest.raises(DataError, match="not numbers"):
        score(prediction(holed), measured, {}, 0, "x")


def test_more_sets_are_chosen_on_training_sections_and_lists_by_either_name(toys: tuple[Section, ...]) -> None:
    panel = GenePanel.fit(toys[:2], PanelConfig(choice="all"))
    sets = more_gene_sets(panel, toys[:2])
    assert sorted(sets) == ["pcc_cv50", "pcc_moran50"]
    structure = np.mean([morans_i(panel.values(section), neighbour_graph(section.xy)) for section in toys[:2]], axis=0)
    assert structure[sets["pcc_moran50"]].min() >= np.delete(structure, sets["pcc_moran50"]).max()
    ratio = np.sqrt(panel.variance) / panel.mean
    assert ratio[sets["pcc_cv50"]].min() >= np.delete(ratio, sets["pcc_cv50"]).max()
    other = replace(panel, others=tuple(f"ENSG{place}" for place in range(len(panel.genes))))
    assert listed(other, ["ENSG2", panel.genes[4], "none"]).tolist() == [2, 4]
    marked = replace(other, others=(*MARKERS["liver"], *other.others[8:]))
    assert marker_sets(marked)["pcc_list_liver"].tolist() == list(range(8))


def test_genes_chosen_on_the_test_section_are_those_of_its_own_sum_and_variance() -> None:
    values = np.random.default_rng(0).random((20, 60)).astype(np.float32) * np.arange(60)
    sets = sets_of_test(values)
    assert set(sets["pcc_heg50_of_test"]) == set(np.argsort(-values.sum(axis=0))[:50])
    assert set(sets["pcc_hvg50_of_test"]) == set(np.argsort(-values.var(axis=0))[:50])
    assert sets_of_test(values[:, :50]) == {}


def test_rows_over_fewer_blocks_are_marked_and_compared_on_the_blocks_they_share() -> None:
    """One of four folds of one section is calibrated: its gain over ridge is that of the same fold, not of other tissue."""
    import pandas as pd

    from bleep.evaluation import report
    from bleep.records import Leak, Scorecard

    def card(predictor: str, fold: int, pcc: float) -> Scorecard:
        return Scorecard(predictor, "A", 0, pd.DataFrame({"pearson": [pcc]}), {"pcc": pcc}, part=f"block {fold}")

    ridge = [card("ridge", fold, pcc) for fold, pcc in enumerate((0.519, 0.40, 0.49, 0.491))]
    table = report.compare([card("combined", 0, 0.545), *ridge], "p", Leak("neighbouring tissue", "blocks"), {})
    (found,) = table.contrasts
    assert {found.first, found.second} == {"combined", "ridge"}
    assert abs(found.difference) == pytest.approx(0.026, abs=1e-9)
    assert table.partial == {"combined": "1 of 4 test sections or parts (1 of 4 parts of A)"}
    text = report.as_text(table)
    assert "combined *" in text
    assert "* combined: over 1 of 4 test sections or parts (1 of 4 parts of A) alone" in text
    assert "+0.070" not in text


def test_predictors_of_unequal_seeds_are_compared_over_the_seeds_both_have() -> None:
    def card(predictor: str, seed: int, pcc: float) -> Scorecard:
        return Scorecard(predictor, "A", seed, pd.DataFrame({"pearson": [pcc]}), {"pcc": pcc})

    three = [card("retrieval", seed, pcc) for seed, pcc in enumerate((0.1, 0.4, 0.7))]
    table = report.compare([*three, card("regression", 1, 0.45), card("ridge", 0, 0.3)], "p", LEAK, {})
    gaps = {(one.first, one.second): one.difference for one in table.contrasts}
    assert gaps["regression", "retrieval"] == pytest.approx(0.05)
    # Floors are fitted once, whatever the seeds.
    assert gaps["retrieval", "ridge"] == pytest.approx(0.1)
    assert table.partial == {"regression": "seed 1 of 0, 1, 2"}
    assert "* regression: over seed 1 of 0, 1, 2 alone" in report.as_text(table)
    assert "regression (fewer seeds) &" in report.as_latex(table)
