"""Whether values are the counts that `panel.normalise: log1p` takes them for, by some spots of each section."""

import logging
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from bleep.data.qc.measures import Values, kind_of_values
from bleep.data.section import Section
from bleep.errors import DataError

SAMPLE = 200
"""Spots of a section that are looked at."""

log = logging.getLogger(__name__)


def values_of(section: Section) -> Values:
    """Return what kind of values a section holds, by spots spread over it."""
    rows = sparse.csr_matrix(section.counts.X[:: max(len(section) // SAMPLE, 1)])
    total = np.asarray(rows.sum(axis=1)).ravel()
    return kind_of_values(rows.data[rows.data > 0], total, len(section.genes))


def check_counts(sections: Sequence[Section], normalise: str) -> None:
    """Refuse logarithms beside counts, of which log1p would be taken once more; where no section has counts, warn of it.

    Raises:
        DataError: naming a section of either kind.

    """
    if normalise != "log1p":
        return
    found = {section.name: values_of(section) for section in sections}
    counted = [name for name, kind in found.items() if kind == "counts"]
    logged = [name for name, kind in found.items() if kind == "logarithms"]
    if counted and logged:
        raise DataError(
            f"section {logged[0]}: holds fractions as small as logarithms, while section {counted[0]} holds counts, which "
            "panel.normalise log1p takes: give its counts (where its file has them, by data.layer or data.raw), or leave it "
            "out by data.sections"
        )
    if odd := [name for name, kind in found.items() if kind not in ("counts", "nothing")]:
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        way = "set it to none if they are normalised already" if logged else "read counts if you have them"
        log.warning(
            "section %s%s: the values are not whole numbers, though panel.normalise is log1p, which expects counts; %s",
            odd[0], more, way,
        )  # fmt: skip


def check_added(added: Sequence[Section], trained: Sequence[Section], normalise: str) -> None:
    """Refuse logarithms that shall be added to the counts that a run was trained on; without its tissue counts are expected.

    Raises:
        DataError: naming the section.

    """
    logged = [] if normalise != "log1p" else [section.name for section in added if values_of(section) == "logarithms"]
    if logged and (not trained or any(values_of(section) == "counts" for section in trained)):
        raise DataError(
            f"section {logged[0]}: holds fractions as small as logarithms, but this run takes counts: give a file whose X, or "
            "layer called counts, holds them, or leave the section out by --sections"
        )
