"""What measured tissue is like: its sections, genes, pairs of genes and odd spots, as tables.

This looks at all tissue it is given, test sections included: nothing here may choose genes or spots for a scored run.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64, Int64
from scipy import sparse

from bleep.config import PanelConfig
from bleep.data.gene_names import aligned
from bleep.data.normalize import normalised
from bleep.data.section import Section
from bleep.errors import DataError
from bleep.progress import Progress

LEAST = 5
"""Fewer spots, or fewer genes, than this are not described."""
CELLS = 1 << 26
"""Values held dense at a time."""
MADS = 5.0
"""A spot is odd when it lies more than this many median absolute deviations from its section's median."""
ROUNDED = 1e-6
"""Share of a section's median by which equal numbers may differ, as they were written with so many digits."""
STRONG = 0.8
"""Pairs of genes are listed from this absolute correlation on."""
COMMON = 0.05
"""Genes seen in a smaller share of the spots are not paired: two genes seen once, in one spot, correlate perfectly."""
PAIRS = 100_000
"""Most pairs listed, the strongest first."""

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, slots=True)
class Pooled:
    """The measured values of several sections as one table."""

    values: sparse.csc_matrix
    """Spots x genes, normalised as the recipe says."""
    genes: pd.Index
    """Genes that all sections share, by the first one's names."""
    others: tuple[str, ...]
    """Each gene's other name, symbol or id; empty where it is not known."""
    spots: pd.DataFrame
    """One row a spot, indexed by `section/spot`: section, spot, patient, x, y, total (over all its genes), seen (genes)."""
    scale: str
    """What the values are, in words."""
    total: str
    """What a spot's total is, in words."""

    @property
    def sections(self) -> tuple[str, ...]:
        """Names of the sections, in order."""
        return tuple(self.spots["section"].unique())

    def describe(self) -> str:
        """Return how much there is."""
        many = "s" if len(self.sections) > 1 else ""
        return f"{len(self.sections)} section{many}, {len(self.spots):,} spots, {len(self.genes):,} shared genes"

    @property
    def labels(self) -> np.ndarray:
        """Names for people to read: an Ensembl id gives way to the symbol, where that is known."""
        pairs = zip(self.genes, self.others, strict=True)
        return np.array([other if other and name.startswith("ENS") else name for name, other in pairs], dtype=object)

    @property
    def codes(self) -> Int64[np.ndarray, " spots"]:
        """Number of each spot's section."""
        return pd.factorize(self.spots["section"])[0].astype(np.int64)


def pool(sections: Sequence[Section], config: PanelConfig) -> Pooled:
    """Join the sections that have counts, over the genes they share.

    Raises:
        DataError: nothing was measured, there are too few spots, or the sections share no gene.

    """
    measured = [section for section in sections if not section.genes.empty]
    bare = [section.name for section in sections if section.genes.empty]
    if not measured:
        raise DataError(f"nothing was measured in {', '.join(bare[:5])}; describing needs sections with counts")
    if bare:
        log.warning("left out, since nothing was measured there: %s", ", ".join(bare))
    names, others, columns = aligned(measured)
    spots = pd.concat([_spots(section) for section in measured])
    if min(len(spots), len(names)) < LEAST:
        raise DataError(f"there are {len(spots)} spots x {len(names)} shared genes; describing needs {LEAST} of each at least")
    counted = config.normalise == "log1p"
    # There is no panel whose genes a total could be taken over, and the pooled counts of all genes would fill any memory.
    rule = config.model_copy(update={"denominator": "all", "pool": 0.0})
    if config.pool:
        log.warning("panel.pool is left out here: each spot is described by its own counts, none summed with its neighbours'")
    tables = [normalised(section, found, rule) for section, found in zip(measured, columns, strict=True)]
    values = sparse.vstack(tables).tocsc()
    values.eliminate_zeros()
    return Pooled(
        values=values,
        genes=names,
        others=others,
        spots=spots,
        scale=f"log1p of counts per {config.target:g}, total over all genes" if counted else "values as in the files",
        total="total counts" if counted else "sum of the values",
    )


