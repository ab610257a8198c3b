"""A section: a slide with measured spots; and the spots of one that are left out as it is read."""

import csv
import hashlib
import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int
from scipy import sparse
from scipy.spatial import cKDTree

from bleep.config import DataConfig
from bleep.data.slides import ArraySlide, MosaicSlide, Slide
from bleep.errors import ConfigError, DataError

if TYPE_CHECKING:
    from anndata import AnnData


def odd_values(matrix: Any, spots: pd.Index, genes: pd.Index) -> str:
    """Return why a table of spots x genes is no expression, in words; empty: it is."""
    values = matrix.data if sparse.issparse(matrix) else np.asarray(matrix)
    if values.size and not np.isfinite(values).all():
        # Among the values that are stored: as an array, hundreds of thousands of spots of all genes would fill any memory.
        table = sparse.csr_matrix(matrix)
        table.sort_indices()
        place = int(np.argmin(np.isfinite(table.data)))
        row, column = int(np.searchsorted(table.indptr, place, side="right")) - 1, int(table.indices[place])
        return (
            f"the expression holds values that are not numbers, first for spot {str(spots[row])!r}, gene "
            f"{str(genes[column])!r}; expected numbers: mend or drop them"
        )
    # Values that are normalised and corrected for batches may fall a little below 0; whole numbers are counts.
    if values.size and values.min() < 0 and not (values != np.round(values)).any():
        return f"the expression holds negative values (least {values.min():g}); expected counts, or normalised values"
    return ""


def word(value: object) -> str:
    """Return a patient or a class as text, without spaces around it; a whole number is written alike as 1 and as 1.0.

    A column of whole numbers becomes one of fractions as soon as a cell of it is empty.
    """
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


