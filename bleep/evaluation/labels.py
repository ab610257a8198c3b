"""Scores of predicted labels, as functions of the probability of each class and the true class, one-hot."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32, Float64, Int

from bleep.errors import DataError

Probability = Float[np.ndarray, "tiles classes"]
Fold = Float[np.ndarray, "_ classes"]
BINS = 15
"""Of confidence, for the calibration error (Guo et al., ICML 2017)."""
RESAMPLES = 1000
FLOOR = "majority class"
"""The predictor that gives every tile the shares of the classes in its training tissue."""
OFF = 0.01
"""How far from a half an area is that joining folds has moved."""
LEAST = 5
"""Patients below which there are no intervals: of so few, resamples say nothing of the next one."""

SCORES: Mapping[str, str] = {
    "auc": "area under the ROC curve; of several classes the mean of each against the rest",
    "average_precision": "area under the precision-recall curve, mean precision over recalls",
    "accuracy": "share of tiles told right",
    "balanced_accuracy": "recall of each class, mean over classes",
    "f1": "harmonic mean of precision and recall; of two classes that of the last, of several the mean",
    "precision": "share of the tiles told so that are so, of the same class or classes",
    "recall": "share of the tiles that are so that are told so, of the same class or classes",
    "macro_f1": "F1 of each class, mean over classes",
    "calibration_error": "absolute difference of confidence and accuracy, weighted mean over 15 bins of confidence",
}
"""What is reported, and what it means. A class that no tile has (for F1 and precision: nor is told) is left out of means."""


def _positive(classes: int) -> list[int]:
    """Return the classes whose ROC, precision, recall and F1 are averaged: of two the last alone."""
    return [1] if classes == 2 else list(range(classes))


def roc_auc(probability: Probability, truth: Probability) -> float:
    """Return the area under the ROC curve, by ranks (Mann and Whitney 1947), without classes that all or no tiles have."""
    from scipy.stats import rankdata  # here, since importing it takes half a second

    found = []
    for column in _positive(truth.shape[1]):
        own = truth[:, column] > 0.5
        yes, no = int(own.sum()), int((~own).sum())
        if yes and no:
            ranks = rankdata(probability[:, column])
            found.append((ranks[own].sum() - yes * (yes + 1) / 2) / (yes * no))
    return float(np.mean(found)) if found else float("nan")


def by_folds(auc: Mapping[str, float], parts: Mapping[str, Sequence[tuple[Fold, Fold]]]) -> str:
    """Say the mean ROC area over folds, where joining them gives the majority class another than .5.

    What a fold holds out its training tissue lacks: where folds differ in their shares of classes, a class is told more where
    it is rarer, and joined areas lie below those of each fold (Forman and Scholz, SIGKDD Explorations 12, 2010).

    Args:
        auc: of each predictor, over all folds joined.
        parts: of each predictor, probability and truth of each fold.

    """
    if FLOOR not in auc or len(parts[FLOOR]) < 2 or not abs(auc[FLOOR] - 0.5) > OFF:
        return ""
    alone = {name: np.array([roc_auc(*part) for part in found]) for name, found in parts.items()}
    means = ", ".join(f"{name} {_mean(each):.3f}" for name, each in alone.items())
    return f"{means} (AUC, mean over folds; joined, what knows shares of classes alone has {auc[FLOOR]:.3f}, not .5)"


def average_precision(probability: Probability, truth: Probability) -> float:
    """Return the area under the precision-recall curve as a step function; ties enter together."""
    found = []
    for column in _positive(truth.shape[1]):
        own = truth[:, column] > 0.5
        if not own.any():
            continue
        order = np.argsort(-probability[:, column], kind="stable")
        value, hits = probability[order, column], np.cumsum(own[order])
        last = np.flatnonzero(np.append(np.diff(value) != 0, True))
        gained = np.diff(np.append(0, hits[last]))
        found.append(float((gained * hits[last] / (last + 1)).sum() / own.sum()))
    return float(np.mean(found)) if found else float("nan")


def decided(probability: Probability, threshold: float | None) -> Int[np.ndarray, " tiles"]:
    """Return the class of each tile: the likeliest, or of two the last where it reaches the threshold."""
    if threshold is None or probability.shape[1] != 2:
        return np.argmax(probability, axis=1)
    return (probability[:, 1] >= threshold).astype(np.int64)


def confusion(told: Int[np.ndarray, " tiles"], truth: Probability) -> Int[np.ndarray, "classes classes"]:
    """Return the number of tiles of each true class (rows) told to be each class (columns)."""
    classes = truth.shape[1]
    counted: np.ndarray = np.bincount(np.argmax(truth, axis=1) * classes + told, minlength=classes**2)
    return counted.reshape(classes, classes)


def by_class(table: Int[np.ndarray, "classes classes"]) -> dict[str, Float64[np.ndarray, " classes"]]:
    """Return precision, recall and F1 of each class of a confusion.

    Precision of a class that is there and never told is 0. What a class has no tiles for is not a number: recall where none is
    of it, precision and F1 where none is told to be, either.

    >>> found = by_class(np.array([[8, 2], [1, 4]]))
    >>> {name: values.round(2).tolist() for name, values in found.items()}
    {'precision': [0.89, 0.67], 'recall': [0.8, 0.8], 'f1': [0.84, 0.73]}

    """
    right, told, true = np.diag(table).astype(float), table.sum(axis=0), table.sum(axis=1)
    total = (told + true).astype(float)
    precision = np.divide(right, told, out=np.where(total > 0, 0.0, np.nan), where=told > 0)
    recall = np.divide(right, true, out=np.full_like(right, np.nan), where=true > 0)
    f1 = np.divide(2 * right, total, out=np.full_like(right, np.nan), where=total > 0)
    return {"precision": precision, "recall": recall, "f1": f1}


def calibration_error(probability: Probability, truth: Probability) -> float:
    """Return the expected calibration error of the likeliest class over equal bins of its probability."""
    confidence, right = probability.max(axis=1), np.argmax(probability, axis=1) == np.argmax(truth, axis=1)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return float(sum(abs(float((confidence - right)[bins == one].mean())) * (bins == one).mean() for one in np.unique(bins)))


def best_threshold(probability: Probability, truth: Probability, by: Callable[[np.ndarray], float]) -> float:
    """Return the threshold of the last of two classes at which a score of the confusion is highest, midway between tiles."""
    values = np.unique(probability[:, 1])
    middle = (values[1:] + values[:-1]) / 2
    tried = middle[np.linspace(0, len(middle) - 1, min(len(middle), 200)).astype(int)] if len(middle) else np.array([0.5])
    scores = [by(confusion(decided(probability, float(one)), truth)) for one in tried]
    return float(tried[int(np.argmax(scores))])


def balanced(table: np.ndarray) -> float:
    """Return the balanced accuracy of a confusion."""
    return _mean(by_class(table)["recall"])


def _mean(values: np.ndarray) -> float:
    """Return the mean of what is a number; not a number where nothing is."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def positive_f1(table: np.ndarray) -> float:
    """Return F1 of the last of two classes, or the mean over several."""
    return _mean(by_class(table)["f1"][_positive(len(table))])


