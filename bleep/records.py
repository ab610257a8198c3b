"""What one stage hands to the next: small frozen records, checked when they are made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, final

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Int, Int64, Shaped, UInt8
from torch import Tensor

from bleep.errors import MismatchError

if TYPE_CHECKING:
    from anndata import AnnData


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
class Backdrop:
    """A whole slide made small, to draw a prediction on."""

    picture: UInt8[np.ndarray, "height width 3"]
    """The slide."""
    scale: float
    """Pixels of the picture to a level-0 pixel."""
    diameter: float
    """Level-0 pixels that a tile stands for, side to side."""


_BY_GENE = ("expression", "spread", "lower", "upper")
"""Tables of a prediction with a column a gene."""


@final
@dataclass(frozen=True, slots=True)
class Prediction:
    """Expression predicted for each tile, on the panel's normalised scale."""

    expression: Float32[np.ndarray, "tiles genes"]
    """Predicted values."""
    spots: pd.DataFrame
    """One row a tile, indexed by `section/spot`: section, spot, patient, x and y in level-0 pixels.

    A calibrated predictor adds `distance` and `familiarity`, and `abstain` where it was asked for.
    """
    genes: tuple[str, ...]
    """Gene of each column."""
    scale: str
    """What the values are, in words: normalisation, target and denominator."""
    predictor: str
    """Name of what made them."""
    spread: Float32[np.ndarray, "tiles genes"] | None = None
    """Weighted standard deviation over the neighbours used, where there are any: not yet a calibrated error."""
    neighbors: Neighbors | None = None
    """The reference rows used, where there are any."""
    weights: Float32[np.ndarray, "tiles k"] | None = None
    """The weight of each, rows summing to 1."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """How the tiles were cut: pixels and microns of a tile, sections and the microns per pixel of each."""
    backdrops: Mapping[str, Backdrop] = field(default_factory=dict)
    """A picture of each section that lies on a slide."""
    lower: Float32[np.ndarray, "tiles genes"] | None = None
    """Lower end of the interval of each value, from a calibrated predictor."""
    upper: Float32[np.ndarray, "tiles genes"] | None = None
    """Upper end."""
    confidence: pd.DataFrame | None = None
    """One row a gene, from a calibrated predictor: the correlation to expect of it, its range, and its grade."""

    def __post_init__(self) -> None:
        if self.expression.shape != (len(self.spots), len(self.genes)):
            raise MismatchError(
                f"a prediction of shape {self.expression.shape} came with {len(self.spots)} tiles and {len(self.genes)} genes"
            )
        if self.scale.startswith("log1p of counts"):
            # A logarithm of 1 + counts is never below 0, so neither a value nor a bound of its interval is.
            for name in ("expression", "lower", "upper"):
                values = getattr(self, name)
                if values is not None and values.size and values.min() < 0:
                    object.__setattr__(self, name, np.maximum(values, 0))

    def rows(self, rows: slice | Int64[np.ndarray, " rows"]) -> "Prediction":
        """Return the prediction of some tiles."""
        tables = {name: getattr(self, name) for name in (*_BY_GENE, "weights")}
        found = self.neighbors
        return replace(
            self,
            spots=self.spots.iloc[rows],
            neighbors=None if found is None else Neighbors(found.similarity[rows], found.rows[rows]),
            **{name: table[rows] for name, table in tables.items() if table is not None},
        )

    def columns(self, columns: Int64[np.ndarray, " genes"]) -> "Prediction":
        """Return the prediction of some genes."""
        tables = {name: getattr(self, name) for name in _BY_GENE}
        chosen = {name: table[:, columns] for name, table in tables.items() if table is not None}
        trusted = None if self.confidence is None else self.confidence.iloc[columns]
        return replace(self, genes=tuple(self.genes[column] for column in columns.tolist()), confidence=trusted, **chosen)

    @classmethod
    def joined(cls, parts: "Sequence[Prediction]") -> "Prediction":
        """Return predictions of the same genes by the same predictor as one, tiles one after another."""
        first = parts[0]
        changes: dict[str, Any] = {"spots": pd.concat([part.spots for part in parts])}
        for name in (*_BY_GENE, "weights"):
            if getattr(first, name) is not None:
                changes[name] = np.concatenate([getattr(part, name) for part in parts])
        found = [part.neighbors for part in parts if part.neighbors is not None]
        if found:
            similarity, rows = ([getattr(one, side) for one in found] for side in ("similarity", "rows"))
            changes["neighbors"] = Neighbors(np.concatenate(similarity), np.concatenate(rows))
        backdrops = {name: picture for part in parts for name, picture in part.backdrops.items()}
        return replace(first, backdrops=backdrops, **changes)

    def to_anndata(self) -> "AnnData":
        """Return the prediction as AnnData: tiles in rows, pixel positions in `obsm["spatial"]`, words in `uns["bleep"]`.

        Pictures of the slides stand in `uns["spatial"]`, by section, as scanpy and squidpy expect them.
        """
        from anndata import AnnData

        data = AnnData(
            X=self.expression,
            obs=self.spots.drop(columns=["x", "y"]),
            var=pd.DataFrame(index=pd.Index(self.genes)) if self.confidence is None else self.confidence.copy(),
            obsm={"spatial": self.spots[["x", "y"]].to_numpy(np.float64)},
            uns={"bleep": {"scale": self.scale, "predictor": self.predictor, **self.facts}},
        )
        if self.backdrops:
            data.uns["spatial"] = {
                section: {
                    "images": {"hires": backdrop.picture},
                    "scalefactors": {"tissue_hires_scalef": backdrop.scale, "spot_diameter_fullres": backdrop.diameter},
                }
                for section, backdrop in self.backdrops.items()
            }
        for name, layer in (("spread", self.spread), ("lower", self.lower), ("upper", self.upper)):
            if layer is not None:
                data.layers[name] = layer
        return data

    def to_frame(self) -> pd.DataFrame:
        """Return one row a tile: section, spot, x, y, then a column a gene.

        A gene that is called like one of the other columns, such as `y`, becomes `y (gene)`.
        """
        beside = self.spots.drop(columns=["patient"])
        genes = [f"{gene} (gene)" if gene in beside.columns else gene for gene in self.genes]
        return pd.concat([beside, pd.DataFrame(self.expression, index=self.spots.index, columns=genes)], axis=1)


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
    """Its folder."""
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
    """Predictors that were not scored on all of the test tissue, and what they were scored on."""
