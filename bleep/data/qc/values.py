"""Whether sections hold values of one kind, and such as `panel.normalise` takes, by some spots of each."""

import logging
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32
from scipy import sparse

from bleep.data.normalize import LARGEST_LOG
from bleep.data.panel import GenePanel
from bleep.data.qc.measures import Values, kind_of_values
from bleep.data.section import Section
from bleep.errors import DataError

SAMPLE = 200
"""Spots of a section that are looked at."""

log = logging.getLogger(__name__)


def values_of(section: Section) -> Values:
    """Return what kind of values a section holds, by spots spread over it."""
    return _look(section)[0]


def _look(section: Section) -> tuple[Values, float]:
    """Return the kind of a section's values, and the largest of those looked at."""
    rows = sparse.csr_matrix(section.counts.X[:: max(len(section) // SAMPLE, 1)])
    total = np.asarray(rows.sum(axis=1)).ravel()
    return kind_of_values(rows.data[rows.data > 0], total, len(section.genes)), float(rows.data.max(initial=0.0))


def _unlogged(section: Section, normalise: str) -> str:
    """Return in words which values without a logarithm a section surely holds; empty: none of which that is sure.

    Small whole numbers are such where `normalise` takes counts; where it takes anything they may be what somebody made.
    """
    kind, largest = _look(section)
    if kind == "counts" and (normalise == "log1p" or largest >= LARGEST_LOG):
        return "counts"
    return "values that sum to the same in every spot" if kind == "scaled" and largest >= LARGEST_LOG else ""


def check_counts(sections: Sequence[Section], normalise: str) -> None:
    """Refuse logarithms beside values of which none was taken; where log1p is taken of no section's counts, warn of it.

    Raises:
        DataError: naming a section of either kind.

    """
    unlogged = {section.name: _unlogged(section, normalise) for section in sections}
    found = {section.name: values_of(section) for section in sections}
    counted = [name for name, words in unlogged.items() if words]
    logged = [name for name, kind in found.items() if kind == "logarithms"]
    if counted and logged:
        takes = (
            "which panel.normalise log1p takes" if normalise == "log1p" else "and panel.normalise none takes both as they are"
        )
        raise DataError(
            f"section {logged[0]}: holds fractions as small as logarithms, while section {counted[0]} holds "
            f"{unlogged[counted[0]]}, {takes}: give values of one kind (counts, where its file has them, by data.layer or "
            "data.raw), or leave it out by data.sections"
        )
    odd = [name for name, kind in found.items() if kind not in ("counts", "nothing")]
    if odd and normalise == "log1p":
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        way = "set it to none if they are normalised already" if logged else "read counts if you have them"
        log.warning(
            "section %s%s: the values are not whole numbers, though panel.normalise is log1p, which expects counts; %s",
            odd[0], more, way,
        )  # fmt: skip


def check_added(added: Sequence[Section], trained: Sequence[Section], normalise: str) -> None:
    """Refuse what is added to a run's tissue with a logarithm where that has none, or without where that has one.

    Without its tissue a run that takes log1p is expected to have been trained on counts.

    Raises:
        DataError: naming the section.

    """
    logged = [section.name for section in added if values_of(section) == "logarithms"]
    counts = "a file whose X, or layer called counts, holds them, or leave the section out by --sections"
    if logged and ((not trained and normalise == "log1p") or any(_unlogged(section, normalise) for section in trained)):
        raise DataError(
            f"section {logged[0]}: holds fractions as small as logarithms, but this run takes counts: give {counts}"
        )
    unlogged = [(section.name, words) for section in added if (words := _unlogged(section, normalise))]
    if unlogged and any(values_of(section) == "logarithms" for section in trained):
        raise DataError(
            f"section {unlogged[0][0]}: holds {unlogged[0][1]}, but this run was trained on logarithms: give values made in "
            "the same way, or leave the section out by --sections"
        )


def measured_beside(section: Section, panel: GenePanel) -> Float32[np.ndarray, "spots genes"] | None:
    """Return what was measured on a panel's scale, to stand beside a prediction of it.

    None: the tissue lacks genes of the panel; or holds values that are not of that scale, such as logarithms where log1p of
    counts is taken, which is said. A prediction needs no measured values, so nothing is refused.
    """
    if not set(panel.genes) <= set(section.genes):
        return None
    try:
        if panel.normalise == "log1p" and values_of(section) == "logarithms":
            raise DataError(
                f"section {section.name}: holds fractions as small as logarithms, but the panel's scale is of counts"
            )
        return panel.values(section)
    except DataError as error:
        log.warning("without what was measured, which is not on the scale of the prediction: %s", error)
        return None