def scores(probability: Probability, truth: Probability, told: Int[np.ndarray, " tiles"]) -> dict[str, float]:
    """Return every score of `SCORES`; `told` is the class each tile is said to be.

    Raises:
        DataError: a probability is not a number.

    """
    if not np.isfinite(probability).all():
        raise DataError("a predicted probability is not a number; train with a lower rate")
    table, positive = confusion(told, truth), _positive(truth.shape[1])
    single = by_class(table)
    return {
        "auc": roc_auc(probability, truth),
        "average_precision": average_precision(probability, truth),
        "accuracy": float(np.diag(table).sum() / table.sum()),
        "balanced_accuracy": balanced(table),
        "f1": _mean(single["f1"][positive]),
        "precision": _mean(single["precision"][positive]),
        "recall": _mean(single["recall"][positive]),
        "macro_f1": _mean(single["f1"]),
        "calibration_error": calibration_error(probability, truth),
    }


@final
@dataclass(frozen=True, slots=True)
class Interval:
    """A bootstrap interval over patients."""

    low: float
    high: float


def patient_intervals(
    probability: Probability, truth: Probability, told: Int[np.ndarray, " tiles"], patients: np.ndarray, seed: int = 0
) -> dict[str, Interval]:
    """Return the 95 % bootstrap interval of every score, whole patients drawn with replacement (Efron 1979).

    NaN where there are fewer than `LEAST` patients.
    """
    names, number = np.unique(patients, return_inverse=True)
    rows = [np.flatnonzero(number == at) for at in range(len(names))]
    draw, found = np.random.default_rng(seed), []
    for _ in range(RESAMPLES if len(names) >= LEAST else 0):
        picked = np.concatenate([rows[at] for at in draw.integers(len(names), size=len(names))])
        found.append(scores(probability[picked], truth[picked], told[picked]))
    nothing = Interval(float("nan"), float("nan"))
    if not found:
        return dict.fromkeys(SCORES, nothing)
    ends = {name: _quantiles([one[name] for one in found]) for name in SCORES}
    return {name: Interval(float(low), float(high)) for name, (low, high) in ends.items()}


