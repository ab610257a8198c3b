"""The contest's score (protocol `dacon`): four correlations, kept apart and as one number, and the rule of its gene lists."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Int

from bleep.errors import DataError, MismatchError
from bleep.evaluation.correlation import pearson
from bleep.tissue.normalise import Moments, ranked

FORMULA = "max((samples + best gene + HEG + HVG) / 4, 0), each a Pearson r"
PARTS: Mapping[str, str] = {
    "samples": "r of each sample over the genes, mean over samples",
    "best_gene": "r of each gene over the samples, the highest of all",
    "heg": "r of each gene over the samples, mean over the list HEG",
    "hvg": "the same, mean over the list HVG",
}
"""The four parts, and what each is."""
CONSTANTS = "a prediction that does not vary has r = 0; a gene or sample whose true values do not vary is left out"

Column = Int[np.ndarray, " some"]


@final
@dataclass(frozen=True, slots=True)
class GeneLists:
    """The genes that two parts of the score are over."""

    heg: Column
    """Columns of highest mean, best first."""
    hvg: Column
    """Columns of highest coefficient of variation, best first."""
    source: str
    """What they were chosen on, in words."""

    @classmethod
    def of(cls, mean: Moments, variance: Moments, top: int, source: str) -> "GeneLists":
        """Choose the lists by the genes' mean and variance; where there are fewer genes than `top`, they are all in each."""
        return cls(ranked(mean, variance, "mean")[:top], ranked(mean, variance, "cv")[:top], source)

    def words(self) -> str:
        """Return the rule in words."""
        return (
            f"HEG: the {len(self.heg)} genes of highest mean; HVG: the {len(self.hvg)} of highest coefficient of variation "
            f"(standard deviation over mean; genes of mean 0 or less come last), {self.source}"
        )


@final
@dataclass(frozen=True, slots=True)
class ContestScore:
    """The score and its parts."""

    parts: Mapping[str, float]
    """See `PARTS`."""
    best_gene: int
    """Column of the gene of the highest r."""
    skipped: tuple[int, int]
    """Samples and genes left out, because their true values do not vary."""

    @property
    def total(self) -> float:
        """The contest's number."""
        return max(sum(self.parts.values()) / len(self.parts), 0.0)


def contest_score(
    predicted: Float[np.ndarray, "samples genes"], measured: Float[np.ndarray, "true_samples true_genes"], lists: GeneLists
) -> ContestScore:
    """Score a prediction as the contest does.

    A prediction that does not vary has r = 0. Genes and samples whose true values do not vary are left out of their part.

    Raises:
        MismatchError: the shapes differ.
        DataError: a value is not a number, or a part has nothing that varies.

    """
    if predicted.shape != measured.shape:
        raise MismatchError(f"a prediction of shape {predicted.shape} meets true values of shape {measured.shape}")
    for what, values in (("prediction", predicted), ("truth", measured)):
        if not np.isfinite(values).all():
            raise DataError(f"the {what} holds {int((~np.isfinite(values)).sum())} values that are not numbers; mend them")
    by_sample, by_gene = pearson(predicted.T, measured.T), pearson(predicted, measured)
    found = {"samples": by_sample, "best_gene": by_gene, "heg": by_gene[lists.heg], "hvg": by_gene[lists.hvg]}
    for name, r in found.items():
        if np.isnan(r).all():
            raise DataError(f"the part {name!r} of the score is over true values that do not vary; give more samples or genes")
    parts = {name: float(np.nanmax(r) if name == "best_gene" else np.nanmean(r)) for name, r in found.items()}
    return ContestScore(parts, int(np.nanargmax(by_gene)), (int(np.isnan(by_sample).sum()), int(np.isnan(by_gene).sum())))
