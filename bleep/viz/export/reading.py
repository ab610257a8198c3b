"""A prediction that `bleep query` wrote, opened without reading its values."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, final

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem
from jaxtyping import Float, Int
from scipy import sparse

from bleep.data.readers.annotated import clearly
from bleep.data.slides import Pixels, as_rgb
from bleep.errors import ConfigError, DataError
from bleep.outputs import check_h5, check_zarr

NEEDED = ("sections", "mpp", "tile_microns", "ready_cut")
"""What `uns["bleep"]` must say of the tiles."""
POSITIVE = ("mpp", "tile_microns")
ENDS = ("lower", "upper")
"""Layers of the ends of intervals."""


@final
@dataclass(frozen=True, slots=True)
class Predicted:
    """What a file of predictions holds, also one that was subset or edited since; its values stay on disk.

    Raises:
        DataError: the file does not say how its tiles were cut, they have no places on a slide, or what is said does not go
            with them.

    """

    path: Path
    values: Any
    """Tiles x genes, read by rows, each block dense."""
    obs: pd.DataFrame
    """One row a tile."""
    genes: tuple[str, ...]
    xy: Float[np.ndarray, "tiles axes"]
    """Centres of the tiles in level-0 pixels, x first."""
    facts: Mapping[str, Any]
    """What `uns["bleep"]` says."""
    pictures: Mapping[str, Any]
    """What `uns["spatial"]` holds, by section; empty where only ready-cut tiles were predicted."""
    ends: Mapping[str, Any] = field(default_factory=dict)
    """The ends of each value's interval, `lower` and `upper`, read as the values are; empty: it has none."""

    def __post_init__(self) -> None:
        lacking = [name for name in NEEDED if name not in self.facts]
        if lacking:
            self._refuse(f"does not say {lacking[0]!r} of its tiles; predict them again with this version of bleep")
        self._check_tiles()
        self._check_facts()
        ready = np.atleast_1d(self.facts["ready_cut"])
        cut = [name for name in self.sections if ready[self._noted.index(name)]]
        if cut:
            self._refuse(
                f"section {cut[0]} is of ready-cut tiles, and nobody knows where on a slide they lie; predict the "
                "slide itself (bleep query --slides), or a section that has positions"
            )

    def _check_tiles(self) -> None:
        """Refuse tiles without a place or a section that the facts know, names that stand twice, and what is empty."""
        if not len(self.obs) or not self.genes:
            self._refuse(f"holds {'no genes' if len(self.obs) else 'no tiles'}; expected some: was too much left out?")
        if "section" not in self.obs:
            self._refuse("its obs has no column 'section', which says where each tile is from; leave that column in")
        unknown = sorted(set(map(str, self.obs["section"])) - set(self._noted))
        if unknown:
            self._refuse(
                f'has tiles of section {unknown[0]!r}, of which uns["bleep"] says nothing, as where predictions were joined; '
                "export each prediction by itself"
            )
        if self.xy.shape != (len(self.obs), 2) or not np.isfinite(self.xy).all():
            self._refuse(f'obsm["spatial"] has the shape {self.xy.shape} or holds no numbers; expected x and y of each tile')
        twice = pd.Index(self.genes)[pd.Index(self.genes).duplicated()]
        if len(twice):
            self._refuse(f"gene {twice[0]!r} stands more than once; expected each once: .var_names_make_unique() does that")
        both = pd.MultiIndex.from_arrays([self.obs["section"].astype(str), self.spots])
        if both.has_duplicates:
            section, spot = both[both.duplicated()][0]
            self._refuse(f"tile {spot!r} of section {section} stands more than once; expected each once")

    def _check_facts(self) -> None:
        """Refuse what is said of the tiles if it cannot be so, or does not go with the sections."""
        count = len(self._noted)
        told = {
            "mpp": (count,),
            "ready_cut": (count,),
            "tile_microns": None,
            **({"offset": (count, 2)} if "offset" in self.facts else {}),
        }
        for name, shape in told.items():
            values = np.atleast_2d(self.facts[name]) if name == "offset" else np.atleast_1d(self.facts[name])
            numbers = values.dtype.kind in "buif" and values.size and np.isfinite(values).all()
            if not numbers or (shape is not None and values.shape != shape) or (name in POSITIVE and (values <= 0).any()):
                self._refuse(
                    f'uns["bleep"] says {str(self.facts[name])[:60]!r} for {name!r} of {count} section(s), which cannot be so; '
                    "predict them again, and leave that as it is"
                )

    def _refuse(self, why: str) -> NoReturn:
        raise DataError(f"{self.path}: {why}")

    @property
    def _noted(self) -> tuple[str, ...]:
        """Names of the sections that were predicted."""
        return tuple(str(name) for name in np.atleast_1d(self.facts["sections"]))

    @property
    def sections(self) -> tuple[str, ...]:
        """Names, in order, of those that have tiles."""
        here = set(self.obs["section"].astype(str))
        return tuple(name for name in self._noted if name in here)

    @property
    def spots(self) -> np.ndarray:
        """Name of each tile in its section; where none is noted, that of its row."""
        return np.asarray(self.obs.get("spot", self.obs.index)).astype(str)

    @property
    def labels(self) -> list[str]:
        """What each tile was told to be; empty where nothing was."""
        if "label" not in self.obs:
            return [""] * len(self.obs)
        return self.obs["label"].astype("string").fillna("").tolist()

    def rows(self, section: str) -> Int[np.ndarray, " rows"]:
        """Return the rows of a section's tiles."""
        return np.flatnonzero(self.obs["section"].astype(str).to_numpy() == section)

    def side(self, section: str) -> float:
        """Return the level-0 pixels that a tile stands for, side to side: the step of a grid, else the smallest window.

        Raises:
            DataError: it is a grid whose picture does not say the step.

        """
        if section in self.pictures and "grid_x" in self.obs:
            return self._factor(section, "spot_diameter_fullres")
        mpp = np.atleast_1d(self.facts["mpp"])[self._noted.index(section)]
        return float(np.min(self.facts["tile_microns"]) / mpp)

    def picture(self, section: str) -> tuple[Pixels, float] | None:
        """Return the picture of a section, and its pixels per level-0 pixel; none where there is none.

        Raises:
            DataError: it is no picture, or has no scale.

        """
        images = self._held(section, "images")
        if "hires" not in images:
            return None
        what = f'{self.path}: the picture of section {section} in uns["spatial"]'
        return as_rgb(np.asarray(images["hires"]), what), self._factor(section, "tissue_hires_scalef")

    def _factor(self, section: str, name: str) -> float:
        found = self._held(section, "scalefactors").get(name)
        number = np.asarray(found)
        if number.size != 1 or number.dtype.kind not in "iuf" or not 0 < float(number.item()) < np.inf:
            self._refuse(
                f'uns["spatial"] says {str(found)[:40]!r} for {name} of section {section}; expected a number above 0: leave '
                "what bleep wrote there as it is, or remove all of it"
            )
        return float(number.item())

    def _held(self, section: str, kind: str) -> Mapping[str, Any]:
        library = self.pictures.get(section)
        found = library.get(kind) if isinstance(library, Mapping) else None
        return found if isinstance(found, Mapping) else {}

    def offset(self, section: str) -> tuple[float, float]:
        """Return the level-0 place of what was scanned of a slide, from which programs such as QuPath show it."""
        found = np.atleast_2d(self.facts.get("offset", np.zeros((len(self._noted), 2))))[self._noted.index(section)]
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
        with clearly(path, "a prediction"):
            (check_h5 if path.suffix == ".h5ad" else check_zarr)(path)
            root = stack.enter_context(h5py.File(path)) if path.suffix == ".h5ad" else _zarr(path)
            parts = _parts(root, path)
        yield Predicted(path, **parts)


