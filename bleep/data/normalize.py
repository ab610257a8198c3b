"""From counts to normalised values, and what varies among them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int64
from scipy import sparse

from bleep.config import ChoiceName, PanelConfig, ScaleName
from bleep.data.section import Section
from bleep.errors import DataError

GeneVector = Float64[np.ndarray, " genes"]


def normalised(section: Section, columns: Int64[np.ndarray, " genes"], config: PanelConfig) -> sparse.csr_matrix:
    """Return these columns of a section, spots x genes, on the normalised scale.

    Raises:
        DataError: values are negative, and shall be taken for counts.

    """
    counts = sparse.csr_matrix(section.counts.X, dtype=np.float64)
    table = counts[:, columns]
    if config.normalise == "none":
        return table
    if counts.nnz and counts.data.min() < 0:
        raise DataError(
            f"section {section.name}: holds negative values (least {counts.data.min():g}), which are no counts, but "
            f"panel.normalise is {config.normalise}: set it to none for values that are normalised already"
        )
    over = table if config.denominator == "panel" else counts
    total = np.asarray(over.sum(axis=1)).ravel()
    scale = sparse.diags_array(config.target / np.where(total > 0, total, 1.0))
    return sparse.csr_matrix(scale @ table).log1p()


def mean_and_variance(table: sparse.csr_matrix) -> tuple[GeneVector, GeneVector]:
    """Return mean and variance of each column."""
    mean = np.asarray(table.mean(axis=0)).ravel()
    square = np.asarray(table.multiply(table).mean(axis=0)).ravel()
    return mean, np.maximum(square - mean**2, 0.0)


def ranked(mean: GeneVector, variance: GeneVector, by: str) -> Int64[np.ndarray, " genes"]:
    """Return the columns by falling `mean`, `variance` or coefficient of variation (`cv`), equal ones in their order.

    The coefficient, standard deviation over mean, says nothing of a gene whose mean is 0 or less: such genes come last.
    """
    positive = mean > 0
    ratio = np.where(positive, np.sqrt(variance) / np.where(positive, mean, 1.0), -np.inf)
    return np.argsort(-{"mean": mean, "variance": variance, "cv": ratio}[by], kind="stable")


def dispersion(table: sparse.csr_matrix) -> GeneVector:
    """Return how much more a gene varies than others of its mean (Satija et al., Nat Biotechnol 2015): log variance to
    mean ratio on the unlogged scale, standardised within twenty bins of the mean.
    """
    mean, variance = mean_and_variance(table.expm1())
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
    tables: list[sparse.csr_matrix]
    """Normalised values of the shared genes, a table for each training section."""
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


def choose(shared: pd.Index, tables: list[sparse.csr_matrix], config: PanelConfig) -> np.ndarray:
    """Return the places of the chosen genes in `shared`: in its order, or for `list` in that of the list.

    Raises:
        DataError: none is left, or fewer than were asked for.

    """
    stacked = sparse.vstack(tables).tocsr()
    mean, variance = mean_and_variance(stacked)
    seen = np.asarray((stacked > 0).mean(axis=0)).ravel()
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
        genes = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not text in UTF-8; panel.list needs one gene a line") from None
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
    for table in of.tables:
        spread = dispersion(table)[of.keep]
        best.update(of.keep[np.argsort(-spread, kind="stable")[: of.config.size]].tolist())
    return np.array(sorted(best), dtype=np.int64)


CHOICES: Mapping[ChoiceName, Callable[[Candidates], np.ndarray]] = {
    "all": lambda of: of.keep,
    "list": _from_list,
    "mean": lambda of: of.enough(of.keep[np.argsort(-of.mean[of.keep], kind="stable")]),
    "variance": lambda of: of.enough(of.keep[np.argsort(-of.variance[of.keep], kind="stable")]),
    "hvg": _from_hvg,
}
