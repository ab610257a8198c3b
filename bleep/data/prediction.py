"""What predictors return: an AnnData of tiles x genes, and names for its parts."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pandas as pd
from jaxtyping import Float32, Shaped

from bleep.data.tiles import Tiles
from bleep.errors import MismatchError
from bleep.records import Neighbors

if TYPE_CHECKING:
    from anndata import AnnData

Values = Float32[np.ndarray, "tiles genes"]
SCALE = "probability of each class"
"""What is predicted where the panel is of classes."""
SEARCH = ("similarity", "neighbors", "weights")
"""What a search found, in `obsm`; not part of the files of predictions."""


@final
class Prediction:
    """Expression predicted for each tile, on the panel's normalised scale: an AnnData, held in `adata`.

    `X` holds the values; `obs` section, spot and patient of each tile, of whole slides its place on the grid, and what a
    calibrated predictor adds (`distance`, `familiarity`, `bounded`, `abstain`); `var` the confidence in each gene, where a
    calibration gives one; `layers` spread, lower and upper; `obsm` the centre of each tile in level-0 pixels as `spatial`,
    and the reference rows used as `neighbors`, with their `similarity` and `weights`; `uns["bleep"]` the scale, what
    predicted, and how the tiles were cut; `uns["spatial"]` pictures of the slides, by section, as scanpy expects them.
    """

    __slots__ = ("adata",)

    def __init__(
        self,
        expression: Values,
        tiles: Tiles | pd.DataFrame,
        genes: tuple[str, ...],
        scale: str,
        predictor: str,
        *,
        spread: Values | None = None,
        lower: Values | None = None,
        upper: Values | None = None,
        neighbors: Neighbors | None = None,
        weights: Float32[np.ndarray, "tiles k"] | None = None,
        marks: Mapping[str, Shaped[np.ndarray, " tiles"]] | None = None,
        confidence: pd.DataFrame | None = None,
    ) -> None:
        """Join predicted values and what is known of them.

        Args:
            expression: predicted values, Float32[tiles genes].
            tiles: the tiles predicted; or a table such as `Tiles.frame` gives, where they are no longer there.
            genes: gene of each column.
            scale: what the values are, in words: normalisation, target and denominator.
            predictor: name of what predicted.
            spread: weighted standard deviation over the neighbours used: not yet a calibrated error.
            lower: lower end of the interval of each value.
            upper: upper end.
            neighbors: the reference rows used.
            weights: the weight of each of them; rows sum to 1.
            marks: further columns of `obs`, by name.
            confidence: one row a gene: the correlation to expect of it, its range, and its grade.

        Raises:
            MismatchError: the numbers of values, tiles and genes differ, or values are no array of numbers.

        """
        from anndata import AnnData

        for what, values in (("", expression), ("spread ", spread), ("lower ", lower), ("upper ", upper)):
            if not is_numbers(values) and (values is not None or not what):
                kind = f"an array of {values.dtype}" if isinstance(values, np.ndarray) else f"a {type(values).__name__}"
                raise MismatchError(
                    f"{predictor}: the {what}values of a prediction are {kind}; expected a NumPy array of numbers, a row a "
                    "tile and a column a gene"
                )
        spots, facts = (tiles, {}) if isinstance(tiles, pd.DataFrame) else (tiles.frame(), tiles.facts())
        if expression.shape != (len(spots), len(genes)):
            raise MismatchError(f"a prediction of shape {expression.shape} came with {len(spots)} tiles and {len(genes)} genes")
        layers = {"spread": spread, "lower": lower, "upper": upper}
        obsm = {"weights": weights}
        if neighbors is not None:
            obsm |= {"similarity": neighbors.similarity, "neighbors": neighbors.rows}
        ends = possible(scale)
        self.adata: AnnData = AnnData(
            X=_within(ends, expression),
            obs=spots.drop(columns=["x", "y"]).assign(**marks or {}),
            var=pd.DataFrame(index=pd.Index(genes)) if confidence is None else confidence,
            layers={
                name: values if name == "spread" else _within(ends, values)
                for name, values in layers.items()
                if values is not None
            },
            obsm={"spatial": spots[["x", "y"]].to_numpy(np.float64)}
            | {name: found for name, found in obsm.items() if found is not None},
            uns={"bleep": {"scale": scale, "predictor": predictor, **facts}},
        )

    @classmethod
    def from_anndata(cls, adata: "AnnData") -> "Prediction":
        """Return the prediction that an AnnData of such parts holds."""
        made = object.__new__(cls)
        made.adata = adata
        return made

    @classmethod
    def joined(cls, parts: "Sequence[Prediction]") -> "Prediction":
        """Return predictions of the same genes by the same predictor as one, tiles one after another."""
        from anndata import concat

        return cls.from_anndata(concat([part.adata for part in parts], merge="first", uns_merge="first"))

    def __getitem__(self, rows: Any) -> "Prediction":
        """Return the prediction of some tiles, or by `[:, columns]` of some genes; indexed as an AnnData is."""
        return self.from_anndata(self.adata[rows].copy())

    def replaced(self, **parts: Any) -> "Prediction":
        """Return it with other parts of its AnnData: `obs`, `uns` and so on; the values are shared, not copied."""
        from anndata import AnnData

        kept = {name: getattr(self.adata, name) for name in ("X", "obs", "var", "obsm", "uns")}
        return self.from_anndata(AnnData(**kept | {"layers": self.layers} | parts))

    def __len__(self) -> int:
        return self.adata.n_obs

    @property
    def expression(self) -> Values:
        """Predicted values."""
        return self.adata.X

    @property
    def layers(self) -> dict[str, Values]:
        """Spread, lower and upper, as far as there are any; anndata from 0.13 on lists X among its layers too, as None."""
        return {str(name): table for name, table in self.adata.layers.items() if name is not None}

    @property
    def genes(self) -> tuple[str, ...]:
        """Gene of each column."""
        return tuple(self.adata.var_names)

    @property
    def spots(self) -> pd.DataFrame:
        """One row a tile, indexed by `section/spot`: section, spot, patient, x and y in level-0 pixels, and the marks."""
        spots = self.adata.obs.copy()
        for at, axis in enumerate(("x", "y")):
            spots.insert(3 + at, axis, self.adata.obsm["spatial"][:, at])
        return spots

    @property
    def facts(self) -> Mapping[str, Any]:
        """What `uns["bleep"]` says of it."""
        return self.adata.uns["bleep"]

    @property
    def scale(self) -> str:
        """What the values are, in words."""
        return self.facts["scale"]

    @property
    def predictor(self) -> str:
        """Name of what predicted."""
        return self.facts["predictor"]

    @property
    def spread(self) -> Values | None:
        """Weighted standard deviation over the neighbours used, where there are any."""
        return self.adata.layers.get("spread")

    @property
    def lower(self) -> Values | None:
        """Lower end of the interval of each value, from a calibrated predictor."""
        return self.adata.layers.get("lower")

    @property
    def upper(self) -> Values | None:
        """Upper end."""
        return self.adata.layers.get("upper")

    @property
    def neighbors(self) -> Neighbors | None:
        """The reference rows used, where there are any."""
        found = self.adata.obsm
        return Neighbors(found["similarity"], found["neighbors"]) if "neighbors" in found else None

    @property
    def weights(self) -> Float32[np.ndarray, "tiles k"] | None:
        """The weight of each of them, rows summing to 1."""
        return self.adata.obsm.get("weights")

    @property
    def confidence(self) -> pd.DataFrame | None:
        """One row a gene, from a calibrated predictor: the correlation to expect of it, its range, and its grade."""
        return self.adata.var if len(self.adata.var.columns) else None

    def to_anndata(self) -> "AnnData":
        """Return what is written to a file: the AnnData without what the search found."""
        return self.replaced(obsm={name: found for name, found in self.adata.obsm.items() if name not in SEARCH}).adata

    def to_frame(self) -> pd.DataFrame:
        """Return one row a tile: section, spot, x, y, then a column a gene.

        A gene that is called like one of the other columns, such as `y`, becomes `y (gene)`.
        """
        beside = self.spots.drop(columns=["patient"])
        genes = [f"{gene} (gene)" if gene in beside.columns else gene for gene in self.genes]
        return pd.concat([beside, pd.DataFrame(self.expression, index=beside.index, columns=genes)], axis=1)


def is_numbers(values: object) -> bool:
    """Return whether this is a NumPy array of real numbers, in two dimensions."""
    return isinstance(values, np.ndarray) and values.ndim == 2 and values.dtype.kind in "fiu"


def possible(scale: str) -> tuple[float, float]:
    """Return the least and the greatest value that a scale allows, so that none is predicted and no interval goes beyond.

    A logarithm of 1 + counts per N is never below 0, and log(1 + N) where all counts of a spot are of one gene.
    """
    found = re.match(r"log1p of counts(?: per (\S+), total)?", scale)
    if found is None:
        return -np.inf, np.inf
    # The words round N to six digits.
    return 0.0, np.inf if found[1] is None else float(np.log1p(1.00001 * float(found[1])))


def _within(ends: tuple[float, float], values: Values) -> Values:
    """Return values that lie between the ends; the same ones where all do."""
    beyond = values.size and (values.min() < ends[0] or values.max() > ends[1])
    return np.clip(values, np.float32(ends[0]), np.float32(ends[1])) if beyond else values
