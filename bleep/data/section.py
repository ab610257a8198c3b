"""A section: one slide and the spots measured on it, checked when it is made."""

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int
from scipy import sparse
from scipy.spatial import cKDTree

from bleep.data.slides import MosaicSlide, Slide
from bleep.errors import DataError

if TYPE_CHECKING:
    from anndata import AnnData


@final
@dataclass(frozen=True, slots=True)
class Section:
    """One slide and its spots.

    Raises:
        DataError: an id or a gene stands twice, whole counts are negative or not finite, the lengths differ, or a spot's
            centre lies outside the slide.

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
    """Spot centres in level-0 pixels, x first."""
    mpp: float
    """Microns per level-0 pixel."""

    def __post_init__(self) -> None:
        ids, genes = self.counts.obs_names, self.counts.var_names
        if len(ids) == 0:
            raise DataError(f"section {self.name}: has no spots; expected at least one with a position")
        if len(ids) != len(self.xy):
            raise DataError(f"section {self.name}: {len(ids)} spots came with {len(self.xy)} positions")
        for what, names in (("spot id", ids), ("gene", genes)):
            if not names.is_unique:
                twice = names[names.duplicated()][0]
                raise DataError(f"section {self.name}: {what} {twice!r} stands more than once; each must stand once")
        if not np.isfinite(self.mpp) or self.mpp <= 0:
            raise DataError(f"section {self.name}: {self.mpp} microns per pixel; expected a positive number")
        self._check_positions()
        self._check_counts()

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
        values = matrix.data if sparse.issparse(matrix) else np.asarray(matrix)
        if values.size and not np.isfinite(values).all():
            raise DataError(f"section {self.name}: the expression holds values that are not numbers; mend or drop them")
        # Values that are normalised and corrected for batches may fall a little below 0; whole numbers are counts.
        if values.size and values.min() < 0 and not (values != np.round(values)).any():
            raise DataError(
                f"section {self.name}: the expression holds negative values (least {values.min():g}); "
                "expected counts, or normalised values"
            )

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
        """Return the usual distance from a spot to its nearest neighbour, in pixels."""
        if not self.has_positions or len(self) < 2:
            raise DataError(f"section {self.name}: its tiles have no known places, so they have no distances; split by section")
        nearest = cKDTree(self.xy).query(self.xy, k=2)[0][:, 1]
        return float(np.median(nearest))

    def digest(self) -> str:
        """Return a sha256 of slide, positions and counts: equal for the same tissue under another name."""
        joined = hashlib.sha256(self.slide.digest().encode())
        joined.update(np.ascontiguousarray(self.xy).tobytes())
        matrix = sparse.csr_matrix(self.counts.X)
        matrix.sort_indices()
        for part in (matrix.indptr, matrix.indices, matrix.data):
            joined.update(np.ascontiguousarray(part).tobytes())
        return joined.hexdigest()
