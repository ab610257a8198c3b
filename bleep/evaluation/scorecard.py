"""One predictor on one test section."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int

from bleep.errors import MismatchError
from bleep.evaluation.correlation import pearson
from bleep.records import Prediction, Scorecard

SCORES: Mapping[str, str] = {
    "pcc": "Pearson r of each gene over the section's spots, mean over all panel genes",
    "pcc_heg50": "the same over the 50 genes of highest mean in the training spots",
    "pcc_hvg50": "the same over the 50 genes of highest variance in the training spots",
    "pcc_spot": "Pearson r of each spot over the panel's genes, mean over spots: near .8 is the mean profile, not skill",
    "mse": "squared error, mean over spots and genes, on the normalised scale",
    "variance_ratio": "variance of the predicted values over that of the measured, median over genes: below 1 is too smooth",
}
"""What is reported, and what it means."""


def score(
    prediction: Prediction,
    measured: Float32[np.ndarray, "tiles genes"],
    gene_sets: Mapping[str, Int[np.ndarray, " some"]],
    seed: int,
    name: str,
) -> Scorecard:
    """Compare a prediction of one section with what was measured there.

    `gene_sets` maps a score's name, such as `pcc_heg50`, to columns of the panel chosen on training data.

    Raises:
        MismatchError: the shapes differ, or the prediction is of several sections.

    """
    if prediction.expression.shape != measured.shape:
        raise MismatchError(f"a prediction of shape {prediction.expression.shape} meets measured values of {measured.shape}")
    sections = prediction.spots["section"].unique()
    if len(sections) != 1:
        raise MismatchError(f"a scorecard is of one section, but the prediction is of {', '.join(sections)}")
    predicted = prediction.expression
    r = pearson(predicted, measured)
    variance = measured.var(axis=0, dtype=np.float64)
    ratio = np.where(variance > 0, predicted.var(axis=0, dtype=np.float64) / np.where(variance > 0, variance, 1.0), np.nan)
    genes = pd.DataFrame(
        {"pearson": r, "mse": ((predicted - measured) ** 2).mean(axis=0), "variance_ratio": ratio},
        index=pd.Index(prediction.genes, name="gene"),
    )
    summary = {"pcc": _mean(r)}
    summary |= {key: _mean(r[columns]) for key, columns in gene_sets.items()}
    summary |= {
        "pcc_spot": _mean(pearson(predicted.T, measured.T)),
        "mse": float(genes["mse"].mean()),
        "variance_ratio": float(np.nanmedian(ratio)) if np.isfinite(ratio).any() else float("nan"),
    }
    return Scorecard(name, str(sections[0]), seed, genes, summary, int(np.isnan(r).sum()))


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
