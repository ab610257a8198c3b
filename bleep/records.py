"""What one stage hands to the next: small frozen records, checked when they are made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, final

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Int, Int64, Shaped
from torch import Tensor

from bleep.errors import MismatchError

STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11))
"""Optical density of haematoxylin and of eosin in red, green and blue (Ruifrok & Johnston, Anal Quant Cytol Histol 2001)."""
_vectors = np.array(STAINS)
UNMIX = np.linalg.pinv(_vectors / np.linalg.norm(_vectors, axis=1, keepdims=True))
"""Takes an optical density apart: `UNMIX.T @ density` is the strength of haematoxylin and of eosin."""


class Batch(NamedTuple):
    """Training examples side by side; Accelerate moves it between devices."""

    inputs: Shaped[Tensor, "batch *what"]
    """UInt8[batch windows 3 pixels pixels], or Float[batch features] of a frozen trunk."""
    expression: Float[Tensor, "batch genes"]
    """Scaled panel values."""
    rows: Int[Tensor, " batch"]
    """Rows among the training spots."""


@final
@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors and the spots they stand for."""

    vectors: Float32[np.ndarray, "spots dim"]
    """One row a spot; of unit length when the run's norm is l2."""
    ids: tuple[str, ...]
    """`section/spot` for each row."""

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.vectors):
            raise MismatchError(f"{len(self.vectors)} embeddings came with {len(self.ids)} ids: expected one id a row")


@final
@dataclass(frozen=True, slots=True)
class Neighbors:
    """What a search returns: for each query its nearest reference rows, best first."""

    similarity: Float32[np.ndarray, "queries k"]
    """Inner product of query and reference row."""
    rows: Int64[np.ndarray, "queries k"]
    """Row numbers in the reference."""


@final
@dataclass(frozen=True, slots=True)
class Scorecard:
    """Agreement of one predictor with what was measured on one test section."""

    predictor: str
    """Name of what predicted."""
    section: str
    """Test section scored."""
    seed: int
    """Seed of the run that predicted."""
    genes: pd.DataFrame
    """One row a gene: `pearson` (not a number where the measured values are constant), `mse`, `variance_ratio`."""
    summary: dict[str, float]
    """The scores by name, each a mean: see `bleep.evaluation.scorecard.SCORES`."""
    skipped: int = 0
    """Genes left out of the correlation, because their measured values do not vary in this section."""
    patient: str = ""
    """Whom the section is from."""
    part: str = ""
    """Digest of the tissue scored, which tells the blocks of one section apart; empty: the whole section."""
    absent: tuple[str, ...] = ()
    """Genes that the section's files do not list, so that they have no score; among the skipped ones."""


@final
@dataclass(frozen=True, slots=True)
class Leak:
    """Whether training could have seen something of the test tissue."""

    status: Literal["none", "unknown", "same patient", "neighbouring tissue", "random spots", "nothing held out"]
    """What the two sides share; `none` when they share no patient, `unknown` when nobody said who they are from."""
    detail: str
    """The same in a sentence."""


@final
@dataclass(frozen=True, slots=True)
class Fitted:
    """One thing that was learnt from data, and from which."""

    what: str
    """Panel, scaling, index and so on."""
    sections: tuple[str, ...]
    """Names of the sections it was fitted on; empty where it was fitted on none, or elsewhere."""
    detail: str = ""
    """What is worth knowing of it."""


@final
@dataclass(frozen=True, slots=True)
class LeakFinding:
    """Something of the test tissue that took part in training, or may have."""

    kind: str
    """What it is: see `bleep.evaluation.leakage.KINDS`."""
    severity: Literal["leak", "caution", "unknown"]
    """`leak`: the score is not one of unseen tissue; `caution`: it is, of related tissue; `unknown`: nobody can tell."""
    detail: str
    """The same in a sentence."""


@final
@dataclass(frozen=True, slots=True)
class LeakReport:
    """What of a run was fitted on which sections, and what of the test tissue was among them."""

    run: str
    """Name of its folder."""
    fitted: tuple[Fitted, ...]
    findings: tuple[LeakFinding, ...]
    """Worst first; none: no test section, patient or duplicate took part in anything that could be looked at."""


@final
@dataclass(frozen=True, slots=True)
class Contrast:
    """Two predictors compared section by section."""

    first: str
    second: str
    score: str
    difference: float
    """Mean over sections of the first's score minus the second's."""
    low: float
    """Lower end of its bootstrap interval over sections; not a number with one section."""
    high: float
    """Upper end."""
    sections: int
    """Sections that both have a score of."""
    better: int
    """Sections on which the first is the better."""
    ties: int
    """Sections on which both are alike."""
    p_value: float | None
    """Of the sign-flip permutation test over sections; None with fewer than two."""


@final
@dataclass(frozen=True, slots=True)
class Table:
    """A comparison: one line a predictor, means over test sections, with everything needed to repeat it."""

    protocol: str
    """Its name."""
    leak: Leak
    """What training shared with the test tissue."""
    facts: dict[str, str]
    """Split, genes, normalisation, trunk, seeds: in words."""
    rows: pd.DataFrame
    """One row a predictor; columns are scores and their spread over sections."""
    cards: tuple[Scorecard, ...] = field(default=())
    """The scorecards it was made from."""
    leaks: tuple[LeakReport, ...] = field(default=())
    """For each run, what was fitted on which sections."""
    contrasts: tuple[Contrast, ...] = field(default=())
    """Every pair of predictors, compared section by section."""
    published: pd.DataFrame | None = None
    """What others have published under the same protocol."""
    partial: Mapping[str, str] = field(default_factory=dict)
    """Predictors that were not scored on all of the test tissue or by all seeds, and what they were scored on."""
