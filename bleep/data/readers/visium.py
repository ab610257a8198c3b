"""10x Visium and Visium HD, as Space Ranger writes it, versions 1 to 4, or as GEO hands it out, packed and flat.

A section is a folder with `spatial/` (scalefactors_json.json, and tissue_positions.parquet, tissue_positions.csv or the
older tissue_positions_list.csv without a header) and the counts: `*filtered_feature_bc_matrix.h5` or the folder
`filtered_feature_bc_matrix/`. Of HD, `data.bin` says which of the folders `binned_outputs/square_NNNum` is read. On GEO
the same files lie side by side, a prefix such as `GSM1_name_` before each name.
"""

import glob
import gzip
import json
import logging
import math
import re
import zlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from bleep.config import DataConfig
from bleep.data.readers import chosen_names
from bleep.data.readers.spaceranger import PITCH, full_mpp, read_h5, read_mtx, read_positions, under_tissue
from bleep.data.readers.tables import Measured, joined, only
from bleep.data.section import Section
from bleep.data.slides import open_slide
from bleep.errors import DataError
from bleep.files import read_json

FACTORS = "scalefactors_json.json"
POSITIONS = ("tissue_positions.parquet", "tissue_positions.csv", "tissue_positions_list.csv")
PICTURES = (
    ("hires", "tissue_hires_image.png"),
    ("hires", "tissue_hires_image.jpg"),
    ("lowres", "tissue_lowres_image.png"),
    ("lowres", "tissue_lowres_image.jpg"),
)
"""Pictures taken when none is named, best first, with the scale each is at."""
FOLDERS = ("filtered_feature_bc_matrix", "filtered_gene_bc_matrices")
"""Ends of the names of folders with matrix.mtx; the older holds one folder for the genome."""
SQUARE = re.compile(r"square_(\d+)um")
"""Folder of one bin size of HD."""

log = logging.getLogger(__name__)


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
    """What stands before every name, in a flat folder."""
    bin: int = 0
    """Side of HD's square bins in microns; 0: spots."""

    def find(self, names: tuple[str, ...], ends: tuple[str, ...] = ("", ".gz")) -> Path | None:
        """Return the first file of one of these names, plain or packed."""
        named = (folder / f"{self.prefix}{name}{end}" for name in names for folder in self.spatial for end in ends)
        return next((path for path in named if path.is_file()), None)


def read(data: DataConfig) -> tuple[Section, ...]:
    """Read the sections; which bins and which picture are used, and the microns per pixel, are said aloud."""
    places = _places(data.root.resolve())
    chosen = {name: _chosen(name, places[name], data) for name in chosen_names(list(places), data)}
    pictures = {name: _picture(name, place, data) for name, place in chosen.items()}
    shown: dict[Path, str] = {}
    for name, (_, path) in pictures.items():
        if shown.setdefault(path, name) != name:
            raise DataError(
                f"data.image: {data.image} is the same picture for sections {shown[path]!r} and {name!r}; write {{name}} "
                "where the name of the section stands"
            )
    return tuple(_read_one(name, place, *pictures[name], data) for name, place in chosen.items())


def _places(root: Path) -> dict[str, list[Place]]:
    """Return by section name what was found below root: one place, or of HD one for each size of bins."""
    patterns = [f"{start}{FACTORS}{end}" for start in ("spatial/", "?*") for end in ("", ".gz")]
    paths = [path for pattern in patterns for path in root.rglob(pattern)]
    found: dict[str, list[Place]] = defaultdict(list)
    for folder, prefix in sorted({(path.parent, path.name.removesuffix(".gz").removesuffix(FACTORS)) for path in paths}):
        above = folder.parent
        match = SQUARE.fullmatch(above.name)
        if prefix:
            found[prefix.strip("_.- ") or prefix].append(Place(folder, (folder,), (folder,), prefix))
        elif match:
            outs = above.parents[1] if above.parent.name == "binned_outputs" else above.parent
            seen_from = (above, outs, *([outs.parent] if outs.name == "outs" else []))
            found[_name(above)].append(Place(above, (folder, outs / "spatial"), seen_from, bin=int(match[1])))
        # Beside the bins lie outlines of cells, and pictures that the bins share: neither is a section.
        elif above.name != "segmented_outputs" and not (above / "binned_outputs").is_dir():
            seen_from = (above, *([above.parent] if above.name == "outs" else []))
            found[_name(above)].append(Place(above, (folder,), seen_from))
    return found


def _name(folder: Path) -> str:
    """Return the name of the sample: that of the lowest folder whose name Space Ranger did not give."""
    return [part for part in folder.parts if part not in ("outs", "binned_outputs") and not SQUARE.fullmatch(part)][-1]


def _chosen(name: str, places: list[Place], data: DataConfig) -> Place:
    """Return the place that `data.bin` asks for; a root that is itself the folder of one bin size decides."""
    here = data.root.resolve()
    fitting = [place for place in places if place.bin in (0, data.bin) or place.counts == here]
    if not fitting:
        sizes = ", ".join(str(size) for size in sorted(place.bin for place in places))
        raise DataError(f"section {name}: has no bins of {data.bin} um; found {sizes} um: set data.bin to one of them")
    if len(fitting) > 1:
        one, two = fitting[0].counts, fitting[1].counts
        raise DataError(f"{data.root}: section {name!r} is found in {one} and in {two}; rename one, or point data.root at one")
    return fitting[0]