def roc_curve(probability: Float[np.ndarray, " tiles"], own: Bool[np.ndarray, " tiles"]) -> Float64[np.ndarray, "points 2"]:
    """Return the false and the true positive rate at every threshold, from (0, 0) to (1, 1)."""
    order = np.argsort(-probability, kind="stable")
    value = probability[order]
    last = np.append(np.diff(value) != 0, True)
    right, wrong = np.cumsum(own[order])[last], np.cumsum(~own[order])[last]
    points = np.stack([wrong / max(int((~own).sum()), 1), right / max(int(own.sum()), 1)], axis=1)
    return np.concatenate([np.zeros((1, 2)), points])


def _quantiles(values: list[float]) -> tuple[float, float]:
    known = np.array(values)[np.isfinite(values)]
    return (float(np.quantile(known, 0.025)), float(np.quantile(known, 0.975))) if len(known) else (float("nan"), float("nan"))


@final
@dataclass(frozen=True, slots=True)
class LabelPrediction:
    """What one predictor says of the test tiles of one run."""

    predictor: str
    seed: int
    fold: int
    probability: Float32[np.ndarray, "tiles classes"]
    truth: Float32[np.ndarray, "tiles classes"]
    told: Int[np.ndarray, " tiles"]
    """Class each tile is said to be, by the threshold below."""
    spots: pd.DataFrame
    threshold: float | None
    """Of the last of two classes, chosen on validation tissue; None: the likeliest class."""


@final
@dataclass(frozen=True, slots=True)
class Pooled:
    """The test tiles of all folds of one seed."""

    probability: Float32[np.ndarray, "tiles classes"]
    truth: Float32[np.ndarray, "tiles classes"]
    told: Int[np.ndarray, " tiles"]
    patients: np.ndarray

    @classmethod
    def of(cls, parts: Sequence[LabelPrediction]) -> "Pooled":
        """Join folds."""
        tables = [[one.probability for one in parts], [one.truth for one in parts], [one.told for one in parts]]
        probability, truth, told = (np.concatenate(table) for table in tables)
        return cls(probability, truth, told, np.concatenate([one.spots["patient"].to_numpy(str) for one in parts]))

    def by_patient(self) -> list[dict[str, Any]]:
        """Return the scores of each patient's own tiles; those of one class have no ROC."""
        found = []
        for patient in np.unique(self.patients):
            mine = self.patients == patient
            line = scores(self.probability[mine], self.truth[mine], self.told[mine])
            found.append({"patient": str(patient), "tiles": int(mine.sum()), **line})
        return found
