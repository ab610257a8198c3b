"""Xenium, as its instrument or Xenium Ranger writes a region, with the H&E picture of the same slide, each cell a spot.

A section is the folder of an `experiment.xenium`, with `cells.parquet` (or `cells.csv.gz`; centroids in microns),
`cell_feature_matrix.h5` (or that folder), and in it or beside it `*_he_image.ome.tif` with `*_he_imagealignment.csv`: the
3 x 3 matrix that takes pixels of the H&E picture to pixels of Xenium's own, which are `pixel_size` microns wide.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from jaxtyping import Float64

from bleep.config import DataConfig
from bleep.data.readers import chosen_names
from bleep.data.readers.place import Place, check_own_pictures, read_folder_of_mtx
from bleep.data.readers.readable import DAMAGES
from bleep.data.readers.spaceranger import read_h5
from bleep.data.readers.tables import Measured, joined, note_mpp, nothing, read_table, without_controls
from bleep.data.section import Section
from bleep.data.slides import open_slide
from bleep.errors import DataError
from bleep.files import check_file, read_json
from bleep.find import find, visible
from bleep.outputs import check_parquet

MARK, COUNTS = "experiment.xenium", "cell_feature_matrix"
CELLS = ("cells.parquet", "cells.csv.gz", "cells.csv")
COLUMNS = ("cell_id", "x_centroid", "y_centroid")
STAINED = ("he_image", "he_unaligned_image")
"""Ends of the names of H&E pictures, before `.ome.tif`."""
PICTURES = tuple(f"*{stained}.{end}" for stained in STAINED for end in ("ome.tif", "ome.tiff", "tif", "tiff", "btf"))
KEYPOINTS = "fixedX"
"""First column of the other file that Xenium Explorer exports of an alignment."""
SKEWED = 1.02
"""Pixels may be longer than wide by this factor before it is worth a word."""
ORGANISMS = {"human": "human", "mouse": "mouse", "homo sapiens": "human", "mus musculus": "mouse"}
Affine = Float64[np.ndarray, "3 3"]

log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, slots=True)
class _Region:
    """Where the files of a region lie."""

    folder: Path
    prefix: str
    """What stands before their names."""
    above: Path
    """Folder above, where the H&E picture may lie beside the region's folder."""
    alone: bool
    """Whether a picture in the folder above can be of no other region."""

    def file(self, *names: str) -> Path | None:
        """Return the first of these files that is there."""
        return next((path for name in names if (path := self.folder / f"{self.prefix}{name}").is_file()), None)


def read(data: DataConfig) -> tuple[Section, ...]:
    """Read the sections; the picture, its scale, and what is left out are said aloud."""
    regions = _regions(data.root.resolve())
    chosen = {name: regions[name] for name in chosen_names(list(regions), data)}
    pictures = {name: _picture(name, region, data) for name, region in chosen.items()}
    check_own_pictures(pictures.items(), data.image)
    return tuple(_read_one(name, region, pictures[name], data) for name, region in chosen.items())


def _regions(root: Path) -> dict[str, _Region]:
    paths = [path for path in find(root, f"*{MARK}") if path.is_file()]
    found: dict[str, _Region] = {}
    for path in paths:
        folder, prefix = path.parent, path.name.removesuffix(MARK)
        name = prefix.strip("_.- ") or _name(folder)
        if name in found:
            raise DataError(f"{root}: section {name!r} is found in {found[name].folder} and in {folder}; rename one")
        above = folder.parent
        beside = sum(above in (other.parent, other.parent.parent) for other in paths)
        inside = root in (above, *above.parents) or folder.name == "outs"
        found[name] = _Region(folder, prefix, above, beside == 1 and inside)
    return found


def _name(folder: Path) -> str:
    """Return the name of the region: that of the lowest folder not called outs; the ending `_outs` is left out."""
    named = [part for part in folder.parts if part != "outs"][-1]
    return named.removesuffix("_outs") or named