def _read_one(name: str, place: Place, scale_name: str, picture: Path, data: DataConfig) -> Section:
    path, where = place.find((FACTORS,)), place.find(POSITIONS)
    if path is None or where is None:
        names = " or ".join(f"{place.prefix}{name}" for name in POSITIONS)
        raise DataError(f"{place.spatial[0]}: has no positions; expected {names}")
    factors = _read_factors(path)
    said = factors.get("bin_size_um", place.bin)
    if place.bin and said != place.bin:
        raise DataError(f"{path}: says its bins are {said!r} um wide, but its folder is called {place.counts.name}")
    table = read_positions(where)
    scale = 1.0 if scale_name == "full" else _factor(factors, f"tissue_{scale_name}_scalef", path)
    pitch = float(place.bin or PITCH)
    if data.mpp is not None:
        mpp, source = data.mpp, "data.mpp"
    elif "microns_per_pixel" in factors:
        mpp, source = _factor(factors, "microns_per_pixel", path) / scale, path.name
    else:
        mpp, source = full_mpp(name, table, pitch) / scale, f"the pitch of {pitch:g} um"
    log.info(
        "section %s: %s, tiles from %s (%s), %.4g microns per pixel (from %s)",
        name, f"bins of {place.bin} um" if place.bin else "spots", picture.name, scale_name, mpp, source,
    )  # fmt: skip
    counts, xy = joined(name, _counts(place), under_tissue(table, where) * scale)
    return Section(
        name=name,
        patient=data.patients.get(name, name),
        species=data.species,
        slide=open_slide(picture, data.pixel_limit),
        counts=counts,
        xy=xy,
        mpp=mpp,
    )


def _read_factors(path: Path) -> dict[str, Any]:
    what = "Space Ranger's scale factors"
    if path.suffix != ".gz":
        return read_json(path, what)
    try:
        tree = json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise DataError(f"{path}: is damaged ({str(error).splitlines()[0]}); expected {what}") from None
    if not isinstance(tree, dict):
        raise DataError(f"{path}: holds a {type(tree).__name__}; expected {what}")
    return tree


def _factor(factors: dict[str, Any], key: str, path: Path) -> float:
    value = factors.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise DataError(f"{path}: {key} is {value!r}; expected a number above 0")
    return float(value)


def _picture(name: str, place: Place, data: DataConfig) -> tuple[str, Path]:
    if data.image is not None:
        paths = [folder / str(data.image).replace("{name}", name) for folder in place.seen_from]
        return data.image_scale, next((path for path in paths if path.exists()), paths[0])
    for scale, file in PICTURES:
        if path := place.find((file,), ("",)):
            return scale, path
    if packed := place.find(tuple(file for _, file in PICTURES), (".gz",)):
        raise DataError(f"{packed}: is packed, and pictures are read unpacked: run gunzip on it")
    raise DataError(f"{place.spatial[0]}: has no tissue_hires_image or tissue_lowres_image; name the picture with data.image")


def _counts(place: Place) -> Measured:
    folder, start = place.counts, glob.escape(place.prefix)
    packed = sorted(folder.glob(f"{start}*filtered_feature_bc_matrix.h5"))
    if len(packed) > 1:
        raise DataError(f"{folder}: has several count files, {packed[0].name} and {packed[1].name}; keep one")
    if packed:
        return read_h5(packed[0])
    plain = sorted(path for end in FOLDERS for path in folder.glob(f"{start}*{end}") if path.is_dir())
    if len(plain) > 1:
        raise DataError(f"{folder}: has several folders of counts, {plain[0].name} and {plain[1].name}; keep one")
    if plain:
        return _mtx(plain[0], "")
    if place.prefix and any(folder.glob(f"{start}*matrix.mtx*")):
        return _mtx(folder, start)
    if other := sorted(folder.glob(f"{start}*filtered_feature_bc_matrix.h5.gz")):
        raise DataError(f"{other[0]}: is packed, and h5 files are read unpacked: run gunzip on it")
    if other := sorted(folder.glob(f"{start}*filtered_gene_bc_matrices*.h5")):
        return read_h5(other[0])
    if raw := sorted(folder.glob(f"{start}*raw_feature_bc_matrix*")):
        wanted = raw[0].name.replace("raw_", "filtered_")
        raise DataError(f"{raw[0]}: holds the whole array, tissue or not; expected {wanted}, which lies beside it in outs")
    raise DataError(f"{folder}: has no counts; expected *filtered_feature_bc_matrix.h5 or that folder")


def _mtx(folder: Path, start: str) -> Measured:
    names = (("matrix.mtx",), ("features.tsv", "genes.tsv"), ("barcodes.tsv",))
    patterns = [tuple(f"{start}*{name}{end}" for name in some for end in ("", ".gz")) for some in names]
    matrix, features, barcodes = (only(folder, some, some[0].strip("*")) for some in patterns)
    return read_mtx(matrix, features, barcodes)
