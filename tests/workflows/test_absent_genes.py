"""Figures where a test section does not list a gene of the panel: it is no number there, and counts for nothing."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bleep.evaluation.statistics import sets_of_test
from bleep.viz.figures.tissue_maps import gene_map
from bleep.viz.figures.training import error_by_uncertainty
from bleep.workflows import report
from bleep.workflows.figures import _uncertainty
from bleep.workflows.opened import opened


@pytest.fixture
def lacking(trained: dict[str, Path]) -> list[report.TestSection]:
    """The test sections of a run; the first lacks the third gene of its panel."""
    first, *others = report.held_out_sections(opened([trained["contrastive"]]))
    measured = first.measured.copy()
    measured[:, 2] = np.nan
    return [replace(first, measured=measured), *others]


def test_genes_that_a_section_lacks_are_not_compared_with_others(lacking: list[report.TestSection]) -> None:
    genes = lacking[0].run.panel.genes
    assert report.measured_genes(lacking) == (*genes[:2], *genes[3:])


def test_its_map_says_that_it_was_not_measured(lacking: list[report.TestSection]) -> None:
    gene = lacking[0].run.panel.genes[2]
    drawing = gene_map(lacking[0].view((gene,)), 0, gene, "a scale", "told")
    assert "was not measured there" in drawing.finding


def test_intervals_are_judged_by_what_was_measured(lacking: list[report.TestSection]) -> None:
    first = lacking[0]
    low, high = first.prediction.expression - 100, first.prediction.expression + 100
    bounded = [replace(first, prediction=first.prediction.replaced(layers={"lower": low, "upper": high}))]
    error, held = _uncertainty(bounded)
    assert "nan" not in error.finding
    assert held.finding.endswith(f"hold 100% in {first.section.name}")


def test_errors_that_are_no_numbers_are_left_out() -> None:
    rng = np.random.default_rng(0)
    error, said = rng.normal(size=(200, 3)).astype(np.float32), rng.uniform(0.5, 1, (200, 3)).astype(np.float32)
    wider = np.concatenate([error, np.full((200, 1), np.nan, np.float32)], axis=1)
    more = np.concatenate([said, said[:, :1]], axis=1)
    assert error_by_uncertainty(wider, more, "told").finding == error_by_uncertainty(error, said, "told").finding


def test_genes_chosen_on_the_test_section_are_measured_there() -> None:
    measured = np.random.default_rng(0).uniform(0, 5, (30, 60)).astype(np.float32)
    measured[:, 7] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen = sets_of_test(measured)
    assert len(chosen) == 2
    assert not any(7 in columns for columns in chosen.values())
