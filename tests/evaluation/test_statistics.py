"""Bootstrap over sections, and the paired test that respects them."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import permutation_test

from bleep.evaluation import statistics as paired
from bleep.evaluation.statistics import contrast, section_interval, sentence, sign_flip, turned
from bleep.records import Scorecard


def cards(scores: dict[str, list[float]]) -> list[Scorecard]:
    genes = pd.DataFrame()
    return [Scorecard(p, f"s{at}", 0, genes, {"pcc": r}) for p, all_r in scores.items() for at, r in enumerate(all_r)]


def test_the_interval_is_that_of_all_resamples_of_few_sections() -> None:
    scores = [0.1, 0.4, 0.2]
    means = [np.mean(draw) for draw in product(scores, repeat=3)]
    assert section_interval(scores) == pytest.approx(np.quantile(means, [0.025, 0.975], method="inverted_cdf"))
    assert section_interval(scores) == section_interval(scores)


def test_one_section_has_no_interval_and_missing_ones_are_left_out() -> None:
    assert np.isnan(section_interval([0.3])).all()
    assert section_interval([0.3, float("nan"), 0.5]) == section_interval([0.3, 0.5])


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    ends = np.array([section_interval(rng.normal(0.3, 0.1, 30).tolist()) for _ in range(60)])
    assert ((ends[:, 0] < 0.3) & (ends[:, 1] > 0.3)).mean() > 0.85


def test_the_p_value_is_scipys() -> None:
    gaps = np.random.default_rng(1).normal(0.4, 1, 9)
    expected = permutation_test((gaps,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
    assert sign_flip(gaps) == pytest.approx(expected)


def test_many_sections_are_tried_at_random_and_nearly_as_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    gaps = np.random.default_rng(2).normal(0.3, 1, 12)
    exact = sign_flip(gaps)
    monkeypatch.setattr(paired, "EXACT", 5)
    assert sign_flip(gaps) == pytest.approx(exact, abs=0.02)


def test_alike_predictors_are_seldom_called_different() -> None:
    rng = np.random.default_rng(0)
    p_values = [sign_flip(rng.normal(0, 1, 8)) for _ in range(400)]
    assert np.mean(np.array(p_values) <= 0.05) < 0.08


def test_four_sections_won_give_no_less_than_an_eighth_and_it_is_said() -> None:
    found = contrast(cards({"a": [0.4, 0.5, 0.3, 0.6], "b": [0.3, 0.3, 0.2, 0.5]}), "a", "b")
    assert found.p_value == pytest.approx(1 / 8)
    assert found.better == found.sections == 4
    assert found.difference == pytest.approx(0.125)
    assert found.low > 0
    assert "the least possible with 4 sections" in sentence(found)


def test_one_section_gives_no_p_value_and_it_is_said() -> None:
    found = contrast(cards({"a": [0.4], "b": [0.3]}), "a", "b")
    assert found.p_value is None
    assert "one section, so no p-value" in sentence(found)


def test_only_sections_of_both_are_compared_and_seeds_averaged_first() -> None:
    again = [Scorecard(name, "s0", 1, pd.DataFrame(), {"pcc": pcc}) for name, pcc in (("a", 0.4), ("b", 0.3))]
    several = [*cards({"a": [0.4, 0.6], "b": [0.1]}), *again]
    found = contrast(several, "a", "b")
    assert found.sections == 1
    assert found.difference == pytest.approx(0.2)


def test_a_comparison_turned_is_that_of_the_other_side() -> None:
    scores = {"a": [0.4, 0.5, 0.2, 0.3], "b": [0.3, 0.6, 0.2, 0.1]}
    there, back = contrast(cards(scores), "a", "b"), turned(contrast(cards(scores), "b", "a"))
    assert (there.first, there.better, there.ties, there.p_value) == (back.first, back.better, back.ties, back.p_value)
    assert there.difference == pytest.approx(back.difference)
    assert (there.low, there.high) == pytest.approx((back.low, back.high), abs=0.01)
