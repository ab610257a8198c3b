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

import pandas as pd

from bleep.config import DataConfig
from bleep.data.readers import chosen_names
from bleep.data.readers.agreement import Known, check_picture
from bleep.data.readers.lattice import PITCH
from bleep.data.readers.spaceranger import array_of, full_mpp, mpp_of, read_h5, read_mtx, read_positions, under_tissue
from bleep.data.readers.tables import Measured, joined, nothing
from bleep.data.section import Section
from bleep.data.slides import open_slide
from bleep.errors import DataError
from bleep.files import read_json
from bleep.find import find, visible
from bleep.guards import check_gzip

FACTORS = "scalefactors_json.json"
FIDUCIALS = "fiducial_diameter_fullres"
POSITIONS = (
    "tissue_positions.parquet",
    "tissue_positions.csv",
    "tissue_positions_list.csv",
    "tissue_positions_list.txt",
)
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
ENDED = re.compile(r"(.+)[_.-]spatial")
"""Folder of the positions of the section it names."""

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
    paths = [path for path in find(root, f"*{FACTORS}", f"*{FACTORS}.gz") if path.is_file()]
    heads = sorted({(path.parent, path.name.removesuffix(".gz").removesuffix(FACTORS)) for path in paths})
    found: dict[str, list[Place]] = defaultdict(list)
    for folder, prefix in heads:
        above = folder.parent
        match = SQUARE.fullmatch(above.name)
        if prefix:
            longer = tuple(other for at, other in heads if at == folder and other != prefix and other.startswith(prefix))
            counts = above if folder.name == "spatial" and not visible(folder, f"{glob.escape(prefix)}*matri*") else folder
            found[prefix.strip("_.- ") or prefix].append(Place(counts, (folder,), (counts,), prefix, prefix, longer))
        elif folder.name != "spatial":
            found[_unpacked(folder)].append(_loose(folder, heads))
        elif match:
            outs = above.parents[1] if above.parent.name == "binned_outputs" else above.parent
            seen_from = (above, outs, *([outs.parent] if outs.name == "outs" else []))
            found[_name(above)].append(Place(above, (folder, outs / "spatial"), seen_from, bin=int(match[1])))
        # Beside the bins lie outlines of cells, and pictures that the bins share: neither is a section.
        elif above.name != "segmented_outputs" and not (above / "binned_outputs").is_dir():
            seen_from = (above, *([above.parent] if above.name == "outs" else []))
            found[_name(above)].append(Place(above, (folder,), seen_from))
    return found


def _unpacked(folder: Path) -> str:
    """Return the name of a section whose positions lie in a folder that is not called spatial: NAME_spatial, or NAME."""
    ended = ENDED.fullmatch(folder.name)
    return ended[1] if ended else folder.name


def _loose(folder: Path, heads: list[tuple[Path, str]]) -> Place:
    """Return the place of such a folder: the counts of NAME_spatial lie beside it, all other counts in it."""
    ended = ENDED.fullmatch(folder.name)
    if ended is None:
        return Place(folder, (folder,), (folder,))
    above = folder.parent
    siblings = [name[1] for at, _ in heads if at.parent == above and at != folder and (name := ENDED.fullmatch(at.name))]
    longer = tuple(name for name in siblings if name.startswith(ended[1]))
    # A lone section may have counts without its name before them.
    start = ended[1] if siblings or visible(above, f"{glob.escape(ended[1])}*matri*") else ""
    return Place(above, (folder,), (above, folder), start=start, longer=longer)


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
    table, slide = read_positions(where), open_slide(picture, data.pixel_limit)
    scale = _scale(scale_name, factors, path)
    for other, file in PICTURES:
        known = place.find((file,), ("",))
        if known is not None and known != picture and f"tissue_{other}_scalef" in factors:
            stated = Known(known.name, _scale(other, factors, path), open_slide(known, data.pixel_limit))
            check_picture(name, picture.name, slide, scale, stated)
            break
    mpp, source = _mpp(name, place, table, factors, path, data)
    log.info(
        "section %s: %s, tiles from %s (%s), %.4g microns per pixel (from %s)",
        name, f"bins of {place.bin} um" if place.bin else "spots", picture.name, scale_name,
        mpp if data.mpp is not None else mpp / scale, source,
    )  # fmt: skip
    places, measured = under_tissue(table, where) * scale, _counts(place)
    if measured is None:
        why = f"{place.counts}: has no counts; expected *filtered_feature_bc_matrix.h5 or that folder"
        log.warning("section %s: can only be queried (%s)", name, why)
        measured = nothing(places.index, why)
    counts, xy = joined(name, measured, places, slide.size)
    found = array_of(table)
    counts.uns["bleep"]["pitch"] = found.pitch * scale if found is not None else None
    return Section(
        name=name,
        patient=data.patients.get(name, name),
        species=data.species,
        slide=slide,
        counts=counts,
        xy=xy,
        mpp=mpp if data.mpp is not None else mpp / scale,
    )


def _mpp(
    name: str, place: Place, table: pd.DataFrame, factors: dict[str, Any], path: Path, data: DataConfig
) -> tuple[float, str]:
    """Return `data.mpp`, else the microns per pixel of the full-resolution picture; and who says so."""
    if data.mpp is not None:
        return data.mpp, "data.mpp"
    if "microns_per_pixel" in factors:
        return _factor(factors, "microns_per_pixel", path), path.name
    if place.bin:
        return mpp_of(name, table, float(place.bin)), f"the pitch of {place.bin} um"
    fiducial = _factor(factors, FIDUCIALS, path) if FIDUCIALS in factors else None
    told = "the fiducials" if fiducial is not None and array_of(table) is None else f"the pitch of {PITCH:g} um"
    return full_mpp(name, table, fiducial), told


def _scale(name: str, factors: dict[str, Any], path: Path) -> float:
    return 1.0 if name == "full" else _factor(factors, f"tissue_{name}_scalef", path)


def _read_factors(path: Path) -> dict[str, Any]:
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


def _counts(place: Place) -> Measured | None:
    """Read the counts; none: there are none, and the section can only be queried."""
    folder = place.counts
    packed = place.counted("filtered_feature_bc_matrix.h5")
    if len(packed) > 1:
        raise DataError(f"{folder}: has several count files, {packed[0].name} and {packed[1].name}; keep one")
    if packed:
        return read_h5(packed[0])
    plain = [path for path in place.counted(*FOLDERS) if path.is_dir()]
    if len(plain) > 1:
        raise DataError(f"{folder}: has several folders of counts, {plain[0].name} and {plain[1].name}; keep one")
    if plain:
        # The older folder holds another one for the genome.
        holding = {path.parent for path in find(plain[0], "*matrix.mtx", "*matrix.mtx.gz")}
        return _mtx(Place(holding.pop() if len(holding) == 1 else plain[0], (), ()))
    if place.counted("matrix.mtx", "matrix.mtx.gz"):
        return _mtx(place)
    if other := place.counted("filtered_feature_bc_matrix.h5.gz"):
        raise DataError(f"{other[0]}: is packed, and h5 files are read unpacked: run gunzip on it")
    if other := place.counted("filtered_gene_bc_matrices*.h5"):
        return read_h5(other[0])
    if raw := place.counted("raw_feature_bc_matrix*"):
        wanted = raw[0].name.replace("raw_", "filtered_")
        raise DataError(f"{raw[0]}: holds the whole array, tissue or not; expected {wanted}, which lies beside it in outs")
    return None


def _mtx(place: Place) -> Measured:
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
