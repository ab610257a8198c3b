"""From counts to normalised values, and what varies among them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int64
from scipy import sparse
from scipy.spatial import cKDTree

from bleep.config import ChoiceName, PanelConfig, ScaleName
from bleep.data.section import Section
from bleep.errors import DataError

GeneVector = Float64[np.ndarray, " genes"]


ROWS, POOLED_ROWS = 65_536, 2_048
"""Spots whose counts are in double precision at a time, so that memory does not grow with a section; fewer where spots are
pooled, since each then has the counts of many."""
CHOSEN_ON = 20_000
"""Pooled spots that genes are chosen on, evenly spread over all: the pooled counts of all genes would fill any memory."""
UNEVEN = 1.002
"""Share of `panel.pool` that spots may lie away: on a grid whole rings lie at it, which rounding would tear apart."""


def normalised(section: Section, columns: Int64[np.ndarray, " genes"], config: PanelConfig) -> sparse.csr_matrix:
    """Return these columns of a section, spots x genes, on the normalised scale.

    Raises:
        DataError: values are negative, and shall be taken for counts; or spots without places shall be pooled.

    """
    return _joined(list(normalised_blocks(section, columns, config)))


def dense_values(
    section: Section, columns: Int64[np.ndarray, " genes"], config: PanelConfig, dtype: type[np.floating]
) -> Float[np.ndarray, "spots genes"]:
    """Return the same as an array, made block by block.

    Raises:
        DataError: see `normalised`.

    """
    out, at = np.empty((len(section), len(columns)), dtype), 0
    for block in normalised_blocks(section, columns, config):
        out[at : at + block.shape[0]] = block.toarray()
        at += block.shape[0]
    return out


MOSTLY = 0.8
"""Share of the genes whose values look like z-scores that makes all of them such."""


def standardised(matrix: sparse.csr_matrix) -> bool:
    """Return whether most genes have a mean near 0 and values on both sides of it, as z-scores have."""
    if not matrix.nnz or matrix.data.min() >= 0 or not np.isfinite(matrix.data).all():
        return False
    mean = np.asarray(matrix.mean(axis=0)).ravel()
    spread = np.sqrt(np.maximum(np.asarray(matrix.multiply(matrix).mean(axis=0)).ravel() - mean**2, 0))
    varied = spread > 0
    return bool(varied.any() and (np.abs(mean[varied]) < 0.2 * spread[varied]).mean() > MOSTLY)


def refuse_z_scores(name: str, matrix: sparse.csr_matrix) -> None:
    """Refuse a section that is `standardised`."""
    if standardised(matrix):
        raise DataError(
            f"section {name}: holds z-scores, a mean of 0 and values of both signs in nearly every gene, and these are "
            "no expression; give the counts, or their logarithms with panel.normalise none"
        )


def normalised_blocks(
    section: Section, columns: Int64[np.ndarray, " genes"], config: PanelConfig, step: int = 1
) -> Iterator[sparse.csr_matrix]:
    """Yield `normalised` in blocks of spots, of every `step`-th spot alone.

    Raises:
        DataError: see `normalised`.

    """
    counts = sparse.csr_matrix(section.counts.X)
    refuse_z_scores(section.name, counts)
    if config.normalise != "none" and counts.nnz and counts.data.min() < 0:
        raise DataError(
            f"section {section.name}: holds negative values (least {counts.data.min():g}), which are no counts, but "
            f"panel.normalise is {config.normalise}: set it to none for values that are normalised already"
        )
    for over, table in _summed(section, counts, columns, config, step):
        if config.normalise == "none":
            yield table
            continue
        scale = sparse.diags_array(config.target / np.where(over > 0, over, 1.0))
        yield sparse.csr_matrix(scale @ table).log1p()


def _summed(
    section: Section, counts: sparse.csr_matrix, columns: Int64[np.ndarray, " genes"], config: PanelConfig, step: int
) -> Iterator[tuple[Float64[np.ndarray, " rows"], sparse.csr_matrix]]:
    """Yield the total of each spot and these columns of its counts, both summed over the spots within `panel.pool`."""
    if not config.pool:
        for at in range(0, len(section), ROWS * step):
            block = sparse.csr_matrix(counts[at : at + ROWS * step : step], dtype=np.float64)
            table = block[:, columns]
            yield np.asarray((table if config.denominator == "panel" else block).sum(axis=1)).ravel(), table
        return
    if not section.has_positions:
        raise DataError(
            f"section {section.name}: its tiles have no places, so panel.pool cannot tell which are near: set panel.pool to 0"
        )
    table = counts[:, columns].astype(np.float64)
    total = np.asarray((table if config.denominator == "panel" else counts).sum(axis=1, dtype=np.float64)).ravel()
    places = section.xy * section.mpp
    tree = cKDTree(places)
    for at in range(0, len(section), POOLED_ROWS * step):
        here = places[at : at + POOLED_ROWS * step : step]
        pairs = cKDTree(here).sparse_distance_matrix(tree, UNEVEN * config.pool, output_type="ndarray")
        near = sparse.csr_matrix((np.ones(len(pairs)), (pairs["i"], pairs["j"])), shape=(len(here), len(section)))
        yield near @ total, sparse.csr_matrix(near @ table)


def _joined(tables: Sequence[sparse.csr_matrix]) -> sparse.csr_matrix:
    return tables[0] if len(tables) == 1 else sparse.vstack(tables).tocsr()


@final
@dataclass(frozen=True, slots=True)
class ColumnStats:
    """Statistics of the columns of a table."""

    mean: GeneVector
    variance: GeneVector
    seen: GeneVector
    """Share of the rows above 0."""

    @classmethod
    def of(cls, tables: Iterable[sparse.csr_matrix], rows: int = ROWS) -> "ColumnStats":
        """Measure a table that comes in blocks, joined until they have so many rows."""
        parts = [
            (
                table.shape[0],
                np.asarray(table.mean(axis=0)).ravel(),
                np.asarray(table.multiply(table).mean(axis=0)).ravel(),
                np.asarray((table > 0).mean(axis=0)).ravel(),
            )
            for table in _of_rows(tables, rows)
        ]
        # One block, as most data are, is not weighed: its numbers are those of versions before to the last bit.
        count = sum(part[0] for part in parts)
        mean, square, seen = (
            parts[0][at] if len(parts) == 1 else sum(part[0] * part[at] for part in parts) / count for at in (1, 2, 3)
        )
        return cls(mean, np.maximum(square - mean**2, 0.0), seen)


def _of_rows(tables: Iterable[sparse.csr_matrix], rows: int) -> Iterator[sparse.csr_matrix]:
    """Join tables until they have so many rows."""
    held: list[sparse.csr_matrix] = []
    for table in tables:
        if held and sum(one.shape[0] for one in held) + table.shape[0] > rows:
            yield _joined(held)
            held = []
        held.append(table)
    yield _joined(held)


def ranked(mean: GeneVector, variance: GeneVector, by: str) -> Int64[np.ndarray, " genes"]:
    """Return the columns by falling `mean`, `variance` or coefficient of variation (`cv`), equal ones in their order.

    The coefficient, standard deviation over mean, says nothing of a gene whose mean is 0 or less: such genes come last.
    """
    positive = mean > 0
    ratio = np.where(positive, np.sqrt(variance) / np.where(positive, mean, 1.0), -np.inf)
    return np.argsort(-{"mean": mean, "variance": variance, "cv": ratio}[by], kind="stable")


LARGEST_LOG = 20.0
"""No logarithm of a count is as large as this: ln of a million is 14, log2 of it is 20."""


def dispersion(tables: Iterable[sparse.csr_matrix], rows: int = ROWS, *, logged: bool = True) -> GeneVector:
    """Return how much more a gene varies than others of its mean (Satija et al., Nat Biotechnol 2015): log variance to
    mean ratio on the unlogged scale, on which values that are not `logged` are already, standardised within twenty bins of
    the mean.
    """
    stats = ColumnStats.of((table.expm1() if logged else table for table in tables), rows)
    mean, variance = stats.mean, stats.variance
    ratio = np.log(np.where((mean > 0) & (variance > 0), variance / np.where(mean > 0, mean, 1.0), np.nan))
    bins = pd.cut(np.log1p(mean), 20, labels=False)
    grouped = pd.Series(ratio).groupby(bins)
    spread = grouped.transform("std").fillna(1.0).replace(0.0, 1.0)
    standard: GeneVector = ((ratio - grouped.transform("mean")) / spread).fillna(-np.inf).to_numpy(np.float64)
    return standard


def _robust(values: Float[np.ndarray, "spots genes"]) -> tuple[GeneVector, GeneVector]:
    quarter, middle, three = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    spread = np.where(three > quarter, (three - quarter) / 1.349, values.std(axis=0))
    return middle, spread


SCALES: Mapping[ScaleName, Callable[[Float[np.ndarray, "spots genes"]], tuple[GeneVector, GeneVector]]] = {
    "none": lambda values: (np.zeros(values.shape[1]), np.ones(values.shape[1])),
    "zscore": lambda values: (values.mean(axis=0), values.std(axis=0)),
    "minmax": lambda values: (values.min(axis=0), np.ptp(values, axis=0)),
    "robust": _robust,
}
"""What each scaling subtracts, and then divides by."""


@final
@dataclass(frozen=True, slots=True)
class Candidates:
    """What a choice looks at."""

    shared: pd.Index
    """Genes measured in every training section."""
    keep: np.ndarray
    """Those of them that may be chosen, as places in `shared`."""
    mean: GeneVector
    """Mean over the training spots, normalised."""
    variance: GeneVector
    """Variance of the same."""
    tables: Callable[[], Iterator[Iterator[sparse.csr_matrix]]]
    """Returns the normalised values of the shared genes, for each training section in blocks of spots."""
    config: PanelConfig

    def enough(self, columns: np.ndarray) -> np.ndarray:
        """Return the first `panel.size` of them.

        Raises:
            DataError: there are fewer.

        """
        if len(columns) < self.config.size:
            raise DataError(
                f"panel.size asks for {self.config.size} genes, but only {len(columns)} are candidates; "
                "lower panel.size or panel.min_spots, or raise panel.candidates"
            )
        return columns[: self.config.size]


def choose(
    shared: pd.Index, sections: Sequence[Section], columns: Sequence[Int64[np.ndarray, " genes"]], config: PanelConfig
) -> np.ndarray:
    """Return the places of the chosen genes in `shared`: in its order, or for `list` in that of the list.

    Args:
        shared: names of the genes that every section has.
        sections: the training sections.
        columns: of each section, where it has them.
        config: the rule.

    Raises:
        DataError: none is left, or fewer than were asked for.

    """
    # Before the panel is chosen, its genes' total is not known: totals are over all genes then.
    before = config.model_copy(update={"denominator": "all"})
    step = -(-sum(map(len, sections)) // CHOSEN_ON) if config.pool else 1

    def tables() -> Iterator[Iterator[sparse.csr_matrix]]:
        for section, found in zip(sections, columns, strict=True):
            yield normalised_blocks(section, found, before, step)

    rows = POOLED_ROWS if config.pool else ROWS
    stats = ColumnStats.of((block for table in tables() for block in table), rows)
    mean, variance, seen = stats.mean, stats.variance, stats.seen
    keep = np.flatnonzero(seen > config.min_spots) if config.min_spots else np.arange(len(shared))
    if config.candidates is not None:
        keep = keep[np.argsort(-mean[keep], kind="stable")[: config.candidates]]
    chosen = CHOICES[config.choice](Candidates(shared, keep, mean, variance, tables, config))
    if len(chosen) == 0:
        raise DataError("no gene is left in the panel: lower panel.min_spots or panel.candidates")
    return np.sort(chosen) if config.choice != "list" else chosen


def included(chosen: np.ndarray, shared: pd.Index, others: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Return the chosen genes and, after them, the named ones that are not among them; either vocabulary will do.

    Raises:
        DataError: a name is not that of a gene measured in every training section.

    """
    found = {name: place for place, name in reversed(list(enumerate(others))) if name}
    found |= {str(name): place for place, name in enumerate(shared)}
    for name in names:
        if name not in found:
            near = get_close_matches(name, found, n=1)
            raise DataError(
                f"panel.include: {name} is not measured in every training section"
                + (f"; did you mean {near[0]}?" if near else f"; genes there are named like {', '.join(map(str, shared[:3]))}")
            )
    there = set(chosen.tolist())
    extra = dict.fromkeys(found[name] for name in names if found[name] not in there)
    return np.concatenate([chosen, np.array(list(extra), dtype=chosen.dtype)])


