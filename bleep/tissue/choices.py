"""Which genes a panel takes, chosen on the training spots."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import pandas as pd
from scipy import sparse

from bleep.errors import DataError
from bleep.settings import ChoiceName, PanelConfig
from bleep.tissue.normalise import Moments, dispersion, moments


@final
@dataclass(frozen=True, slots=True)
class Candidates:
    """What a choice looks at."""

    shared: pd.Index
    """Genes measured in every training section."""
    keep: np.ndarray
    """Those of them that may be chosen, as places in `shared`."""
    mean: Moments
    """Mean over the training spots, normalised."""
    variance: Moments
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
    mean, variance = moments(stacked)
    seen = np.asarray((stacked > 0).mean(axis=0)).ravel()
    keep = np.flatnonzero(seen > config.min_spots) if config.min_spots else np.arange(len(shared))
    if config.candidates is not None:
        keep = keep[np.argsort(-mean[keep], kind="stable")[: config.candidates]]
    chosen = CHOICES[config.choice](Candidates(shared, keep, mean, variance, tables, config))
    if len(chosen) == 0:
        raise DataError("no gene is left in the panel: lower panel.min_spots or panel.candidates")
    return np.sort(chosen) if config.choice != "list" else chosen


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
