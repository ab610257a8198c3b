"""Which genes to trust: the correlation to expect of each on tissue that was not trained on, with its range, and a grade."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32

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
