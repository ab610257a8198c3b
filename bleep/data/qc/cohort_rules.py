"""What does not fit between sections: names of genes, kinds of values, depth, stain, scale."""

import contextlib
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.spatial import cKDTree

from bleep.data.gene_names import ANIMALS, aligned, overlaps
from bleep.data.qc.measures import Measures
from bleep.data.qc.report import Finding, error, warning
from bleep.data.section import Section
from bleep.data.slides import MosaicSlide
from bleep.data.slides.base import file_digest
from bleep.errors import DataError

FEWEST_GENES = 5
"""Spots with counts of fewer genes may be alike by chance."""
FEWEST_SPOTS = 5
"""Fewer spots than this say nothing."""
ALIKE = 0.5
"""Share of the smaller section's spots with the same counts that makes two sections one tissue."""
FEWEST_NAMED = 20
"""Spots of one name from which their totals can be compared."""
NEAR, MOSTLY_NEAR, TOGETHER = 0.1, 0.9, 0.95
"""Totals of a spot are nearly the same up to this difference, in that share of the spots, with that correlation."""
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
        elif (common := _same_totals(one.section, other.section)) > ALIKE:
            yield error(
                "same-tissue",
                [one.section.name, other.section.name],
                f"{common:.0%} of the spots have the same names, with nearly the same totals of counts in both: one tissue "
                "under two names, changed a little; remove one",
            )
        else:
            yield from _same_places(one, other)


def _same_totals(one: Section, other: Section) -> float:
    """Return the share of the smaller section's spots whose name stands in both, if their totals go together; else 0.

    Barcodes of two slides of one kind are the same, but their totals are not.
    """
    if not len(one.genes) or not len(other.genes):
        return 0.0
    names = one.counts.obs_names.intersection(other.counts.obs_names)
    if len(names) < FEWEST_NAMED:
        return 0.0
    totals = [
        np.asarray(sparse.csr_matrix(section.counts.X)[section.counts.obs_names.get_indexer(names)].sum(axis=1)).ravel()
        for section in (one, other)
    ]
    near = np.abs(totals[0] - totals[1]) <= NEAR * np.maximum(np.abs(totals[0]), np.abs(totals[1]))
    if near.mean() < MOSTLY_NEAR or min(np.std(total) for total in totals) == 0:
        return 0.0
    if np.corrcoef(totals[0], totals[1])[0, 1] < TOGETHER:
        return 0.0
    return len(names) / min(len(one), len(other))


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
    return pitch if (pitch := section.pitch()) < math.inf else 1.0


SHARED, HARDLY = 0.5, 0.1
"""Share of its genes a section should have in common with the others, and with which next to nothing can be learned."""
LIBRARY = 5.0
"""Ratio of median counts."""
STAIN = 0.6
"""Distance of two stains, as a share of their mean strength."""
SCALES = 2.0
"""Ratio of two numbers of microns per pixel."""


def across(sections: Sequence[Section], measured: Sequence[Measures]) -> Iterator[Finding]:
    """Yield what is wrong between sections."""
    yield from twice(sections)
    mixed = [*_animals(measured)]
    yield from mixed or _sharing(sections, measured)
    for rule in RULES:
        yield from rule(measured)


def _animals(measured: Sequence[Measures]) -> Iterator[Finding]:
    """Yield a mixture of species, as said or as the genes look."""
    names = [one.section for one in measured]
    said = _grouped(measured, lambda one: one.species)
    if len(said) > 1:
        yield error("species", names, f"the sections are of several species ({_words(said)}); read one species at a time")
        return
    looks = _grouped((one for one in measured if one.counts.names.looks in ANIMALS), lambda one: one.counts.names.looks)
    if len(looks) > 1 and not looks.keys() <= {"mouse", "rodent"} and not looks.keys() <= {"rat", "rodent"}:
        words = "; ".join(f"{part[0].counts.names.describe()} in {_some(part)}" for part in looks.values())
        yield error("species", names, f"the genes look like those of several species ({words}); read one species at a time")


