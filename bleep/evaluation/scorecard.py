"""One predictor on one test section."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64, Int
from scipy import sparse

from bleep.data.prediction import Prediction
from bleep.errors import MismatchError
from bleep.evaluation.metrics import DeviationState, interval_scores, pearson, ranked
from bleep.evaluation.statistics import LIST, OF_TEST, Windows, morans_i, neighbour_graph, structural_similarity
from bleep.records import Scorecard

SCORES: Mapping[str, str] = {
    "pcc": "Pearson r of each gene over the section's spots, mean over all panel genes",
    "pcc_heg50": "the same over the 50 genes of highest mean in the training spots",
    "pcc_hvg50": "the same over the 50 genes of highest variance in the training spots",
    "pcc_spot": "Pearson r of each spot over the panel's genes, mean over spots: near .8 is the mean profile, not skill",
    "mse": "squared error, mean over spots and genes, on the normalised scale",
    "variance_ratio": "variance of the predicted values over that of the measured, median over genes: below 1 is too smooth",
}
"""What is always reported, and what it means."""
HEADINGS = {
    "pcc": "PCC",
    "pcc_heg50": "HEG50",
    "pcc_hvg50": "HVG50",
    "pcc_spot": "per spot",
    "mse": "MSE",
    "variance_ratio": "var. ratio",
}
"""How the scores are called in tables."""
METRIC = "metric:"
"""Begins the names of scores of other packages."""
ENDS = ("_sd", "_low", "_high")
"""Ends of the names of columns that say how sure a score is."""
MORE: Mapping[str, str] = {
    "pcc_cv50": "Pearson r over the 50 genes of highest coefficient of variation in the training spots",
    "pcc_moran50": "the same over the 50 genes of highest Moran's I in the training sections",
    "pcc_heg50_of_test": "the same over the 50 genes of highest sum in the TEST section: chosen by the answer",
    "pcc_hvg50_of_test": "the same over the 50 genes of highest variance in the TEST section: chosen by the answer",
    "spearman": "rank correlation of each gene over the section's spots, mean over genes",
    "spearman_spot": "rank correlation of each spot over the panel's genes, mean over spots",
    "mae": "absolute error, mean over spots and genes, on the normalised scale",
    "r2": "1 - squared error / that of the section's own mean, median over genes: below 0 is worse than that mean",
    "moran_measured": "Moran's I of the measured maps, mean over genes",
    "moran_predicted": "Moran's I of the predicted maps, mean over genes; a flat map counts as 0",
    "moran_error": "absolute difference of the two, mean over genes",
    "ssim": "structural similarity of predicted and measured maps on the spots, mean over genes",
    "coverage": "share of the measured values inside the predicted intervals, mean over genes",
    "width": "width of these intervals on the normalised scale, mean over genes",
    "recall_1": "share of tiles whose own spot is the nearest of the section's spots in the shared space",
    "recall_10": "share of tiles whose own spot is among the 10 nearest",
    "recall_50": "share of tiles whose own spot is among the 50 nearest",
    "recall_10_over_chance": "recall_10 divided by what chance gives, 10 of the section's spots",
    "median_rank": "median rank of a tile's own spot, as a share of the section's spots: .5 is chance",
}
"""What is reported besides when all scores are asked for."""


def meaning(score: str) -> str:
    """Return what a score means."""
    known = {**SCORES, **MORE}
    if score.startswith(METRIC):
        return f"{score.removeprefix(METRIC)}, a metric of another package"
    if score not in known and score.startswith(LIST):
        return f"Pearson r over the genes of the list {score.removeprefix(LIST)}, mean over those in the panel"
    return known[score]


@final
@dataclass(frozen=True, slots=True)
class Truth:
    """What all scores need of a measured section, made once for all predictors."""

    measured: Float32[np.ndarray, "tiles genes"]
    ranks: Float32[np.ndarray, "tiles genes"]
    """Of each gene over the spots."""
    spot_ranks: Float32[np.ndarray, "genes tiles"]
    """Of each spot over the genes."""
    graph: sparse.csr_array | None
    """Neighbours; none where tiles have no places, or something was not measured."""
    moran: Float64[np.ndarray, " genes"]
    windows: Windows | None

    @classmethod
    def of(cls, measured: Float32[np.ndarray, "tiles genes"], xy: Float64[np.ndarray, "tiles 2"] | None) -> "Truth":
        """Look at a section; maps are scored where everything was measured and the places are known."""
        ranks = ranked(measured, measured), ranked(measured.T, measured.T)
        if xy is None or not np.isfinite(measured).all():
            return cls(measured, *ranks, None, np.full(measured.shape[1], np.nan), None)
        graph = neighbour_graph(xy)
        return cls(measured, *ranks, graph, morans_i(measured, graph), Windows.of(measured, xy))


def score(
    prediction: Prediction,
    measured: Float32[np.ndarray, "tiles genes"] | Truth,
    gene_sets: Mapping[str, Int[np.ndarray, " some"]],
    seed: int,
    name: str,
) -> Scorecard:
    """Compare a prediction of one section with what was measured there; with a `Truth`, by all scores.

    `gene_sets` maps a score's name, such as `pcc_heg50`, to columns of the panel. Genes whose measured values do not vary are
    left out of means; a prediction that does not vary has r = 0 (see `bleep.evaluation.metrics`).

    Raises:
        MismatchError: the shapes differ, or the prediction is of several sections.
        DataError: a predicted value is not a number.

    """
    truth = measured if isinstance(measured, Truth) else None
    values = measured.measured if isinstance(measured, Truth) else measured
    section, patient = _section(prediction, values)
    predicted = prediction.expression
    deviation = DeviationState.of(predicted, values)
    r, ratio, mse = deviation.moments.pearson(), deviation.variance_ratio(), deviation.mse()
    genes = pd.DataFrame({"pearson": r, "mse": mse, "variance_ratio": ratio}, index=pd.Index(prediction.genes, name="gene"))
    summary = {"pcc": mean(r)}
    summary |= {key: mean(r[columns]) for key, columns in gene_sets.items()}
    summary |= {"pcc_spot": mean(pearson(predicted.T, values.T)), "mse": mean(mse), "variance_ratio": _median(ratio)}
    if truth is not None:
        more = {"mae": deviation.mae(), "r2": deviation.r2()} | _by_gene(prediction, truth)
        genes = genes.assign(**more)
        spots = mean(pearson(ranked(predicted.T, values.T), truth.spot_ranks))
        summary |= {key: mean(column) for key, column in more.items()} | {"r2": _median(more["r2"]), "spearman_spot": spots}
    absent = tuple(map(str, genes.index[np.isnan(values).all(axis=0)]))
    return Scorecard(name, section, seed, genes, _ordered(summary), int(np.isnan(r).sum()), patient, absent=absent)


def mean(values: np.ndarray) -> float:
    """Return the mean of what is a number; not a number where nothing is."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def section_means(cards: Sequence[Scorecard], *more: str) -> pd.DataFrame:
    """Return the scores by predictor, `more` (such as `patient`) and section: means over seeds, then over a section's parts."""
    keys = ["predictor", *more, "section", "part"]
    rows = pd.DataFrame([{key: getattr(card, key) for key in keys} | card.summary for card in cards])
    return rows.groupby(keys, sort=False).mean().groupby(keys[:-1], sort=False).mean()


