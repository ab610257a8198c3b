"""Where the files of a section lie that Space Ranger wrote: its scale factors, its pictures, and its counts as MTX."""

import glob
import gzip
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from bleep.config import DataConfig
from bleep.data.readers.agreement import Known, Shown, check_picture
from bleep.data.readers.spaceranger import read_mtx
from bleep.data.readers.tables import Measured
from bleep.data.slides import open_slide
from bleep.errors import DataError
from bleep.files import read_json
from bleep.find import visible
from bleep.guards import check_gzip

FACTORS = "scalefactors_json.json"
PICTURES = (
    ("hires", "tissue_hires_image.png"),
    ("hires", "tissue_hires_image.jpg"),
    ("lowres", "tissue_lowres_image.png"),
    ("lowres", "tissue_lowres_image.jpg"),
)
"""Pictures taken when none is named, best first, with the scale each is at."""


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where the files of one section lie."""

    counts: Path
    """Folder of the counts."""
    spatial: tuple[Path, ...]
    """Folders of positions, scale factors and pictures, the nearest first."""
    seen_from: tuple[Path, ...]
    """Folders that `data.image` is seen from, the nearest first."""
    prefix: str = ""
    """What stands before the names of positions, scale factors and pictures, in a flat folder."""
    start: str = ""
    """What stands before the names of the counts."""
    longer: tuple[str, ...] = ()
    """Prefixes of other sections in the same folder that begin with this one."""
    bin: int = 0
    """Side of HD's square bins in microns; 0: spots."""

    def find(self, names: tuple[str, ...], ends: tuple[str, ...] = ("", ".gz")) -> Path | None:
        """Return the first file of one of these names, plain or packed."""
        named = (folder / f"{self.prefix}{name}{end}" for name in names for folder in self.spatial for end in ends)
        return next((path for path in named if path.is_file()), None)

    def counted(self, *names: str) -> list[Path]:
        """Return what of the counts is called like this, other sections' left out."""
        found = [path for name in names for path in visible(self.counts, f"{glob.escape(self.start)}*{name}")]
        return sorted(path for path in found if not path.name.startswith(self.longer))


def scale_of(name: str, factors: Mapping[str, Any], path: Path) -> float:
    """Return the pixels of a picture per full-resolution pixel, `name` being `full`, `hires` or `lowres`."""
    return 1.0 if name == "full" else factor_of(factors, f"tissue_{name}_scalef", path)


def read_factors(path: Path) -> dict[str, Any]:
    """Read the scale factors, packed or plain.

    Raises:
        DataError: the file is damaged, or holds something else.

    """
    what = "Space Ranger's scale factors"
    if path.suffix != ".gz":
        return _checked(read_json(path, what), path)
    try:
        check_gzip(path)
        tree = json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise DataError(f"{path}: is damaged ({str(error).splitlines()[0]}); expected {what}") from None
    if not isinstance(tree, dict):
        raise DataError(f"{path}: holds a {type(tree).__name__}; expected {what}")
    return _checked(tree, path)


def _checked(tree: dict[str, Any], path: Path) -> dict[str, Any]:
    if tree and not any(key.endswith("scalef") for key in tree):
        found = ", ".join(list(tree)[:5])
        raise DataError(f"{path}: holds {found}; expected Space Ranger's scale factors, such as tissue_hires_scalef")
    return tree


def factor_of(factors: Mapping[str, Any], key: str, path: Path) -> float:
    """Return a factor; it must be a number above 0."""
    value = factors.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise DataError(f"{path}: {key} is {value!r}; expected a number above 0")
    return float(value)


def picture_of(name: str, place: Place, data: DataConfig) -> tuple[str, Path]:
    """Return the picture that `data.image` names, else the best that is there; and at which scale it is.

    Raises:
        DataError: there is none, or it is packed.

    """
    if data.image is not None:
        paths = [folder / str(data.image).replace("{name}", name) for folder in place.seen_from]
        return data.image_scale, next((path for path in paths if path.exists()), paths[0])
    for scale, file in PICTURES:
        if path := place.find((file,), ("",)):
            return scale, path
    if packed := place.find(tuple(file for _, file in PICTURES), (".gz",)):
        raise DataError(f"{packed}: is packed, and pictures are read unpacked: run gunzip on it")
    raise DataError(f"{place.spatial[0]}: has no tissue_hires_image or tissue_lowres_image; name the picture with data.image")


def check_known_pictures(
    name: str, place: Place, picture: Path, scale: float, slide: Shown, factors: Mapping[str, Any], path: Path, limit: int
) -> None:
    """Refuse a picture that is not the one which a smaller picture beside it is a copy of: see `check_picture`."""
    for other, file in PICTURES:
        known = place.find((file,), ("",))
        if known is not None and known != picture and f"tissue_{other}_scalef" in factors:
            stated = Known(known.name, scale_of(other, factors, path), open_slide(known, limit))
            check_picture(name, picture.name, slide, scale, stated)
            return


def read_folder_of_mtx(place: Place) -> Measured:
    """Read matrix, features and barcodes; where they are there twice, packed and plain, a set that is whole."""
    kinds = (("matrix.mtx",), ("features.tsv", "genes.tsv"), ("barcodes.tsv",))
    for end in (".gz", ""):
        found = [place.counted(*(f"{name}{end}" for name in names)) for names in kinds]
        if all(len(paths) == 1 for paths in found):
            (matrix,), (features,), (barcodes,) = found
            return read_mtx(matrix, features, barcodes)
    files = []
    for names in kinds:
        paths = place.counted(*(f"{name}{end}" for name in names for end in ("", ".gz")))
        if not paths:
            raise DataError(f"{place.counts}: has no {names[0]}; expected a file named {' or '.join(names)}")
        if len(paths) > 1:
            one, two = paths[0].name, paths[1].name
            raise DataError(f"{place.counts}: has several files that could be the {names[0]}: {one} and {two}; keep one")
        files.append(paths[0])
    return read_mtx(*files)