def _sharing(sections: Sequence[Section], measured: Sequence[Measures]) -> Iterator[Finding]:
    """Yield sections whose genes are not those of the others, under either of their names."""
    full = [(section, one) for section, one in zip(sections, measured, strict=True) if len(section.genes)]
    if len(full) < 2:
        return
    typical = _typical([section.genes for section, _ in full])
    if typical.min() >= SHARED:
        return
    common = _aligned([section for section, _ in full]) / min(len(section.genes) for section, _ in full)
    if common >= SHARED:
        return
    kinds = _grouped((one for _, one in full), lambda one: "Ensembl ids" if one.counts.names.ids else "symbols")
    if len(kinds) > 1:
        message = f"genes are named by {_words(kinds)}, and nothing says which belong together; bring all to one kind of name"
        yield error("gene-names", [one.section for _, one in full], message)
        return
    odd = [one for (_, one), share in zip(full, typical, strict=True) if share < SHARED]
    other = next(one for _, one in full if one is not odd[0])
    cased = _typical([section.genes.astype(str).str.upper().unique() for section, _ in full]).min() >= SHARED
    yield (error if typical.min() < HARDLY else warning)(
        "few-shared-genes",
        [one.section for one in odd],
        f"only {typical.min():.0%} of the genes are shared with the others ({odd[0].section} has "
        f"{odd[0].counts.names.example}, {other.section} has {other.counts.names.example}); "
        + ("write them alike, in upper or lower case" if cased else "read sections of one panel, or leave these out"),
    )


def _aligned(sections: Sequence[Section]) -> int:
    try:
        return len(aligned(sections)[0])
    except DataError:
        return 0


def _typical(genes: list[Any]) -> np.ndarray:
    """Return, for each set of names, the median share it has in common with the others."""
    return np.array([np.median(np.delete(row, place)) for place, row in enumerate(overlaps(genes))])


def _kinds(measured: Sequence[Measures]) -> Iterator[Finding]:
    kinds = _grouped((one for one in measured if one.counts.values != "nothing"), lambda one: one.counts.values)
    if len(kinds) > 1:
        message = f"the values are not of one kind ({_words(kinds)}); read counts everywhere, or values made in one way"
        yield error("mixed-values", [one.section for one in measured], message)


def _depth(measured: Sequence[Measures]) -> Iterator[Finding]:
    known = sorted((one for one in measured if one.counts.median > 0), key=lambda one: one.counts.median)
    if known and (ratio := known[-1].counts.median / known[0].counts.median) > LIBRARY:
        low, high = known[0], known[-1]
        yield warning(
            "depth",
            [low.section, high.section],
            f"a spot of {high.section} has {ratio:.0f} times the counts of one of {low.section} (medians "
            f"{high.counts.median:,.0f} and {low.counts.median:,.0f}), so that what is rare is missing in one; look at their "
            "scores apart, or leave the weak one out",
        )


def _stain(measured: Sequence[Measures]) -> Iterator[Finding]:
    known, pairs = [], []
    for one in measured:
        if one.picture is not None and np.isfinite(one.picture.haematoxylin):
            known.append(one)
            pairs.append((one.picture.haematoxylin, one.picture.eosin))
    if len(known) < 2:
        return
    places = np.array(pairs)
    strength = np.linalg.norm(places, axis=1)
    apart = np.linalg.norm(places[:, None] - places, axis=2) / np.maximum((strength[:, None] + strength) / 2, 1e-9)
    if apart.max() > STAIN:
        a, b = (int(place) for place in np.unravel_index(apart.argmax(), apart.shape))
        yield warning(
            "stain",
            [known[a].section, known[b].section],
            f"the stains differ by {apart.max():.0%} of their strength (haematoxylin {pairs[a][0]:.2f} and {pairs[b][0]:.2f}, "
            f"eosin {pairs[a][1]:.2f} and {pairs[b][1]:.2f}); try image.standardize: section, or leave one out",
        )


def _scales(measured: Sequence[Measures]) -> Iterator[Finding]:
    fine, coarse = min(measured, key=lambda one: one.mpp), max(measured, key=lambda one: one.mpp)
    if coarse.mpp > SCALES * fine.mpp:
        yield warning(
            "scales",
            [fine.section, coarse.section],
            f"{fine.section} has {fine.mpp:.3g} microns per pixel and {coarse.section} {coarse.mpp:.3g}, so that one shows "
            "detail the other lacks; take pictures of one resolution",
        )


RULES: tuple[Callable[[Sequence[Measures]], Iterator[Finding]], ...] = (_kinds, _depth, _stain, _scales)


def _grouped(measured: Iterable[Measures], key: Callable[[Measures], str]) -> dict[str, list[Measures]]:
    groups: dict[str, list[Measures]] = {}
    for one in measured:
        groups.setdefault(key(one), []).append(one)
    return groups


def _words(groups: dict[str, list[Measures]]) -> str:
    return "; ".join(f"{name} in {_some(part)}" for name, part in groups.items())


def _some(measured: Sequence[Measures]) -> str:
    more = f" and {len(measured) - 3} more" if len(measured) > 3 else ""
    return ", ".join(one.section for one in measured[:3]) + more