def gene_means(cards: Sequence[Scorecard]) -> pd.DataFrame:
    """Return the scores of genes by predictor, gene and section: means over seeds, then over a section's parts."""
    parts = [card.genes.assign(predictor=card.predictor, section=card.section, part=card.part) for card in cards]
    keys = ["predictor", "gene", "section", "part"]
    rows = pd.concat(parts).rename_axis("gene").reset_index()
    return rows.groupby(keys, sort=False).mean().groupby(keys[:-1], sort=False).mean()


def correlations(cards: Sequence[Scorecard]) -> pd.DataFrame:
    """Return the correlation of each gene by each predictor, a column each: the mean over the sections that have one."""
    r = gene_means(cards)["pearson"].groupby(level=["gene", "predictor"], sort=False).mean().unstack("predictor")
    return r[list(dict.fromkeys(card.predictor for card in cards))]


def _median(values: np.ndarray) -> float:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")


def _by_gene(prediction: Prediction, truth: Truth) -> dict[str, np.ndarray]:
    predicted, measured = prediction.expression, truth.measured
    found = {"spearman": pearson(ranked(predicted, measured), truth.ranks)}
    if truth.graph is not None and truth.windows is not None:
        there = np.isfinite(truth.moran)
        moran = np.where(there, np.nan_to_num(morans_i(predicted, truth.graph)), np.nan)
        found |= {
            "moran_measured": truth.moran,
            "moran_predicted": moran,
            "moran_error": np.abs(moran - truth.moran),
            "ssim": structural_similarity(predicted, measured, truth.windows),
        }
    if prediction.lower is not None and prediction.upper is not None:
        found |= interval_scores(prediction.lower, prediction.upper, measured)._asdict()
    return found


def _section(prediction: Prediction, measured: np.ndarray) -> tuple[str, str]:
    if prediction.expression.shape != measured.shape:
        raise MismatchError(f"a prediction of shape {prediction.expression.shape} meets measured values of {measured.shape}")
    sections = prediction.spots["section"].unique()
    if len(sections) != 1:
        raise MismatchError(f"a scorecard is of one section, but the prediction is of {', '.join(sections)}")
    return str(sections[0]), str(prediction.spots["patient"].iloc[0])


def _ordered(summary: dict[str, float]) -> dict[str, float]:
    """Return the scores in the order they are told in: the usual ones, sets of genes, the rest."""
    order = [*SCORES, *(key for key in summary if key.startswith(LIST) or key.endswith(OF_TEST)), *MORE]
    return {key: summary[key] for key in dict.fromkeys(order) if key in summary}
