"""A prediction that `bleep query` wrote, opened without reading its values."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem
from jaxtyping import Float, Int

from bleep.errors import ConfigError, DataError
from bleep.guards import check_h5, check_zarr

NEEDED = ("sections", "mpp", "tile_microns", "ready_cut")
"""What `uns["bleep"]` must say of the tiles."""


@final
@dataclass(frozen=True, slots=True)
class Predicted:
    """What a file of predictions holds; its values stay on disk.

    Raises:
        DataError: the file does not say how its tiles were cut, or they have no places on a slide.

    """

    path: Path
    values: Any
    """Tiles x genes, read by rows."""
    obs: pd.DataFrame
    """One row a tile."""
    genes: tuple[str, ...]
    xy: Float[np.ndarray, "tiles 2"]
    """Centres of the tiles in level-0 pixels, x first."""
    facts: Mapping[str, Any]
    """What `uns["bleep"]` says."""
    pictures: Mapping[str, Any]
    """What `uns["spatial"]` holds, by section; empty where only ready-cut tiles were predicted."""

    def __post_init__(self) -> None:
        lacking = [name for name in NEEDED if name not in self.facts]
        if lacking:
            raise DataError(
                f"{self.path}: does not say {lacking[0]!r} of its tiles; predict them again with this version of bleep"
            )
        cut = [name for name, ready in zip(self.sections, np.atleast_1d(self.facts["ready_cut"]), strict=True) if ready]
        if cut:
            raise DataError(
                f"{self.path}: section {cut[0]} is of ready-cut tiles, and nobody knows where on a slide they lie; predict the "
                "slide itself (bleep query --slides), or a section that has positions"
            )

    @property
    def sections(self) -> tuple[str, ...]:
        """Names, in order."""
        return tuple(str(name) for name in np.atleast_1d(self.facts["sections"]))

    def rows(self, section: str) -> Int[np.ndarray, " rows"]:
        """Return the rows of a section's tiles."""
        return np.flatnonzero(self.obs["section"].astype(str).to_numpy() == section)

    def side(self, section: str) -> float:
        """Return the level-0 pixels that a tile stands for, side to side: the step of a grid, else the smallest window."""
        if section in self.pictures and "grid_x" in self.obs:
            return float(self.pictures[section]["scalefactors"]["spot_diameter_fullres"])
        mpp = np.atleast_1d(self.facts["mpp"])[self.sections.index(section)]
        return float(np.min(self.facts["tile_microns"]) / mpp)

    def offset(self, section: str) -> tuple[float, float]:
        """Return the level-0 place of what was scanned of a slide, from which programs such as QuPath show it."""
        found = np.atleast_2d(self.facts.get("offset", np.zeros((len(self.sections), 2))))[self.sections.index(section)]
        return float(found[0]), float(found[1])

    def columns(self, genes: Sequence[str]) -> Int[np.ndarray, " columns"]:
        """Return the columns of some genes; of none named, all.

        Raises:
            ConfigError: a gene is not there.

        """
        places = {gene: column for column, gene in enumerate(self.genes)}
        unknown = [gene for gene in genes if gene not in places]
        if unknown:
            some = ", ".join(self.genes[:5])
            raise ConfigError(
                f"--genes: {self.path} has no {unknown[0]!r} among its {len(places)} genes; it has {some} and so on"
            )
        return np.array([places[gene] for gene in genes or self.genes], dtype=np.int64)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Predicted]:
    """Open a prediction, .h5ad or .zarr, until the end of the `with`.

    Raises:
        DataError: there is no such file, it is damaged, or no prediction of bleep with places on a slide.

    """
    if path.suffix not in (".h5ad", ".zarr"):
        raise DataError(f"{path}: expected a prediction ending in .h5ad or .zarr, which say how tiles were cut; tables do not")
    if not path.exists():
        raise DataError(f"{path}: no such file; expected a prediction that `bleep query` wrote")
    with contextlib.ExitStack() as stack:
        try:
            (check_h5 if path.suffix == ".h5ad" else check_zarr)(path)
            root = stack.enter_context(h5py.File(path)) if path.suffix == ".h5ad" else _zarr(path)
            parts = _parts(root)
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise DataError(f"{path}: is damaged, or no AnnData ({str(error).splitlines()[0]})") from None
        if parts is None:
            raise DataError(f'{path}: is no prediction of bleep, which notes in uns["bleep"] how it was made')
        yield Predicted(path, **parts)


def _zarr(path: Path) -> Any:
    import zarr

    return zarr.open_group(path, mode="r")


def _parts(root: Any) -> dict[str, Any] | None:
    """Return what stands beside the values; none where bleep has made no note."""
    uns = root["uns"]
    if "bleep" not in uns:
        return None
    var = read_elem(root["var"])
    return {
        "values": root["X"],
        "obs": read_elem(root["obs"]),
        "genes": tuple(map(str, var.index)),
        "xy": np.asarray(read_elem(root["obsm"]["spatial"]), np.float64),
        "facts": read_elem(uns["bleep"]),
        "pictures": read_elem(uns["spatial"]) if "spatial" in uns else {},
    }