def _picture(name: str, region: _Region, data: DataConfig) -> Path:
    """Return the picture that `data.image` names, else the H&E picture in the folder, else the region's own beside it."""
    places = (region.folder, region.above)
    if data.image is not None:
        paths = [folder / str(data.image).replace("{name}", name) for folder in places]
        return next((path for path in paths if path.exists()), paths[0])
    found = _stained(region.folder, region.prefix)
    if not found:
        # A folder of several regions holds the picture of each, called by its name.
        found = _stained(region.above, name) or (_stained(region.above) if region.alone else [])
    if not found:
        raise DataError(
            f"{region.folder}: has no H&E picture, neither in it nor beside it; expected {name}_he_image.ome.tif, or name it "
            "with data.image (the morphology pictures are fluorescence)"
        )
    if len(found) > 1:
        raise DataError(
            f"{region.folder}: has several H&E pictures, {found[0].name} and {found[1].name}; name one with data.image"
        )
    return found[0]


def _stained(folder: Path, start: str = "") -> list[Path]:
    """Return the H&E pictures of a folder; with a start, those called by it and nothing else."""
    paths = sorted(path for pattern in PICTURES for path in visible(folder, pattern) if path.is_file())
    wanted = {f"{start}{between}{stained}" for between in ("", "_", ".", "-") for stained in STAINED}
    return [path for path in dict.fromkeys(paths) if not start or _stem(path) in wanted]


def _stem(path: Path) -> str:
    return path.stem.removesuffix(".ome")


def _read_one(name: str, region: _Region, picture: Path, data: DataConfig) -> Section:
    path = region.folder / f"{region.prefix}{MARK}"
    facts = read_json(path, "Xenium's facts on the experiment")
    matrix_path = _alignment(name, picture, region, data)
    matrix, slide = _read_matrix(matrix_path), open_slide(picture, data.pixel_limit)
    pixel = _pixel_size(facts, path)
    stated = pixel * float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    mpp = data.mpp or stated
    cells = _read_cells(region)
    log.info(
        "section %s: %d cells, tiles from %s, %d x %d pixels of %.4g microns (from %s)",
        name, len(cells), picture.name, *slide.size, mpp, "data.mpp" if data.mpp is not None else matrix_path.name,
    )  # fmt: skip
    places = cells.to_numpy(np.float64) / pixel
    back = np.linalg.inv(matrix)
    placed = pd.DataFrame(places @ back[:2, :2].T + back[:2, 2], columns=["x", "y"], index=cells.index)
    measured = _counts(region)
    if measured is None:
        why = f"{region.folder}: has no counts; expected {region.prefix}{COUNTS}.h5 or that folder"
        log.warning("section %s: can only be queried (%s)", name, why)
        measured = nothing(cells.index, why)
    counts, xy = joined(name, without_controls(name, measured), placed, slide.size)
    note_mpp(counts, stated)
    return Section(
        name=name,
        patient=data.patients.get(name, name),
        species=_species(name, facts, data),
        slide=slide,
        counts=counts,
        xy=xy,
        mpp=mpp,
    )


def _alignment(name: str, picture: Path, region: _Region, data: DataConfig) -> Path:
    """Return the file of the matrix: the one named, else the one called like the picture, else the only one beside it."""
    if data.alignment is not None:
        folders = (region.folder, region.above)
        paths = [folder / str(data.alignment).replace("{name}", name) for folder in folders]
        return next((path for path in paths if path.exists()), paths[0])
    stem = _stem(picture)
    stems = dict.fromkeys((stem, stem.replace("he_unaligned_image", "he_image")))
    named = [picture.with_name(f"{one}{end}") for one in stems for end in ("alignment.csv", "_alignment.csv")]
    wanted = next((path for path in named if path.is_file()), None)
    if wanted is not None:
        return wanted
    if len([path for pattern in PICTURES for path in visible(picture.parent, pattern)]) <= 1:
        others = [*visible(picture.parent, "*imagealignment.csv"), *visible(picture.parent, "matrix.csv")]
        if len(others) == 1:
            return others[0]
    raise DataError(
        f"{picture}: nothing says how it lies on Xenium's pixels; expected {named[0].name} beside it (Xenium Explorer exports "
        "it as matrix.csv), or name the file with data.alignment"
    )