def _zarr(path: Path) -> Any:
    import zarr

    return zarr.open_group(path, mode="r")


def _parts(root: Any, path: Path) -> dict[str, Any]:
    """Return what stands beside the values.

    Raises:
        DataError: bleep has made no note, or values or places are not there.

    """
    uns = root.get("uns", {})
    if "bleep" not in uns:
        raise DataError(f'{path}: is no prediction of bleep, which notes in uns["bleep"] how it was made')
    facts, pictures = read_elem(uns["bleep"]), read_elem(uns["spatial"]) if "spatial" in uns else {}
    for name, there in (("X", "X" in root), ('obsm["spatial"]', "obsm" in root and "spatial" in root["obsm"])):
        if not there:
            raise DataError(f"{path}: has no {name}; expected what bleep wrote there")
    return {
        "values": _values(root["X"], path),
        "obs": read_elem(root["obs"]),
        "genes": tuple(map(str, read_elem(root["var"]).index)),
        "xy": _places(read_elem(root["obsm"]["spatial"])),
        "facts": facts if isinstance(facts, Mapping) else {},
        "pictures": pictures if isinstance(pictures, Mapping) else {},
        "ends": {name: _values(root["layers"][name], path) for name in ENDS if name in root.get("layers", {})},
    }


def _values(stored: Any, path: Path) -> Any:
    """Return an array on disk as it is; a sparse table, which is smaller, from memory."""
    return _Stored(stored, path) if hasattr(stored, "shape") else _Sparse(sparse.csr_array(read_elem(stored)))


def _places(stored: Any) -> np.ndarray:
    """Return places as numbers; a table that has none, as one without columns."""
    dense = stored.toarray() if sparse.issparse(stored) else stored
    with contextlib.suppress(ValueError, TypeError):
        return np.asarray(dense, np.float64)
    return np.empty((len(dense), 0))


@final
@dataclass(frozen=True, slots=True)
class _Stored:
    """An array on disk, of which a damaged block shows only when it is read."""

    array: Any
    path: Path

    def __getitem__(self, rows: slice) -> np.ndarray:
        with clearly(self.path, "a prediction"):
            return np.asarray(self.array[rows])


@final
@dataclass(frozen=True, slots=True)
class _Sparse:
    """A sparse table whose rows are given dense."""

    table: sparse.csr_array

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.table[rows].toarray()
