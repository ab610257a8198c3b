"""From counts to normalised values, and what varies among them."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int64
from scipy import sparse

from bleep.errors import DataError
from bleep.settings import PanelConfig, ScaleName
from bleep.tissue.section import Section

Moments = Float64[np.ndarray, " genes"]


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


def moments(table: sparse.csr_matrix) -> tuple[Moments, Moments]:
    """Return mean and variance of each column."""
    mean = np.asarray(table.mean(axis=0)).ravel()
    square = np.asarray(table.multiply(table).mean(axis=0)).ravel()
    return mean, np.maximum(square - mean**2, 0.0)


def ranked(mean: Moments, variance: Moments, by: str) -> Int64[np.ndarray, " genes"]:
    """Return the columns by falling `mean`, `variance` or coefficient of variation (`cv`), equal ones in their order.

    The coefficient, standard deviation over mean, says nothing of a gene whose mean is 0 or less: such genes come last.
    """
    positive = mean > 0
    ratio = np.where(positive, np.sqrt(variance) / np.where(positive, mean, 1.0), -np.inf)
    return np.argsort(-{"mean": mean, "variance": variance, "cv": ratio}[by], kind="stable")


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


def _robust(values: Float[np.ndarray, "spots genes"]) -> tuple[Moments, Moments]:
    quarter, middle, three = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    spread = np.where(three > quarter, (three - quarter) / 1.349, values.std(axis=0))
    return middle, spread


SCALES: Mapping[ScaleName, Callable[[Float[np.ndarray, "spots genes"]], tuple[Moments, Moments]]] = {
    "none": lambda values: (np.zeros(values.shape[1]), np.ones(values.shape[1])),
    "zscore": lambda values: (values.mean(axis=0), values.std(axis=0)),
    "minmax": lambda values: (values.min(axis=0), np.ptp(values, axis=0)),
    "robust": _robust,
}
"""What each scaling subtracts, and then divides by."""