def _read_matrix(path: Path) -> Affine:
    what = "three lines of three numbers, the matrix from the picture's pixels to Xenium's"
    try:
        check_file(path)
        text = path.read_text(encoding="utf-8-sig")
        if text.lstrip('"').startswith(KEYPOINTS):
            raise DataError(f"{path}: holds the keypoints of an alignment; expected {what}: export that, as matrix.csv")
        rows = [[float(cell) for cell in line.split(",")] for line in text.splitlines() if line.strip()]
        matrix = np.array(rows, dtype=np.float64)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected {what}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: is no matrix ({str(error).splitlines()[0][:200]}); expected {what}") from None
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or not np.allclose(matrix[2], (0, 0, 1)):
        raise DataError(
            f"{path}: holds {' x '.join(map(str, matrix.shape))} values, or a last line other than 0,0,1; expected {what}"
        )
    longer, shorter = np.linalg.svd(matrix[:2, :2], compute_uv=False)
    if shorter < 1e-6 * longer or longer == 0:
        raise DataError(f"{path}: its matrix has no inverse; expected {what}")
    if longer > SKEWED * shorter:
        log.warning(
            "%s: makes pixels %.3g times as long as they are wide; their mean is taken for the scale",
            path.name,
            longer / shorter,
        )
    return matrix


def _pixel_size(facts: Mapping[str, Any], path: Path) -> float:
    value = facts.get("pixel_size")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 100:
        raise DataError(f"{path}: pixel_size is {value!r}; expected the microns per pixel of Xenium's own pictures, 0.2125")
    return float(value)


def _read_cells(region: _Region) -> pd.DataFrame:
    """Return x and y of the centroid of each cell, in microns, indexed by its id."""
    path = region.file(*CELLS)
    if path is None:
        raise DataError(f"{region.folder}: has no {region.prefix}{CELLS[0]} or {CELLS[1]}; expected where the cells lie")
    table = _read_parquet(path) if path.suffix == ".parquet" else read_table(path, ",", COLUMNS, dtype={"cell_id": str})
    xy = table[list(COLUMNS[1:])].set_axis(["x", "y"], axis=1).set_axis(pd.Index(table["cell_id"].astype(str)))
    if not all(pd.api.types.is_numeric_dtype(kind) for kind in xy.dtypes):
        raise DataError(f"{path}: the columns x_centroid and y_centroid do not hold numbers alone; expected microns")
    finite = np.isfinite(xy.to_numpy(np.float64)).all(axis=1)
    if not finite.all():
        raise DataError(
            f"{path}: cell {xy.index[int(np.argmin(finite))]!r} has no finite number for its place; expected microns"
        )
    return xy.astype(np.float64)


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow
    from pyarrow import compute, parquet

    try:
        check_parquet(path)
        names = parquet.read_schema(path).names
        missing = next((column for column in COLUMNS if names.count(column) != 1), None)
        if missing is None:
            table = parquet.read_table(path, columns=list(COLUMNS))
            # Ids are text, bytes or, before version 1.3 of the software, numbers.
            ids = compute.cast(table["cell_id"], "string")
            if ids.null_count:
                raise ValueError("a cell has no id")
            return pd.DataFrame({"cell_id": ids.to_pylist(), **{name: table[name].to_numpy() for name in COLUMNS[1:]}})
    except (pyarrow.ArrowException, ValueError, TypeError, OverflowError, *DAMAGES) as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise DataError(f"{path}: cannot be read as a table ({reason}); is the file whole?") from None
    raise DataError(f"{path}: has no column {missing!r}, or it twice; expected {', '.join(COLUMNS)}")


def _counts(region: _Region) -> Measured | None:
    """Read the counts; none: there are none, and the section can only be queried."""
    path = region.file(f"{COUNTS}.h5")
    if path is not None:
        return read_h5(path)
    folder = region.folder / f"{region.prefix}{COUNTS}"
    return read_folder_of_mtx(Place(folder, (), ())) if folder.is_dir() else None


def _species(name: str, facts: Mapping[str, Any], data: DataConfig) -> str:
    """Return the species of the panel, where it is known; else what `data.species` says."""
    stated = facts.get("panel_organism")
    known = ORGANISMS.get(stated.strip().lower(), "") if isinstance(stated, str) else ""
    if known and data.species not in ("unknown", known):
        raise DataError(
            f"section {name}: its panel is for {stated}, but data.species is {data.species}; choose others by data.sections"
        )
    return known or data.species
