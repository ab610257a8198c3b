"""Which genes to trust."""

import numpy as np
import pandas as pd

from bleep.predictors.conformal import Confidence, chosen, measured_by_grade

NAN = float("nan")
SCORES = np.array([[0.5, 0.6, 0.2, 0.1, NAN, NAN], [0.3, 0.05, 0.2, -0.1, 0.4, NAN]])
"""Correlations of six genes in two left-out groups."""
GENES = tuple("ABCDEF")


def test_a_gene_is_high_only_if_it_holds_in_every_group_and_low_if_it_never_varied() -> None:
    found = Confidence.of(SCORES)
    assert found.grades() == ["high", "medium", "medium", "low", "high", "low"]
    np.testing.assert_allclose(found.expected, [0.4, 0.325, 0.2, 0.0, 0.4, NAN], atol=1e-6)
    np.testing.assert_allclose(found.least, [0.3, 0.05, 0.2, -0.1, 0.4, NAN], atol=1e-6)
    np.testing.assert_allclose(found.most, [0.5, 0.6, 0.2, 0.1, 0.4, NAN], atol=1e-6)
    assert found.summary() == {"high": 2, "medium": 2, "low": 2}


def test_the_table_gives_genes_of_a_grade_or_better_in_its_order() -> None:
    table = Confidence.of(SCORES).frame(GENES)
    assert list(table) == ["expected_pcc", "least_pcc", "most_pcc", "confidence"]
    assert chosen(table, "high") == ("A", "E")
    assert chosen(table, "medium") == ("A", "B", "C", "E")


def test_measured_scores_are_averaged_by_grade_over_the_genes_that_have_one() -> None:
    grades = Confidence.of(SCORES).frame(GENES)["confidence"]
    means = measured_by_grade(grades, pd.Series([0.4, 0.1, NAN, 0.0, 0.2, 0.1], index=list(GENES)))
    np.testing.assert_allclose(means[["high", "medium", "low"]], [0.3, 0.1, 0.05])