@final
@dataclass(frozen=True, slots=True)
class Section:
    """One slide and its spots.

    Raises:
        DataError: a field is of another kind, an id or a gene stands twice, whole counts are negative or not finite, the
            lengths differ, or a spot's centre lies outside the slide.

    """

    name: str
    """Unique within a data set."""
    patient: str
    """Whom the tissue is from; what a split by patient holds together."""
    species: str
    """Species of the genes."""
    slide: Slide
    """The picture."""
    counts: "AnnData"
    """Spots x genes as measured, sparse; `obs_names` are spot ids, `var_names` genes. No genes: nothing was measured."""
    xy: Float64[np.ndarray, "spots 2"]
    """Spot centres in level-0 pixels, x first; other numbers and tables of two columns are brought to this."""
    mpp: float
    """Microns per level-0 pixel."""

    def __post_init__(self) -> None:
        self._check_kinds()
        ids, genes = self.counts.obs_names, self.counts.var_names
        if len(ids) == 0:
            raise DataError(f"section {self.name}: has no spots; expected at least one with a position")
        if len(ids) != len(self.xy):
            raise DataError(f"section {self.name}: {len(ids)} spots came with {len(self.xy)} positions")
        for what, names in (("spot id", ids), ("gene", genes)):
            if not names.is_unique:
                twice = names[names.duplicated()][0]
                raise DataError(f"section {self.name}: {what} {twice!r} stands more than once; each must stand once")
        self._check_positions()
        self._check_counts()

    def _check_kinds(self) -> None:
        """Refuse fields that are not what they are said to be: a reader of another package may give anything."""
        from anndata import AnnData

        texts = {"name": self.name, "patient": self.patient, "species": self.species}
        for what, value in texts.items():
            if not isinstance(value, str):
                raise DataError(
                    f"section {self.name}: its {what} is {value!r}, a {type(value).__name__}; expected text: give str(...)"
                )
        number = isinstance(self.mpp, int | float | np.integer | np.floating) and not isinstance(self.mpp, bool)
        if not number or not np.isfinite(self.mpp) or self.mpp <= 0:
            raise DataError(f"section {self.name}: {self.mpp!r} microns per pixel; expected a positive number")
        object.__setattr__(self, "mpp", float(self.mpp))
        pixels = self.slide.pixels if isinstance(self.slide, ArraySlide) else None
        if not isinstance(self.slide, Slide):
            raise DataError(
                f"section {self.name}: its picture is a {type(self.slide).__name__}; expected a slide, as "
                "bleep.data.slides.ArraySlide(picture) makes one"
            )
        if pixels is not None and (
            np.ndim(pixels) != 3 or np.shape(pixels)[2] != 3 or getattr(pixels, "dtype", None) != np.uint8
        ):
            raise DataError(
                f"section {self.name}: its picture is {getattr(pixels, 'dtype', '')} of shape {np.shape(pixels)}; expected "
                "uint8 of [height, width, 3], red, green and blue: bleep.data.slides.as_rgb makes it so"
            )
        if not isinstance(self.counts, AnnData):
            raise DataError(
                f"section {self.name}: its counts are a {type(self.counts).__name__}; expected an AnnData of spots x genes"
            )
        try:
            xy = np.asarray(self.xy, dtype=np.float64)
        except (ValueError, TypeError):
            xy = np.empty(0)
        if xy.ndim != 2 or xy.shape[1] != 2:
            raise DataError(
                f"section {self.name}: its positions are a {type(self.xy).__name__} of shape {np.shape(self.xy)}; expected "
                "numbers [spots, 2], x first"
            )
        object.__setattr__(self, "xy", xy)

    def _check_positions(self) -> None:
        finite = np.isfinite(self.xy).all(axis=1)
        if not finite.all():
            name = self.counts.obs_names[int(np.argmin(finite))]
            raise DataError(f"section {self.name}: the position of spot {name!r} is not a number")
        width, height = self.slide.size
        inside = (self.xy >= 0).all(axis=1) & (self.xy[:, 0] < width) & (self.xy[:, 1] < height)
        if not inside.all():
            first = int(np.argmin(inside))
            x, y = self.xy[first]
            raise DataError(
                f"section {self.name}: {int((~inside).sum())} of {len(inside)} spots lie outside the slide of "
                f"{width} x {height} pixels, first {self.counts.obs_names[first]!r} at ({x:.0f}, {y:.0f}); {self._hint()}"
            )

    def _hint(self) -> str:
        """Return what would bring the spots back onto the slide, if trying it does."""
        (left, top), (right, bottom), (width, height) = self.xy.min(axis=0), self.xy.max(axis=0), self.slide.size
        if min(left, top) >= 0 and right < height and bottom < width:
            return "are x and y swapped? swapped they would all lie inside: mend the positions"
        return (
            f"the spots reach from ({left:.0f}, {top:.0f}) to ({right:.0f}, {bottom:.0f}), as in a picture of another "
            "resolution or section: take the one that these positions are of, or leave these spots out of the file"
        )

    def _check_counts(self) -> None:
        matrix = self.counts.X
        kind = np.dtype(getattr(matrix, "dtype", object))
        # SciPy's sparse tables, as which counts are normalised, hold no half precision.
        if kind.kind not in "biuf" or kind == np.float16:
            raise DataError(
                f"section {self.name}: its counts hold {'no matrix' if matrix is None else f'values of kind {kind}'}; expected "
                "numbers, spots x genes: give the AnnData an X such as one of float32"
            )
        if odd := odd_values(self.counts.X, self.counts.obs_names, self.counts.var_names):
            raise DataError(f"section {self.name}: {odd}")
        # A gene's count that a file keeps in parts, such as an entry a molecule, is one count wherever entries are counted.
        if sparse.issparse(matrix) and matrix.format in ("csr", "csc") and not matrix.has_canonical_format:
            summed = matrix.copy()
            summed.sum_duplicates()
            if summed.nnz < matrix.nnz:
                counts = self.counts.copy()
                counts.X = summed
                object.__setattr__(self, "counts", counts)

    def __len__(self) -> int:
        return len(self.xy)

    def __repr__(self) -> str:
        width, height = self.slide.size
        return (
            f"Section({self.name!r}: patient {self.patient}, {self.species}, {len(self)} spots x {len(self.genes)} genes, "
            f"slide {width} x {height} pixels of {self.mpp:.3g} um)"
        )

    @property
    def ids(self) -> tuple[str, ...]:
        """`section/spot` of each row, unique over a data set."""
        return tuple(f"{self.name}/{spot}" for spot in self.counts.obs_names)

    @property
    def genes(self) -> pd.Index:
        """The genes measured; empty when nothing was."""
        return self.counts.var_names

    @property
    def has_positions(self) -> bool:
        """Whether its spots lie somewhere in the tissue; ready-cut tiles do not, they stand in a row."""
        return self.tile_side == 0

    @property
    def tile_side(self) -> int:
        """Pixels of its ready-cut tiles, side to side; 0 where it has a slide."""
        return self.slide.side if isinstance(self.slide, MosaicSlide) else 0

    def subset(self, rows: Int[np.ndarray, " rows"]) -> "Section":
        """Return the section with these spots alone, on the same slide."""
        return replace(self, counts=self.counts[rows].copy(), xy=self.xy[rows])

    def by_place(self) -> Int[np.ndarray, " spots"]:
        """Return the rows from the top of the slide to its bottom, of ready-cut tiles by the names of their spots.

        So what is measured on some of them is the same in whatever order a file lists them.
        """
        if self.has_positions:
            return np.lexsort(self.xy.T)
        return np.argsort(self.counts.obs_names.to_numpy(str), kind="stable")

    def frame(self) -> pd.DataFrame:
        """Return one row a spot, indexed by `section/spot`: section, spot, patient, x, y."""
        return pd.DataFrame(
            {
                "section": self.name,
                "spot": list(self.counts.obs_names),
                "patient": self.patient,
                "x": self.xy[:, 0],
                "y": self.xy[:, 1],
            },
            index=pd.Index(self.ids, name="id"),
        )

    def pitch(self) -> float:
        """Return the usual distance from a spot to its nearest neighbour, in pixels; infinite where all spots lie at one place.

        A spot whose place is another's, too, is not counted.
        """
        if not self.has_positions:
            raise DataError(
                f"section {self.name}: its tiles have no known places; set data.split to section, or with one section to none"
            )
        nearest = cKDTree(self.xy).query(self.xy, k=2)[0][:, 1]
        apart = nearest[nearest > 0]
        return float(np.median(apart)) if len(apart) else math.inf

    def digest(self) -> str:
        """Return a sha256 of slide, positions and counts: equal for the same tissue under another name."""
        joined = hashlib.sha256(self.slide.digest().encode())
        joined.update(np.ascontiguousarray(self.xy).tobytes())
        matrix = sparse.csr_matrix(self.counts.X)
        matrix.sort_indices()
        for part in (matrix.indptr, matrix.indices, matrix.data):
            joined.update(np.ascontiguousarray(part).tobytes())
        return joined.hexdigest()


