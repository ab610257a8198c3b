"""Whether tissue stands twice in the data: by its counts, whatever they are called, and by its places in a picture."""

import contextlib
import zlib
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.spatial import cKDTree

from bleep.errors import DataError
from bleep.tissue.checks.finding import Finding, error, warning
from bleep.tissue.genes import aligned
from bleep.tissue.section import Section
from bleep.tissue.slides import MosaicSlide
from bleep.tissue.slides.base import file_digest

FEWEST_GENES = 5
"""Spots with counts of fewer genes may be alike by chance."""
FEWEST_SPOTS = 5
"""Fewer spots than this say nothing."""
ALIKE = 0.5
"""Share of the smaller section's spots with the same counts that makes two sections one tissue."""
COMMON = 0.05
"""Share of its places, likewise; and of the spots of one section that have the counts of another spot."""


class _Known(NamedTuple):
    section: Section
    prints: np.ndarray
    picture: str
    tiles: frozenset[str]


def twice(sections: Sequence[Section]) -> Iterator[Finding]:
    """Yield sections that hold the same tissue, or lie in one picture, and sections that hold a spot twice."""
    known = [_known(section, prints) for section, prints in zip(sections, fingerprints(sections), strict=True)]
    for section, prints, *_ in known:
        repeated = len(prints) - len(np.unique(prints))
        if repeated > COMMON * len(section):
            yield warning(
                "repeated-spots",
                [section.name],
                f"{repeated} of {len(section)} spots have exactly the counts of another spot; see whether the table holds "
                "spots twice, under other ids",
            )
    for one, other in combinations(known, 2):
        fewest = min(len(np.unique(one.prints)), len(np.unique(other.prints)))
        alike = len(np.intersect1d(one.prints, other.prints)) / fewest if fewest >= FEWEST_SPOTS else 0.0
        if alike > ALIKE:
            yield error(
                "same-tissue",
                [one.section.name, other.section.name],
                f"{alike:.0%} of the spots have exactly the same counts in both, and the pictures are "
                f"{'the same' if one.picture == other.picture else 'different files'}: one tissue under two names; remove one",
            )
        else:
            yield from _same_places(one, other)


def _known(section: Section, prints: np.ndarray) -> _Known:
    slide = section.slide
    tiles = frozenset(map(file_digest, slide.paths)) if isinstance(slide, MosaicSlide) else frozenset()
    return _Known(section, prints, slide.digest(), tiles)


def fingerprints(sections: Sequence[Section]) -> list[np.ndarray]:
    """Return a number for each spot that is equal where the counts are, over the genes that all sections share.

    Neither the order of the genes, nor the names or the order of the spots matter. Spots of few genes have none.
    """
    own = {section.name: (section.genes, np.arange(len(section.genes))) for section in sections}
    measured = [section for section in sections if len(section.genes)]
    with contextlib.suppress(DataError):
        shared, _, columns = aligned(measured) if measured else (pd.Index([]), (), [])
        if len(shared) >= FEWEST_GENES:
            own |= {section.name: (shared, found) for section, found in zip(measured, columns, strict=True)}
    return [_fingerprint(section, *own[section.name]) for section in sections]


def _fingerprint(section: Section, genes: pd.Index, columns: np.ndarray) -> np.ndarray:
    if genes.empty:
        return np.empty(0)
    table = sparse.csr_matrix(section.counts.X, dtype=np.float64)[:, columns]
    weights = np.array([zlib.crc32(str(gene).encode()) for gene in genes], dtype=np.float64) / 2**32 + 1
    full = np.asarray((table > 0).sum(axis=1)).ravel() >= min(FEWEST_GENES, len(genes))
    # Rounded, because the order of a sum changes its last digits.
    return np.round(np.asarray(table @ weights).ravel()[full], 6)


def _same_places(one: _Known, other: _Known) -> Iterator[Finding]:
    (first, second), common = (one.section, other.section), len(one.tiles & other.tiles)
    names = [first.name, second.name]
    if common > COMMON * min(len(one.tiles), len(other.tiles)):
        message = f"{common} of their tiles are the same pictures, with other counts; remove what stands twice"
        yield error("same-tissue", names, message)
    if one.tiles or other.tiles or one.picture != other.picture:
        return
    near = cKDTree(first.xy).query(second.xy)[0] < 0.5 * min(_pitch(first), _pitch(second))
    if near.sum() > COMMON * min(len(first), len(second)):
        message = f"{near.sum()} of their spots lie at the same places of one picture, with other counts; remove one section"
        yield error("same-tissue", names, message)
    elif first.patient != second.patient:
        yield warning(
            "same-picture",
            names,
            f"they lie in one picture, yet count as patients {first.patient} and {second.patient}; if they are of one "
            "patient, say so in data.patients",
        )


def _pitch(section: Section) -> float:
    return section.pitch() if len(section) > 1 else 1.0
