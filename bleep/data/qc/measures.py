"""The measures of one section: what it holds, at which scale, how deep it was sequenced, what its tiles show."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, NamedTuple, final

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int
from scipy import ndimage, sparse
from scipy.spatial import cKDTree

from bleep.data.gene_names import GeneNames, names_of
from bleep.data.normalize import LARGEST_LOG
from bleep.data.section import Section
from bleep.data.slides import PyramidSlide
from bleep.data.stain import glass, optical_density, stains
from bleep.data.tiles import TileSpec, cut

SAMPLE = 200
"""Most tiles of a section that are looked at."""
BLANK = 0.9
"""A tile with at least this share of glass is blank."""
SHARP = 15.0
"""Variance of the Laplacian below which a tile is blurred whatever the others are."""
DULL = 0.1
"""A tile is blurred, too, below this share of the section's median."""
SMALLEST = 32
"""Tiles of fewer pixels a side have no detail that could be called sharp or blurred."""
MISPLACED = 0.08
"""Share of blank tiles above which other places for the spots are tried."""

Places = Float64[np.ndarray, "spots 2"]
MOVES: Mapping[str, Callable[[Places, tuple[int, int]], Places]] = {
    "x and y swapped": lambda xy, size: xy[:, ::-1].copy(),
    "the picture mirrored left to right": lambda xy, size: np.abs([size[0] - 1, 0] - xy),
    "the picture mirrored top to bottom": lambda xy, size: np.abs([0, size[1] - 1] - xy),
    "the picture turned by 180 degrees": lambda xy, size: np.abs(np.array(size) - 1 - xy),
}
"""Mistakes in the places of spots that keep them on the slide."""


@final
@dataclass(frozen=True, slots=True)
class PictureMeasures:
    """Measures of a sample of a section's tiles, of the first window; shares run from 0 to 1."""

    tiles: int
    """Tiles looked at."""
    blank: float
    """Share that show glass and next to nothing else."""
    blurred: float
    """Share of the others that are out of focus; not a number where tiles are too small to tell."""
    sharpness: float
    """Median variance of the Laplacian over the tissue of a tile (Pech-Pacheco et al., ICPR 2000)."""
    haematoxylin: float
    """Mean optical density of haematoxylin over the tissue; not a number where there is none."""
    eosin: float
    """The same of eosin."""
    better: str = ""
    """A mistake in the places which, undone, would put the spots on tissue; empty: none was found."""
    better_blank: float = 0.0
    """Share of blank tiles then."""


class _Seen(NamedTuple):
    glass: float
    tissue: int
    stain: np.ndarray
    sharpness: float


def look(section: Section, spec: TileSpec, seed: int = 0) -> PictureMeasures | None:
    """Look at a sample of the tiles, no larger than the slide shows them; none where a tile is larger than the slide.

    Raises:
        DataError: a picture is damaged.

    """
    side = source_side(section, spec.microns[0])
    if side > longest(section):
        return None
    own = TileSpec(min(spec.pixels, side), spec.microns[:1], spec.padding)
    rows = np.sort(np.random.default_rng(seed).permutation(len(section))[:SAMPLE])
    seen = [_see(section, int(row), own) for row in rows]
    blank = np.array([one.glass >= BLANK for one in seen])
    sharpness = np.array([one.sharpness for one in seen])[~blank]
    known = own.pixels >= SMALLEST and len(sharpness) > 0
    middle = float(np.median(sharpness)) if known else float("nan")
    tissue = sum(one.tissue for one in seen)
    strength = np.sum([one.stain for one in seen], axis=0) / tissue if tissue else np.full(2, np.nan)
    better, share = _elsewhere(section, rows, own, float(blank.mean()))
    return PictureMeasures(
        tiles=len(rows),
        blank=float(blank.mean()),
        blurred=float((sharpness < max(SHARP, DULL * middle)).mean()) if known else float("nan"),
        sharpness=middle,
        haematoxylin=float(strength[0]),
        eosin=float(strength[1]),
        better=better,
        better_blank=share,
    )


def source_side(section: Section, microns: float) -> int:
    """Return how many pixels of the slide a window is wide."""
    return max(round(microns / section.mpp), 1)


def longest(section: Section) -> int:
    """Return the longer side of the slide, or the side of its ready-cut tiles, in pixels."""
    return section.tile_side or max(section.slide.size)


def padded(section: Section, microns: float) -> Float64[np.ndarray, " spots"]:
    """Return the share of each window that lies beyond the slide."""
    side = source_side(section, microns)
    if not section.has_positions:
        return np.full(len(section), 1 - min(section.tile_side / side, 1.0) ** 2)
    inside = np.minimum(section.xy + side / 2, section.slide.size) - np.maximum(section.xy - side / 2, 0.0)
    return np.asarray(1 - (inside / side).clip(0, 1).prod(axis=1))


