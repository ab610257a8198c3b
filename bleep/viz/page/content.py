"""What is on a page: a table, sections to look at, and the words around them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np
from jaxtyping import Float, Float32, Int64, UInt8

from bleep.data.slides import Slide
from bleep.errors import MismatchError


@final
@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    heading: str
    meaning: str = ""
    """In a sentence; shown when the heading is pointed at."""


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: as it is read, and what it is sorted by."""

    text: str
    value: float | str
    """Not a number is sorted below all numbers."""


@final
@dataclass(frozen=True, slots=True)
class Grid:
    """A table that the reader can sort.

    Raises:
        MismatchError: a row is not as long as the headings.

    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise MismatchError(f"a table row has {len(row)} cells under {len(self.columns)} headings")


@final
@dataclass(frozen=True, slots=True)
class Nearest:
    """The measured spots that a prediction was made from."""

    names: tuple[str, ...]
    """`section/spot` of every reference spot that is anybody's neighbour."""
    rows: Int64[np.ndarray, "spots k"]
    """Which of them each tile used, best first."""
    similarity: Float32[np.ndarray, "spots k"]
    weight: Float32[np.ndarray, "spots k"]


@final
@dataclass(frozen=True, slots=True)
class TissueView:
    """One section: its picture, its spots, and a table of values for each thing that can be shown.

    Raises:
        MismatchError: a layer is not of as many spots as there are places.

    """

    section: str
    picture: UInt8[np.ndarray, "height width 3"]
    size: tuple[float, float]
    """Width and height that the picture stands for, in level-0 pixels."""
    xy: Float[np.ndarray, "spots 2"]
    """Where the spots are, in level-0 pixels, x first."""
    radius: float
    """Of a spot as it is drawn, in level-0 pixels."""
    ids: tuple[str, ...]
    predicted: Float32[np.ndarray, "predicted_spots genes"]
    measured: Float32[np.ndarray, "measured_spots genes"] | None = None
    uncertainty: Float32[np.ndarray, "uncertain_spots genes"] | None = None
    nearest: Nearest | None = None
    mpp: float = 0.0
    """Microns per level-0 pixel; 0 where places are not those in the tissue, so that nothing can be measured on the map."""

    familiarity: Float32[np.ndarray, " familiar_spots"] | None = None
    """For each spot, the share of left-out training tiles that lie at least as far, of a calibrated run."""
    predictor: str = ""
    """What predicted; said where others are beside it."""
    others: Mapping[str, Float32[np.ndarray, "other_spots genes"]] = field(default_factory=dict)
    """What other runs or predictors predict of the same spots, by name, to compare with."""
    slide: Slide | None = None
    """What tiles are made of, so that the map can be looked into to the pixel; none: the picture is all there is."""

    def __post_init__(self) -> None:
        if self.familiarity is not None and len(self.familiarity) != len(self.xy):
            raise MismatchError(f"section {self.section}: {len(self.familiarity)} familiarities came with {len(self.xy)} spots")
        for name, values in (*self.layers().items(), *self.others.items()):
            if len(values) != len(self.xy):
                raise MismatchError(
                    f"section {self.section}: {len(values)} rows of {name} values came with {len(self.xy)} spots"
                )

    def layers(self) -> dict[str, np.ndarray]:
        """Return what can be shown, by name."""
        found = {"measured": self.measured, "predicted": self.predicted, "uncertainty": self.uncertainty}
        return {name: values for name, values in found.items() if values is not None}


@final
@dataclass(frozen=True, slots=True)
class Page:
    """All of one page."""

    title: str
    lead: str
    """What is shown, in a sentence or two."""
    genes: tuple[str, ...]
    """In the order of the layers' columns."""
    order: tuple[int, ...]
    """Columns, the most wanted gene first: where not all fit into the page, the last are left out."""
    scale: str
    """What the values are, in words."""
    uncertainty: str
    """What the uncertainty is, in words."""
    views: tuple[TissueView, ...]
    table: Grid | None = None
    leak: tuple[str, ...] = ()
    """The leak report, a line each; the first is the verdict."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What the numbers need beside them, by name."""
    settings: str = ""
    """The whole configuration as YAML."""
    trust: Mapping[str, str] = field(default_factory=dict)
    """How far each gene can be trusted, in words, where a calibration says."""
    grades: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    """The grade of each gene and the correlation to expect of it, where a calibration says."""
