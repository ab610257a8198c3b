"""Ready-made features: the .h5 files of TRIDENT, CLAM and HEST, read as a trunk's output and written in that form.

A file holds `features` (or HEST's `embeddings`), [patches, width], and `coords`, the upper left corner of each patch in level-0
pixels, x first; its attributes say how large a patch is. `barcodes`, where a file has them, name the spot of each patch.
"""

import hashlib
import logging
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, final

import h5py
import numpy as np
from jaxtyping import Float32, Float64
from scipy.spatial import cKDTree

from bleep.data.section import Section
from bleep.data.slides.base import file_digest
from bleep.errors import DataError, MismatchError
from bleep.files import whole
from bleep.find import visible
from bleep.marks import KEY, MARK
from bleep.outputs import check_h5, writing_h5

log = logging.getLogger(__name__)

TABLES, SIDES = ("features", "embeddings"), ("patch_size_level0", "patch_size_lv0")
"""Names of the table of features, and of the attribute that says a patch's side in level-0 pixels."""


@final
@dataclass(frozen=True, slots=True)
class ReadyFeatures:
    """What one file holds."""

    path: Path
    features: Float32[np.ndarray, "patches width"]
    centres: Float64[np.ndarray, "patches 2"]
    """In level-0 pixels, x first."""
    side: float
    """Of a patch in level-0 pixels; 0: the file does not say, and its coordinates are taken for centres."""
    size: tuple[int, int]
    """Width and height of the slide it was made of; 0: the file does not say."""
    barcodes: tuple[str, ...]
    """Name of each patch's spot; none where the file has none."""
    encoder: str
    """What computed the features; empty: the file does not say."""

    def rows(self, section: Section, limit: float | None) -> np.ndarray:
        """Return the patch of each spot, Int64[spots]: that of its name, else the one with the nearest centre.

        Args:
            section: whose spots are asked for.
            limit: the farthest that a patch may lie, in microns; none: half a patch's side.

        Raises:
            DataError: a spot has no patch of its name within the limit, or the file says no patch size and no limit is given.
            MismatchError: the file is of a slide of another size.

        """
        if any(self.size) and self.size != section.slide.size:
            here, there = (f"{width} x {height}" for width, height in (self.size, section.slide.size))
            raise MismatchError(
                f"{self.path}: was made of a slide of {here} pixels, but that of section {section.name} has {there}; "
                "give the same picture to both"
            )
        number = {name: row for row, name in enumerate(self.barcodes)}
        if number and all(spot in number for spot in section.counts.obs_names):
            named = Counter(self.barcodes)
            twice = next((spot for spot in section.counts.obs_names if named[spot] > 1), None)
            if twice is not None:
                raise DataError(f"{self.path}: {named[twice]} patches are called {twice!r}; expected one for each spot")
            return np.array([number[spot] for spot in section.counts.obs_names], dtype=np.int64)
        if not section.has_positions:
            raise DataError(
                f"{self.path}: does not name every spot of section {section.name}, whose ready-cut tiles have no known places"
            )
        if limit is None and not self.side:
            raise DataError(f"{self.path}: does not say how large its patches are: set data.features_limit, in microns")
        apart, rows = cKDTree(self.centres).query(section.xy)
        microns, most = apart * section.mpp, self.side * section.mpp / 2 if limit is None else limit
        far = microns > most
        if far.any():
            worst = int(np.argmax(microns))
            raise DataError(
                f"{self.path}: {int(far.sum())} of {len(far)} spots of section {section.name} lie farther than {most:.0f} "
                f"microns from the nearest patch, farthest {section.counts.obs_names[worst]!r} at {microns[worst]:.0f}; "
                "compute features of all tissue, with patches that overlap, or raise data.features_limit"
            )
        _say(
            f"section {section.name}: {len(rows)} spots matched to {len(np.unique(rows))} patches of {self.path.name}, "
            f"{np.median(microns):.1f} microns apart in the median, {microns.max():.1f} at most"
        )
        return rows.astype(np.int64)


@final
@dataclass(frozen=True, slots=True)
class ReadyFolder:
    """The files of a run, and what they must hold."""

    folder: Path
    width: int
    encoder: str
    limit: float | None
    """See `ReadyFeatures.rows`."""

    def read(self, section: Section) -> Float32[np.ndarray, "spots width"]:
        """Return the features of a section's spots.

        Raises:
            DataError: the file is missing or damaged, or a spot has no patch.
            MismatchError: its features are of another width or encoder than the run's.

        """
        found = open_ready(self.folder, section.name)
        here, there = (found.features.shape[1], found.encoder), (self.width, self.encoder)
        if here[0] != there[0] or (all((here[1], there[1])) and here[1] != there[1]):
            words = [f"{width} features of {encoder or 'an encoder it does not name'}" for width, encoder in (here, there)]
            raise MismatchError(f"{found.path}: holds {words[0]}, but the run was trained on {words[1]}; compute them alike")
        return found.features[found.rows(section, self.limit)]

    def digest(self, section: Section) -> str:
        """Return a sha256 of what `read` goes by, so that nothing is remembered of a section whose file is another by now.

        Raises:
            DataError: the file is missing.

        """
        path = self.folder / f"{section.name}.h5"
        _stamp(path)
        return hashlib.sha256(f"{file_digest(path)} {self.limit}".encode()).hexdigest()