def _see(section: Section, row: int, spec: TileSpec) -> _Seen:
    tile = cut(section, row, spec)[0]
    clear = glass(tile)
    tissue = ~clear
    if not tissue.any():
        return _Seen(1.0, 0, np.zeros(2), 0.0)
    edges = ndimage.laplace(tile.mean(axis=0, dtype=np.float32))
    strength = stains(optical_density(tile)[:, tissue]).sum(axis=1, dtype=np.float64)
    return _Seen(float(clear.mean()), int(tissue.sum()), strength, float(edges[tissue].var()))


def _elsewhere(section: Section, rows: Int[np.ndarray, " rows"], spec: TileSpec, blank: float) -> tuple[str, float]:
    """Return the mistake that best explains spots on glass, if undoing it takes away three quarters of the blank tiles."""
    if blank < MISPLACED or not section.has_positions:
        return "", 0.0
    shares = {}
    for name, move in MOVES.items():
        xy = move(section.xy, section.slide.size)
        if (xy >= section.slide.size).any():
            continue
        moved = replace(section, xy=xy)
        shares[name] = float(np.mean([glass(cut(moved, int(row), spec)[0]).mean() >= BLANK for row in rows]))
    best = min(shares, key=shares.__getitem__)
    return (best, shares[best]) if shares[best] <= blank / 4 else ("", 0.0)


Values = Literal["counts", "logarithms", "scaled", "fractions", "nothing"]
FEW_GENES = 10
"""Of fewer genes than this one may well hold half of all counts."""


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
    most: str
    """A column that holds more than half of the sum in more than half of the spots; empty: none does, or genes are few."""
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
    array: float | None
    """Microns from a place of the array to the nearest, as rows and columns of the spots say, or the distance of nearest
    spots where it is one and the same for nearly all; none: neither is so, as in a sample of an array."""
    usual: float | None
    """Microns that it is on the array whatever `mpp` says, as the reader knows; 0: an array of unknown pitch."""
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
    facts = section.counts.uns.get("bleep", {})
    placed = section.has_positions and section.pitch() < math.inf
    dropped, array = facts.get("dropped"), facts.get("pitch")
    if array is None and placed and _is_complete(section):
        array = section.pitch()
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
        array=float(array) * section.mpp if array else None,
        usual=None if facts.get("pitch_um") is None else float(facts["pitch_um"]),
        slide=longest(section),
        windows=tuple(source_side(section, microns) for microns in spec.microns),
        padded=float(padded(section, max(spec.microns)).mean()),
        counts=_counts(section),
        picture=look(section, spec, seed),
    )


def _is_complete(section: Section) -> bool:
    """Return whether nearly all spots have their nearest neighbour at one distance, unlike those of a sample."""
    nearest = cKDTree(section.xy).query(section.xy, k=2)[0][:, 1]
    return bool((np.abs(nearest - np.median(nearest)) < 0.1 * np.median(nearest)).mean() > 0.9)


def _counts(section: Section) -> CountMeasures:
    matrix = sparse.csr_matrix(section.counts.X)
    total = np.asarray(matrix.sum(axis=1, dtype=np.float64)).ravel()
    symbols = section.counts.var.get("symbol")
    given = None if symbols is None else symbols[symbols.astype(str) != ""]
    values = matrix.data[matrix.data > 0]
    return CountMeasures(
        values=kind_of_values(values, total, len(section.genes)),
        median=float(np.median(total)),
        zero_spots=int((total == 0).sum()) if len(section.genes) else 0,
        zeros=1 - len(values) / max(matrix.shape[0] * matrix.shape[1], 1) if len(section.genes) else float("nan"),
        names=names_of(section.genes),
        most=_most(matrix, total, section.genes),
        renamed=0 if given is None else int(given.duplicated(keep=False).sum()),
    )


def _most(matrix: sparse.csr_matrix, total: Float64[np.ndarray, " spots"], genes: pd.Index) -> str:
    """Return the column that holds more than half of the sum in the median spot, as coordinates do; empty: none does."""
    if len(genes) < FEW_GENES:
        return ""
    rows = np.repeat(np.arange(len(total)), np.diff(matrix.indptr))
    most = matrix.indices[(total[rows] > 0) & (matrix.data > total[rows] / 2)]
    held = np.bincount(most, minlength=len(genes))
    return str(genes[int(held.argmax())]) if held.max() > len(total) / 2 else ""


def kind_of_values(values: np.ndarray, total: np.ndarray, genes: int) -> Values:
    """Return the kind of values above 0, of the total of each spot and the number of genes."""
    if not genes:
        return "nothing"
    if np.array_equal(values, np.round(values)):
        return "counts"
    filled = total[total > 0]
    if len(filled) > 1 and filled.std() < 0.01 * filled.mean():
        return "scaled"
    return "logarithms" if values.max() < LARGEST_LOG else "fractions"
