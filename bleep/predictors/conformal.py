"""How sure a prediction is: conformal intervals, and the grade of each gene."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Float64

from bleep.errors import ConfigError
from bleep.features import Features
from bleep.models.heads import floored

Values = Float32[np.ndarray, "spots genes"]
FoldValues = Float32[np.ndarray, "_ genes"]
"""Values of one part of several, each of its own length."""
LEVELS = np.arange(50, 100) / 100
"""Shares that quantiles are kept for."""
REACH = 0.9
"""Share of left-out tiles that are within the reach of what was rehearsed; tiles farther than those get wider intervals."""
FLOOR = 0.1
"""Part of a gene's standard deviation added to every spread, so that neighbours that agree do not promise certainty."""
Distance = Float64[np.ndarray, " tiles"]
AXES = 30
"""Leading axes whose variances are told apart."""
KEPT = 2000
"""Distances of left-out tiles kept at most, evenly taken of the sorted ones."""
SHIFT = 0.2
"""How far the levels of genes lie off on another subject: mean square over genes, in variances within sections.

The worst of the twelve pairs of mice of `als-mouse`, one trained on and another predicted; the others are .06 to .17.
"""


@final
@dataclass(frozen=True, slots=True)
class Conformal:
    """Quantiles of the scores of left-out spots.

    A score is an error in units of the neighbours' spread (normalised conformal prediction: Papadopoulos, Gammerman and Vovk
    2008; Lei et al., JASA 113:1094, 2018), times a factor that grows with the square of the distance beyond `reach`.
    """

    quantiles: Float64[np.ndarray, "levels genes"]
    """One row for each of `LEVELS`."""
    floor: Float64[np.ndarray, " genes"]
    """Added to the spread."""
    reach: float = np.inf
    """Distance of a tile from the training tiles beyond which its intervals are wider; infinite in older calibrations."""

    @classmethod
    def fit(
        cls,
        errors: Sequence[FoldValues],
        spreads: Sequence[FoldValues | None],
        deviation: Float64[np.ndarray, " genes"],
        distances: Sequence[Float64[np.ndarray, "_"]] = (),
        factor: float = 1.0,
    ) -> "Conformal":
        """Take the quantiles over all left-out spots together; `deviation` is each gene's in the training spots.

        With their `distances` from what was trained on, intervals widen beyond the reach of `REACH` of them; all are `factor`
        times as wide as these errors ask for.
        """
        floor = FLOOR * np.maximum(deviation, 1e-6)
        reach = float(np.quantile(np.concatenate(distances), REACH)) if distances else np.inf
        wider = [_wider(distance, reach) for distance in distances] or [np.ones((1, 1))] * len(errors)
        scores = np.concatenate(
            [
                np.abs(error) / factor / (floor if spread is None else spread + floor)
                for error, spread, factor in zip(errors, spreads, wider, strict=True)
            ]
        )
        # With n spots the rank is (n + 1) x level, rounded up: so an interval holds at least its share, and where the rank is
        # above n no interval does.
        ranks = -(-np.round(100 * LEVELS).astype(np.int64) * (len(scores) + 1) // 100)
        ordered = np.concatenate([np.sort(scores, axis=0).astype(np.float64), np.full((1, scores.shape[1]), np.inf)])
        return cls(factor * ordered[np.minimum(ranks, len(ordered)) - 1], floor, reach)

    @property
    def most(self) -> float:
        """The largest share that intervals can hold, 0 where too few spots were left out for any."""
        return float(LEVELS[np.isfinite(self.quantiles).all(axis=1)].max(initial=0))

    def quantile(self, level: float) -> Float64[np.ndarray, " genes"]:
        """Return each gene's quantile for intervals that hold this share.

        Raises:
            ConfigError: no quantile is kept for such a level, or too few spots were left out for one.

        """
        if not LEVELS[0] <= level <= LEVELS[-1]:
            raise ConfigError(f"an interval was asked to hold {level:g} of the values; expected {LEVELS[0]} to {LEVELS[-1]}")
        found: Float64[np.ndarray, " genes"] = self.quantiles[int(np.searchsorted(LEVELS, level - 1e-9))]
        if np.isinf(found).any():
            other = f"train with query.interval {self.most:g} or less, or " if self.most else "train "
            raise ConfigError(
                f"calibration left out too few spots for intervals that hold {level:g} of the values: {other}on more tissue"
            )
        return found

    def half_width(
        self,
        shape: tuple[int, int],
        spread: Values | None,
        level: float,
        distance: Float64[np.ndarray, " tiles"] | None = None,
    ) -> Values:
        """Return how far the interval reaches to either side of a prediction, for tiles at these distances.

        Raises:
            ConfigError: no quantile is kept for such a level, or too few spots were left out for one.

        """
        quantile = self.quantile(level)
        unit = np.zeros(shape) if spread is None else spread
        width = (unit + self.floor) * quantile
        return (width if distance is None else width * _wider(distance, self.reach)).astype(np.float32)


def coverage_of_others(
    errors: Sequence[FoldValues],
    spreads: Sequence[FoldValues | None],
    deviation: Float64[np.ndarray, " genes"],
    distances: Sequence[Float64[np.ndarray, "_"]],
    level: float,
) -> dict[str, float | None]:
    """Return the share of values inside intervals fitted on the other parts, for each part left out in turn: mean and ends.

    A part whose others hold too few spots for such intervals says nothing; the shares are none where that is so of all.
    """
    shares = []
    for at, (error, spread, distance) in enumerate(zip(errors, spreads, distances, strict=True)):
        others = [place for place in range(len(errors)) if place != at]
        fitted = Conformal.fit(
            [errors[place] for place in others],
            [spreads[place] for place in others],
            deviation,
            [distances[place] for place in others],
        )
        if level <= fitted.most:
            shares.append(float((np.abs(error) <= fitted.half_width(error.shape, spread, level, distance)).mean()))
    mean = float(np.mean(shares)) if shares else None
    return {"level": level, "mean": mean, "least": min(shares, default=None), "most": max(shares, default=None)}


def coverage_in_words(told: Mapping[str, float | None]) -> str:
    """Say what `coverage_of_others` found."""
    if told["mean"] is None:
        return (
            f"how much intervals of {told['level']:.0%} hold is not known: no part leaves the others enough spots to fit them"
        )
    return (
        f"intervals of {told['level']:.0%} held {told['mean']:.1%} of the values of parts that they were not fitted on "
        f"({told['least']:.1%} to {told['most']:.1%})"
    )


def widening(errors: Sequence[FoldValues], spread: Float64[np.ndarray, " genes"]) -> float:
    """Return the factor on intervals for another subject, where errors are those of left-out sections of one.

    The levels of genes differ between sections of one subject less than between subjects. So the variance of the levels is
    raised from what left-out sections show to `SHIFT`, as in the prediction interval for a new study of a random-effects
    meta-analysis (Higgins, Thompson and Spiegelhalter, J. R. Stat. Soc. A 172:137, 2009): sqrt((within + SHIFT) / (within +
    shown)), at least 1, all in variances of a gene within sections, whose root is `spread`.
    """
    shown, within = [], []
    for error in errors:
        units = error / spread
        level = units.mean(axis=0)
        within.append(float(((units - level) ** 2).mean()))
        # The mean over a section's spots varies by itself, too.
        shown.append(float((level**2).mean()) - within[-1] / max(len(units) - 1, 1))
    inside, least = max(float(np.mean(within)), 1e-6), max(float(np.mean(shown)), 0.0)
    return max(1.0, float(np.sqrt((inside + SHIFT) / (inside + least))))


def _wider(distance: Float64[np.ndarray, " _"], reach: float) -> Float64[np.ndarray, "_ 1"]:
    # Training tiles that are all alike reach nowhere, and others are then far.
    return np.maximum(1.0, (distance / max(reach, 1e-6)) ** 2)[:, None]


@final
@dataclass(frozen=True, slots=True)
class PpcaDistance:
    """Where training tiles lie."""

    mean: Float64[np.ndarray, " features"]
    spread: Float64[np.ndarray, " features"]
    axes: Float64[np.ndarray, "axes features"]
    variance: Float64[np.ndarray, " axes"]
    """Along each axis."""
    rest: float
    """Mean variance along all others."""

    @classmethod
    def fit(cls, features: Features) -> "PpcaDistance":
        """Measure training tiles; no more axes than a third of the tiles."""
        table = features.astype(np.float64)
        mean, spread = table.mean(axis=0), table.std(axis=0)
        spread = floored(spread)
        unit = (table - mean) / spread
        values, vectors = np.linalg.eigh(unit.T @ unit / len(unit))
        count = max(1, min(AXES, len(unit) // 3, len(values) - 1))
        variance = np.maximum(values[::-1][:count], 1e-12)
        rest = max(float(values[:-count].sum()) / max(len(values) - count, 1), 1e-6)
        return cls(mean, spread, vectors[:, ::-1][:, :count].T.copy(), np.maximum(variance, rest), rest)

    def distance(self, features: Features) -> Distance:
        """Return the root of the mean squared distance, in standard deviations: near 1 for training tiles."""
        unit = (features - self.mean) / self.spread
        along = unit @ self.axes.T
        beside = np.maximum((unit**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
        total = (along**2 / self.variance).sum(axis=1) + beside / self.rest
        return np.sqrt(total / len(self.mean))


@final
@dataclass(frozen=True, slots=True)
class OutOfDistribution:
    """Distances, and what they mean on left-out training tissue."""

    cloud: PpcaDistance
    left_out: Distance
    """Distances of left-out training tiles from the others, sorted."""

    @classmethod
    def fit(cls, features: Features, left_out: Sequence[Float64[np.ndarray, "_"]]) -> "OutOfDistribution":
        """Join all training tiles with the distances that rehearsals measured."""
        distances = np.sort(np.concatenate(left_out)).astype(np.float64)
        if len(distances) > KEPT:
            distances = np.quantile(distances, np.linspace(0, 1, KEPT))
        return cls(PpcaDistance.fit(features), distances)

    def of(self, distance: Distance) -> Distance:
        """Return the share of left-out training tiles at least as far: an empirical p-value, 1 for the most usual tile."""
        nearer = np.searchsorted(self.left_out, distance, side="left")
        return (len(self.left_out) - nearer + 1) / (len(self.left_out) + 1)


GradeName = Literal["high", "medium", "low"]
GRADES: tuple[GradeName, ...] = ("high", "medium", "low")
"""Best first."""
HIGH, LOW = 0.3, 0.15
"""Expected correlation from which a gene is graded high, and below which it is low."""
WORST = 0.15
"""Correlation that a gene graded high has in each left-out group, at least."""
COLUMNS = ("expected_pcc", "least_pcc", "most_pcc")

PerGene = Float32[np.ndarray, " genes"]


@final
@dataclass(frozen=True, slots=True)
class Confidence:
    """Correlations of each gene over groups of spots that were left out; not a number where a gene varied in none."""

    expected: PerGene
    """Mean over groups."""
    least: PerGene
    most: PerGene

    @classmethod
    def of(cls, scores: Float[np.ndarray, "groups genes"]) -> "Confidence":
        """Take the correlations of each gene in each left-out group; not a number where it does not vary there."""
        there = np.isfinite(scores)
        known = there.any(axis=0)
        mean = np.where(there, scores, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
        least, most = np.where(there, scores, np.inf).min(axis=0), np.where(there, scores, -np.inf).max(axis=0)
        return cls(*(np.where(known, one, np.nan).astype(np.float32) for one in (mean, least, most)))

    def grades(self) -> list[GradeName]:
        """Return the grade of each gene; one that varied in no left-out group is low."""
        high = (self.expected >= HIGH) & (self.least >= WORST)
        low = ~(self.expected >= LOW)
        return [GRADES[0] if up else GRADES[2] if down else GRADES[1] for up, down in zip(high, low, strict=True)]

    def frame(self, genes: Sequence[str]) -> pd.DataFrame:
        """Return one row a gene: `expected_pcc`, `least_pcc`, `most_pcc` and `confidence`, its grade."""
        columns: dict[str, object] = dict(zip(COLUMNS, (self.expected, self.least, self.most), strict=True))
        return pd.DataFrame(columns | {"confidence": self.grades()}, index=pd.Index(genes))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return its numbers by name."""
        return {"expected": self.expected, "least": self.least, "most": self.most}

    def summary(self) -> dict[str, int]:
        """Return how many genes are of each grade."""
        found = self.grades()
        return {grade: found.count(grade) for grade in GRADES}


def grades_of(table: pd.DataFrame | None) -> dict[str, tuple[GradeName, float]]:
    """Return each gene's grade and the correlation expected of it, of a table of confidence; empty without one."""
    if table is None:
        return {}
    pairs = zip(table["confidence"], table["expected_pcc"].astype(float), strict=True)
    return dict(zip(map(str, table.index), pairs, strict=True))


def in_words(table: pd.DataFrame | None) -> dict[str, str]:
    """Say of each gene of such a table what to expect of it; nothing without a table."""
    words = {}
    for gene, expected, least, most, grade in table[[*COLUMNS, "confidence"]].itertuples() if table is not None else ():
        found = f"r {expected:.2f} ({least:.2f} to {most:.2f})" if np.isfinite(expected) else "it never varied"
        words[str(gene)] = f"confidence {grade}: {found} on left-out training tissue"
    return words


def chosen(table: pd.DataFrame, least: GradeName) -> tuple[str, ...]:
    """Return the genes of a table of confidence whose grade is `least` or better, in its order."""
    wanted = GRADES[: GRADES.index(least) + 1]
    return tuple(str(gene) for gene, grade in table["confidence"].items() if grade in wanted)


def measured_by_grade(grades: pd.Series, scores: pd.Series) -> pd.Series:
    """Return the mean of genes' scores for each grade; not a number where no gene of it has one."""
    return scores.groupby(grades.reindex(scores.index)).mean().reindex(list(GRADES))