log = logging.getLogger(__name__)


def without_spots(sections: tuple[Section, ...], data: DataConfig) -> tuple[Section, ...]:
    """Return the sections without the spots that `data.min_counts` and `data.drop` leave out.

    What is said of each: how many went, and why. Spots beside the tissue are left out by the readers already, by their
    `in_tissue` where the form has such.

    Raises:
        ConfigError: a spot that is named is not there, or its section is not.
        DataError: a section has no counts to judge by, or no spot is left of it; a table of spots cannot be read.

    """
    if not data.min_counts and not data.drop:
        return sections
    named = _named(data.drop)
    unknown = sorted(named.keys() - {section.name for section in sections}) if not data.sections else []
    if unknown:
        there = ", ".join(section.name for section in sections)
        raise ConfigError(f"data.drop names spots of section {unknown[0]!r}, which is not there; found {there}")
    return tuple(_kept(section, named.get(section.name, []), data.min_counts) for section in sections)


def _named(drop: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the spots to leave out, by section."""
    found: dict[str, list[str]] = {}
    for entry in drop:
        pairs = _table(Path(entry)) if entry.lower().endswith(".csv") else [tuple(entry.split("/", 1))]
        for pair in pairs:
            if len(pair) != 2 or not all(pair):
                raise ConfigError(
                    f"data.drop holds {entry!r}; expected SECTION/SPOT, or a .csv with the columns section and spot"
                )
            found.setdefault(pair[0], []).append(pair[1])
    return found


def _table(path: Path) -> list[tuple[str, ...]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            rows.fieldnames = [name.strip() for name in rows.fieldnames or ()]
            if not {"section", "spot"} <= set(rows.fieldnames):
                raise DataError(f"{path}: has the columns {', '.join(rows.fieldnames)}; expected section and spot among them")
            # A spot is odd in several ways, and stands once for each.
            return list(dict.fromkeys((_name(row["section"]), _name(row["spot"])) for row in rows))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: cannot be read as a table of spots ({error}); expected a .csv with section and spot"
        ) from None


def _name(cell: str | None) -> str:
    """Return a name as it was before a ' was put in front of it, so that spreadsheets take it for no formula."""
    text = cell or ""
    return text[1:] if text[:1] == "'" and text[1:2] in ("=", "+", "-", "@") else text


def _kept(section: Section, named: list[str], least: float) -> Section:
    spots = section.counts.obs_names.astype(str)
    missing = sorted(set(named) - set(spots))
    if missing:
        raise ConfigError(
            f"data.drop names spot {missing[0]!r} of section {section.name}, which it has not, such as {spots[0]!r}"
        )
    kept = ~spots.isin(named)
    by_name = int((~kept).sum())
    if least:
        if not len(section.genes):
            raise DataError(
                f"section {section.name}: has no counts, so none of its spots can have {least:g}; leave data.min_counts out"
            )
        kept &= np.asarray(section.counts.X.sum(axis=1)).ravel() >= least
    few = int((~kept).sum()) - by_name
    if not kept.any():
        raise DataError(
            f"section {section.name}: none of its {len(section)} spots is left, {few} of them with fewer than {least:g} "
            "counts; lower data.min_counts, or name fewer in data.drop"
        )
    if kept.all():
        return section
    why = [f"{few} of fewer than {least:g} counts"] * bool(few) + [f"{by_name} named"] * bool(by_name)
    log.warning("section %s: %d of %d spots are left out: %s", section.name, int((~kept).sum()), len(section), ", ".join(why))
    return section.subset(np.flatnonzero(kept))