def _from_list(of: Candidates) -> np.ndarray:
    path = Path(str(of.config.list))
    if not path.is_file():
        raise DataError(f"{path}: no such file; panel.list needs one gene a line")
    try:
        genes = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not text in UTF-8; panel.list needs one gene a line") from None
    if not genes:
        raise DataError(f"{path}: is empty, so that no gene is left in the panel; write one gene a line")
    missing = [gene for gene in genes if gene not in of.shared]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(genes)} genes are not measured in every training section, first "
            f"{', '.join(missing[:5])}; remove them from the list"
        )
    if len(set(genes)) < len(genes):
        raise DataError(f"{path}: gene {next(g for g in genes if genes.count(g) > 1)!r} stands more than once")
    return of.shared.get_indexer(pd.Index(genes))


def _from_hvg(of: Candidates) -> np.ndarray:
    best = set()
    # Values that are taken as they are may be counts, or such per million, and no logarithms.
    logged = of.config.normalise == "log1p" or all(
        block.data.max(initial=0.0) < LARGEST_LOG for blocks in of.tables() for block in blocks
    )
    for blocks in of.tables():
        spread = dispersion(blocks, POOLED_ROWS if of.config.pool else ROWS, logged=logged)[of.keep]
        best.update(of.keep[np.argsort(-spread, kind="stable")[: of.config.size]].tolist())
    return np.array(sorted(best), dtype=np.int64)


CHOICES: Mapping[ChoiceName, Callable[[Candidates], np.ndarray]] = {
    "all": lambda of: of.keep,
    "list": _from_list,
    "mean": lambda of: of.enough(of.keep[np.argsort(-of.mean[of.keep], kind="stable")]),
    "variance": lambda of: of.enough(of.keep[np.argsort(-of.variance[of.keep], kind="stable")]),
    "hvg": _from_hvg,
}