def _spots(section: Section) -> pd.DataFrame:
    # A copy: to compare is to sort, and without one scipy sorts the section's own columns away from their values.
    counts = sparse.csr_matrix(section.counts.X, dtype=np.float64, copy=True)
    total, seen = np.asarray(counts.sum(axis=1)).ravel(), np.asarray((counts > 0).sum(axis=1)).ravel()
    return section.frame().assign(total=total, seen=seen.astype(np.int64))


def section_table(pooled: Pooled) -> pd.DataFrame:
    """Return a row a section: patient, spots, and the quartiles of a spot's total and of the genes seen in it."""
    rows = []
    for name, part in pooled.spots.groupby("section", sort=False):
        row = {"section": name, "patient": part["patient"].iloc[0], "spots": len(part)}
        for what in ("total", "seen"):
            quartiles = part[what].quantile([0.25, 0.5, 0.75])
            row |= dict(zip((f"{what}_q1", f"{what}_median", f"{what}_q3"), quartiles, strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def gene_table(pooled: Pooled) -> pd.DataFrame:
    """Return a row a gene: its range, quartiles and moments over all spots, and its ranks (1: the highest).

    `cv` is the standard deviation over the mean; `zeros` the share of spots where it is 0.
    """
    parts = []
    for start, stop in _blocks(len(pooled.genes), pooled.values.shape[0]):
        dense = pooled.values[:, start:stop].toarray()
        low, q1, median, q3, high = np.quantile(dense, [0, 0.25, 0.5, 0.75, 1], axis=0)
        spread = {"min": low, "q1": q1, "median": median, "q3": q3, "max": high}
        # The mean of equal numbers is rounded, so that they would vary a little from it.
        varies = np.where(low < high, dense.var(axis=0), 0.0)
        moments = {"mean": dense.mean(axis=0), "variance": varies, "zeros": (dense == 0).mean(axis=0)}
        parts.append(pd.DataFrame(spread | moments))
    table = pd.concat(parts, ignore_index=True)
    table["cv"] = np.sqrt(table["variance"]) / table["mean"].where(table["mean"] > 0)
    for name in ("mean", "variance", "cv"):
        table[f"rank_{name}"] = table[name].rank(ascending=False, method="first", na_option="bottom").astype(np.int64)
    table.insert(0, "gene", pooled.genes.to_numpy())
    table.insert(1, "other_name", pooled.others)
    table.insert(2, "label", pooled.labels)
    return table


def outliers(pooled: Pooled, distance: Float64[np.ndarray, " spots"]) -> pd.DataFrame:
    """Return the spots that lie beyond their section's median by more than 5 median absolute deviations.

    Three things are measured, all as log(1 + value): the total and the genes seen, on both sides, and the `distance` of a
    spot from the middle of its section, above alone. Totals some of which are below 0, as of values that were corrected for
    batches, are measured as they are. A spot that is odd in several ways has as many rows.
    """
    measures = {"total": pooled.total, "seen": "genes seen", "distance": "distance from the middle of its section"}
    rows = []
    for section, part in pooled.spots.assign(distance=distance).groupby("section", sort=False):
        for name, words in measures.items():
            forth, back = (np.log1p, np.expm1) if part[name].min() >= 0 else (np.asarray, np.asarray)
            values = forth(part[name].to_numpy(np.float64))
            middle = np.median(values)
            reach = MADS * np.median(np.abs(values - middle))
            # Values per million sum to a million but for rounding.
            if reach <= ROUNDED * np.abs(middle):
                log.info("section %s: %s of most spots is the same, so none is called odd by it", section, words)
                continue
            sides = {"above": (values > middle + reach, middle + reach)}
            if name != "distance":
                sides["below"] = (values < middle - reach, middle - reach)
            for side, (odd, limit) in sides.items():
                reason = f"{words} {side} the median {'+' if side == 'above' else '-'} {MADS:g} MAD of its section"
                found = part[odd]
                rows += [(spot, section, name, value, back(limit), reason) for spot, value in found[["spot", name]].values]
    return pd.DataFrame(rows, columns=["spot", "section", "measure", "value", "limit", "reason"])


@final
@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of genes that rise and fall together."""

    table: pd.DataFrame
    """gene_a, gene_b, r over all spots, r_within: the same after each section's own means are taken off; strongest first."""
    found: int
    """How many there are; the table stops at `PAIRS`."""
    tested: int
    """Genes that were paired."""

    def describe(self) -> str:
        """Say how many there are, and of how many the sections' own means are not the cause."""
        within = int((self.table["r_within"].abs() >= STRONG).sum())
        listed = "" if self.found == len(self.table) else f" the strongest {len(self.table):,} are listed;"
        return (
            f"{self.found:,} pairs of {self.tested:,} common genes reach |r| = {STRONG:g};{listed} {within:,} do so within "
            "sections too"
        )


def gene_pairs(pooled: Pooled, strong: float = STRONG) -> Pairs:
    """Return the pairs of common genes whose Pearson correlation is at least `strong`, up or down.

    Only two blocks of genes are held dense at a time, so that many thousand genes can be paired.
    """
    share = np.diff(pooled.values.indptr) / pooled.values.shape[0]
    columns = np.flatnonzero(share >= COMMON)
    parts: list[pd.DataFrame] = []
    found = 0
    blocks = list(_blocks(len(columns), 4 * pooled.values.shape[0]))
    for (start, stop), (other, last) in Progress(
        list(combinations_with_replacement(blocks, 2)), desc="pairing genes", unit="block", leave=False, delay=3
    ):
        left, left_within = _standard(pooled, columns[start:stop])
        right, right_within = (left, left_within) if start == other else _standard(pooled, columns[other:last])
        r = left.T @ right
        mask = np.abs(r) >= strong
        a, b = np.nonzero(np.triu(mask, 1) if start == other else mask)
        if not len(a):
            continue
        within = (left_within.T @ right_within)[a, b]
        found += len(a)
        parts.append(pd.DataFrame({"a": columns[start + a], "b": columns[other + b], "r": r[a, b], "r_within": within}))
        if sum(map(len, parts)) > 4 * PAIRS:
            parts = [_strongest(parts)]
    table = _strongest(parts) if parts else pd.DataFrame({"a": [], "b": [], "r": [], "r_within": []}, dtype=np.int64)
    genes = pooled.labels
    for name in ("b", "a"):
        table.insert(0, f"gene_{name}", genes[table.pop(name).to_numpy(np.int64)])
    return Pairs(table, found, len(columns))


def _strongest(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    joined = pd.concat(parts, ignore_index=True)
    return joined.sort_values("r", key=np.abs, ascending=False, kind="stable", ignore_index=True).head(PAIRS)


def _standard(
    pooled: Pooled, columns: Int64[np.ndarray, " genes"]
) -> tuple[Float32[np.ndarray, "spots genes"], Float32[np.ndarray, "spots genes"]]:
    """Return columns of mean 0 and length 1, over all spots, and after each section's own mean is taken off."""
    dense = pooled.values[:, columns].toarray()
    overall = dense - dense.mean(axis=0)
    within = overall.copy()
    for code in range(len(pooled.sections)):
        rows = pooled.codes == code
        within[rows] -= within[rows].mean(axis=0)
    return _unit(overall), _unit(within)


def _unit(columns: Float64[np.ndarray, "spots genes"]) -> Float32[np.ndarray, "spots genes"]:
    length = np.sqrt((columns**2).sum(axis=0))
    return (columns / np.where(length > 1e-9, length, np.inf)).astype(np.float32)


def _blocks(columns: int, rows: int) -> Iterator[tuple[int, int]]:
    width = max(1, min(2048, CELLS // rows))
    for start in range(0, columns, width):
        yield start, min(start + width, columns)
