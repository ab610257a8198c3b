"""Logarithms are not taken for counts, in whatever form they are read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

import bleep
from bleep.config import Config
from bleep.data.normalize import standardised
from bleep.data.qc.values import check_added, check_counts, values_of
from bleep.data.section import Section
from bleep.data.toy import toy_section
from bleep.errors import DataError
from bleep.workflows.report import query_page
from bleep.workflows.tissue import divide

COUNTS = tuple(toy_section(f"toy{number}", f"donor{number}", number, side=256, pitch=32) for number in (1, 2))


def logged(section: Section) -> Section:
    counts = section.counts.copy()
    table = sparse.csr_matrix(counts.X).toarray()
    counts.X = np.log1p(table / table.sum(axis=1, keepdims=True) * 1e4).astype(np.float32)
    return replace(section, counts=counts)


def fractions(section: Section) -> Section:
    counts = section.counts.copy()
    counts.X = sparse.csr_matrix(counts.X).toarray() * np.float32(1.37)
    return replace(section, counts=counts)


LOGGED = tuple(logged(section) for section in COUNTS)


def test_counts_pass_in_silence_and_so_do_values_of_one_kind_that_are_not_normalised(caplog: pytest.LogCaptureFixture) -> None:
    check_counts(COUNTS, "log1p")
    for section in (*COUNTS, *LOGGED):
        check_counts((section, section), "none")
        check_added((section,), (section,), "none")
    check_added(COUNTS[:1], COUNTS[1:], "log1p")
    few = replace(COUNTS[0], counts=COUNTS[0].counts.copy())
    few.counts.X = (few.counts.X > 3).astype(np.float32)
    check_counts((few, LOGGED[1]), "none")
    check_added((few,), LOGGED[1:], "none")
    assert not caplog.records


def test_logarithms_beside_counts_are_refused_before_training_and_scoring() -> None:
    settings = {"data": {"source": "toy", "split": "section", "test": ["toy2"]}}
    with pytest.raises(DataError, match=r"section toy2: holds fractions.* while section toy1 holds counts"):
        divide((COUNTS[0], LOGGED[1]), Config.load(settings))
    assert len(divide(COUNTS, Config.load(settings)).train) == 1


def scaled(section: Section) -> Section:
    counts = section.counts.copy()
    table = sparse.csr_matrix(counts.X).toarray()
    counts.X = (table / table.sum(axis=1, keepdims=True) * 1e6).astype(np.float32)
    return replace(section, counts=counts)


@pytest.mark.parametrize("normalise", ["none", "log1p"])
def test_logarithms_beside_values_without_one_are_refused_though_none_is_taken(normalise: str) -> None:
    for other, words in ((COUNTS[0], "counts"), (scaled(COUNTS[0]), "values that sum to the same in every spot")):
        with pytest.raises(DataError, match=f"section toy2: holds fractions.* while section toy1 holds {words}, "):
            check_counts((other, LOGGED[1]), normalise)
        with pytest.raises(DataError, match="section toy2: holds fractions"):
            check_added(LOGGED[1:], (other,), normalise)
        with pytest.raises(DataError, match=f"section toy1: holds {words}, but this run was trained on logarithms"):
            check_added((other,), LOGGED[1:], normalise)
    check_counts((COUNTS[0], scaled(COUNTS[1])), normalise)


def test_where_no_section_has_counts_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    check_counts(LOGGED, "log1p")
    assert [record.getMessage() for record in caplog.records] == [
        "section toy1 and 1 more: the values are not whole numbers, though panel.normalise is log1p, which expects counts; "
        "set it to none if they are normalised already"
    ]


def test_other_fractions_are_warned_of_and_not_refused(caplog: pytest.LogCaptureFixture) -> None:
    many = fractions(COUNTS[1])
    many.counts.X[0, 0] = 40.5
    assert values_of(many) == "fractions"
    check_counts((COUNTS[0], many), "log1p")
    assert "section toy2: the values are not whole numbers" in caplog.text


def test_logarithms_are_not_added_to_a_run_of_counts() -> None:
    for trained in (COUNTS[1:], ()):
        with pytest.raises(DataError, match=r"section toy1: .* but this run takes counts: .* or leave the section out"):
            check_added(LOGGED[:1], trained, "log1p")
    check_added(LOGGED[:1], LOGGED[1:], "log1p")


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_z_scores_are_known_by_a_mean_near_0_in_nearly_every_gene(unit: float) -> None:
    scores = np.random.default_rng(0).normal(size=(200, 20)) * unit
    scores -= scores.mean(axis=0)
    lifted = np.where(np.arange(20) < 16, scores, scores + unit)  # a mean of 0 in four of five genes alone
    corrected = scores + 0.3 * unit  # below 0 as well, but about a mean that is not
    nearly = scores + 0.15 * unit
    tables = (scores, nearly, np.column_stack([scores, np.zeros((200, 9))]), lifted, corrected, np.abs(scores), 0 * scores)
    assert [standardised(sparse.csr_matrix(table)) for table in tables] == [True, True, True, False, False, False, False]


def test_a_page_of_a_query_shows_what_was_measured_where_it_is_on_the_scale_alone(
    trained: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Logarithms whose logarithm was taken would stand there as measured; and a query needs no counts, so none is refused."""
    experiment = bleep.load(trained["contrastive"])
    section = experiment.split.test[0]
    below = logged(section)
    below.counts.X = below.counts.X - below.counts.X.mean(axis=0)
    huge = replace(below, counts=below.counts.copy())
    huge.counts.X = np.where(np.arange(len(huge))[:, None] < 3, 1e4, below.counts.X).astype(np.float32)
    for one, there in ((section, True), (logged(section), False), (below, False), (huge, False)):
        caplog.clear()
        tiles = experiment.tiles((one,))
        (view,) = query_page(experiment.run, tiles, experiment.predict(tiles), None).views
        assert (view.measured is not None) == there
        assert ("without what was measured" in caplog.text) != there