def open_ready(folder: Path, name: str) -> ReadyFeatures:
    """Read the file of a section.

    Raises:
        DataError: it is not there, is damaged, or lacks features or coordinates.

    """
    path = folder / f"{name}.h5"
    return _read(path, *_stamp(path))


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        there = ", ".join([found.stem for found in visible(path.parent, "*.h5")][:5]) or "none"
        raise DataError(f"{path}: no such file of features; expected one named as the section (found: {there})") from None
    return status.st_mtime_ns, status.st_size


def peek(folder: Path) -> tuple[int, str]:
    """Return the width of the features in a folder, and what computed them, from its first file.

    Raises:
        DataError: there is none, or it is damaged.

    """
    first = next(iter(visible(folder, "*.h5")), None)
    if first is None:
        raise DataError(f"{folder}: holds no .h5 file of features; set data.features to the folder that TRIDENT or CLAM wrote")
    found = open_ready(folder, first.stem)
    return found.features.shape[1], found.encoder


@lru_cache(maxsize=8)
def _read(path: Path, modified: int, size: int) -> ReadyFeatures:
    try:
        check_h5(path)
        with h5py.File(path, "r") as file:
            name = next((name for name in TABLES if name in file), None)
            if name is None or "coords" not in file:
                held = ", ".join(file) or "nothing"
                raise DataError(f"{path}: holds {held}; expected `features` and `coords`, as TRIDENT, CLAM and HEST write them")
            features, corners = np.asarray(file[name], np.float32), np.asarray(file["coords"], np.float64)
            facts = {**file.attrs, **file[name].attrs, **file["coords"].attrs}
            names = [_text(one) for one in np.asarray(file["barcodes"]).ravel()] if "barcodes" in file else []
        side, slide = _side(facts), _size(facts)
    except (OSError, ValueError, TypeError, LookupError, OverflowError) as error:
        raise DataError(
            f"{path}: cannot be read as features ({str(error).splitlines()[0][:100]}); is the file whole?"
        ) from None
    shapes = f"{name} of shape {features.shape} and coords of shape {corners.shape}"
    features, corners = (features[0] if _is_boxed(features) else features), (corners[0] if _is_boxed(corners) else corners)
    if features.ndim != 2 or corners.ndim != 2 or not features.shape[1] or corners.shape[1] != 2:
        raise DataError(f"{path}: holds {shapes}; expected (patches, width) and (patches, 2): one vector for each patch")
    if len(features) != len(corners) or not len(features) or (names and len(names) != len(features)):
        named = f" and {len(names)} barcodes" if names else ""
        raise DataError(
            f"{path}: holds {len(features)} rows of features and {len(corners)} of coordinates{named}; expected as many"
        )
    if not (np.isfinite(features).all() and np.isfinite(corners).all()):
        raise DataError(f"{path}: holds values that are not numbers; compute its features again")
    if not (np.isfinite(side) and side >= 0):
        raise DataError(f"{path}: says that its patches are {side:g} pixels wide; expected a number above 0: write it anew")
    return ReadyFeatures(path, features, corners + side / 2, side, slide, tuple(names), _text(facts.get("encoder", "")))


def _is_boxed(table: np.ndarray) -> bool:
    """Return whether a table stands in a batch of its own, as some programs write it."""
    return table.ndim == 3 and len(table) == 1


def _side(facts: dict[str, Any]) -> float:
    """Return a patch's side in level-0 pixels; CLAM gives it at the level it read, with that level's reduction."""
    for key in SIDES:
        if key in facts:
            return float(np.ravel(facts[key])[0])
    if "patch_size" in facts and "downsample" in facts:
        return float(np.ravel(facts["patch_size"])[0]) * float(np.ravel(facts["downsample"])[0])
    if "patch_size" in facts and int(np.ravel(facts.get("patch_level", 1))[0]) == 0:
        return float(np.ravel(facts["patch_size"])[0])
    return 0.0


def _size(facts: dict[str, Any]) -> tuple[int, int]:
    width, height = (int(np.ravel(facts.get(f"level0_{side}", 0))[0]) for side in ("width", "height"))
    return width, height


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def write_ready(
    path: Path, section: Section, features: Float32[np.ndarray, "spots width"], microns: float, encoder: str
) -> None:
    """Write the features of a section's spots in TRIDENT's form, with the spots' names.

    Args:
        path: the file.
        section: whose spots they are.
        features: a row a spot.
        microns: side of the tissue that each tile shows.
        encoder: what computed them.

    Raises:
        DataError: there is no room, or the folder cannot be written to.

    """
    side = max(round(microns / section.mpp), 1)
    with whole(path) as temporary, writing_h5(temporary) as file:
        table = file.create_dataset("features", data=features)
        table.attrs.update({"encoder": encoder, KEY: MARK})
        corners = file.create_dataset("coords", data=np.round(section.xy - side / 2).astype(np.int64))
        width, height = section.slide.size
        corners.attrs.update({"patch_size": side, "patch_size_level0": side, "patch_level": 0, "level0_mpp": section.mpp})
        corners.attrs.update({"level0_width": width, "level0_height": height, "name": section.name})
        file.create_dataset("barcodes", data=np.array([name.encode() for name in section.counts.obs_names]))


@lru_cache(maxsize=256)
def _say(words: str) -> None:
    """Say it once, not each time the section is read."""
    log.info(words)
