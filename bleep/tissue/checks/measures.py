"""The measures of one section: what it holds, at which scale, how deep it was sequenced, what its tiles show."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, final

import numpy as np
from scipy import sparse

from bleep.tissue.checks.names import GeneNames, names_of
from bleep.tissue.checks.picture import PictureMeasures, longest, look, padded, source_side
from bleep.tissue.section import Section
from bleep.tissue.slides import MosaicSlide, PyramidSlide
from bleep.tissue.tiles import TileSpec

Values = Literal["counts", "logarithms", "scaled", "fractions", "nothing"]
LARGEST_LOG = 20.0
"""No logarithm of a count is as large as this: ln of a million is 14, log2 of it is 20."""


@final
@dataclass(frozen=True, slots=True)
class CountMeasures:
    """Measures of a section's expression."""

    values: Values
    """Whole numbers, logarithms, numbers that sum to the same in every spot, other fractions, or nothing measured."""
    median: float
    """Median over the spots of the sum of all genes; the library size where values are counts."""
    zero_spots: int
    """Spots without any count."""
    zeros: float
    """Share of zeros among all values."""
    names: GeneNames
    """The style of the gene names."""
    renamed: int
    """Genes whose symbol another gene has, too, so that a number was put behind it."""


@final
@dataclass(frozen=True, slots=True)
class Measures:
    """All that is measured of one section."""

    section: str
    """Its name."""
    patient: str
    """Whom it is from."""
    species: str
    """What its genes belong to."""
    spots: int
    """Spots with counts and a position."""
    genes: int
    """Genes measured."""
    dropped: tuple[int, int] | None
    """Spots left out for having counts but no position, and a position but no counts; none: the reader joins nothing."""
    mpp: float
    """Microns per pixel."""
    slide_mpp: float | None
    """The same, as the slide's own file says."""
    pitch: float | None
    """Microns from a spot to its nearest neighbour; none: the tiles have no known places."""
    slide: int
    """Longer side of the slide, or side of its ready-cut tiles, in pixels."""
    windows: tuple[int, ...]
    """How many pixels of the slide each window is wide."""
    padded: float
    """Mean share of the widest window that lies beyond the slide."""
    counts: CountMeasures
    """Of the expression."""
    picture: PictureMeasures | None
    """Of the tiles; none: they are larger than the slide."""

    def to_dict(self) -> dict[str, Any]:
        """Return the measures as JSON values, in one level; what is not a number becomes null."""
        tree = asdict(self)
        unseen = dict.fromkeys(field.name for field in fields(PictureMeasures))
        flat = {**tree, **tree["counts"], **(tree["picture"] or unseen)}
        for name in ("counts", "picture", "names", "dropped"):
            del flat[name]
        flat["dropped_counts"], flat["dropped_positions"] = self.dropped or (None, None)
        flat["gene_ids"], flat["genes_look"] = self.counts.names.ids, self.counts.names.looks
        flat["windows"] = list(self.windows)
        return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in flat.items()}


def measure(section: Section, spec: TileSpec, seed: int = 0) -> Measures:
    """Measure a section; of its tiles a sample is looked at.

    Raises:
        DataError: a picture is damaged.

    """
    dropped = section.counts.uns.get("bleep", {}).get("dropped")
    placed = not isinstance(section.slide, MosaicSlide) and len(section) > 1
    return Measures(
        section=section.name,
        patient=section.patient,
        species=section.species,
        spots=len(section),
        genes=len(section.genes),
        dropped=None if dropped is None else (int(dropped["counts"]), int(dropped["positions"])),
        mpp=float(section.mpp),
        slide_mpp=section.slide.mpp if isinstance(section.slide, PyramidSlide) else None,
        pitch=section.pitch() * section.mpp if placed else None,
        slide=longest(section),
        windows=tuple(source_side(section, microns) for microns in spec.microns),
        padded=float(padded(section, max(spec.microns)).mean()),
        counts=_counts(section),
        picture=look(section, spec, seed),
    )


def _counts(section: Section) -> CountMeasures:
    matrix = sparse.csr_matrix(section.counts.X)
    total = np.asarray(matrix.sum(axis=1, dtype=np.float64)).ravel()
    symbols = section.counts.var.get("symbol")
    given = None if symbols is None else symbols[symbols.astype(str) != ""]
    values = matrix.data[matrix.data > 0]
    return CountMeasures(
        values=_kind(values, total, len(section.genes)),
        median=float(np.median(total)),
        zero_spots=int((total == 0).sum()) if len(section.genes) else 0,
        zeros=1 - len(values) / max(matrix.shape[0] * matrix.shape[1], 1) if len(section.genes) else float("nan"),
        names=names_of(section.genes),
        renamed=0 if given is None else int(given.duplicated(keep=False).sum()),
    )


def _kind(values: np.ndarray, total: np.ndarray, genes: int) -> Values:
    if not genes:
        return "nothing"
    if np.array_equal(values, np.round(values)):
        return "counts"
    filled = total[total > 0]
    if len(filled) > 1 and filled.std() < 0.01 * filled.mean():
        return "scaled"
    return "logarithms" if values.max() < LARGEST_LOG else "fractions"
