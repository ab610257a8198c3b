"""From counts to normalised values, and what varies among them."""

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy import sparse

from bleep.settings import PanelConfig
from bleep.tissue.section import Section

Moments = Float64[np.ndarray, " genes"]


def normalised(section: Section, genes: pd.Index, config: PanelConfig, panel: pd.Index | None) -> sparse.csr_matrix:
    """Return spots x genes on the normalised scale; with no panel yet, `denominator: panel` falls back to all genes."""
    counts = sparse.csr_matrix(section.counts.X, dtype=np.float64)
    table = counts[:, section.genes.get_indexer(genes)]
    if config.normalise == "none":
        return table
    over = table if config.denominator == "panel" and panel is not None else counts
    total = np.asarray(over.sum(axis=1)).ravel()
    scale = sparse.diags_array(config.target / np.where(total > 0, total, 1.0))
    return sparse.csr_matrix(scale @ table).log1p()


def moments(table: sparse.csr_matrix) -> tuple[Moments, Moments]:
    """Return mean and variance of each column."""
    mean = np.asarray(table.mean(axis=0)).ravel()
    square = np.asarray(table.multiply(table).mean(axis=0)).ravel()
    return mean, np.maximum(square - mean**2, 0.0)


def dispersion(table: sparse.csr_matrix) -> Moments:
    """Return how much more a gene varies than others of its mean (Satija et al., Nat Biotechnol 2015): log variance to
    mean ratio on the unlogged scale, standardised within twenty bins of the mean.
    """
    mean, variance = moments(table.expm1())
    ratio = np.log(np.where((mean > 0) & (variance > 0), variance / np.where(mean > 0, mean, 1.0), np.nan))
    bins = pd.cut(np.log1p(mean), 20, labels=False)
    grouped = pd.Series(ratio).groupby(bins)
    spread = grouped.transform("std").fillna(1.0).replace(0.0, 1.0)
    standard: Moments = ((ratio - grouped.transform("mean")) / spread).fillna(-np.inf).to_numpy(np.float64)
    return standard
