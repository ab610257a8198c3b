"""10x Visium, as Space Ranger writes it: versions 1, 2 and later, and one bin size of HD.

A section is a folder with `spatial/` (scalefactors_json.json, and tissue_positions.parquet, tissue_positions.csv or the
older tissue_positions_list.csv without a header) and the counts: `*filtered_feature_bc_matrix.h5` or the folder
`filtered_feature_bc_matrix/`. Its name is the folder's, or for a folder called `outs` that of the folder above.
"""

import logging
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
from scipy import io, sparse
from scipy.spatial import cKDTree

from bleep.errors import DataError
from bleep.files import read_json
from bleep.settings import DataConfig
from bleep.tissue.section import Section
from bleep.tissue.slides import PictureSlide
from bleep.tissue.sources import chosen_names
from bleep.tissue.sources.tables import Measured, joined, only, read_headless, read_table

PITCH = 100.0
"""Microns from a spot to its nearest neighbour on a Visium slide."""
COLUMNS = ("barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres")
PICTURES = (
    ("hires", "tissue_hires_image.png"),
    ("hires", "tissue_hires_image.jpg"),
    ("lowres", "tissue_lowres_image.png"),
    ("lowres", "tissue_lowres_image.jpg"),
)
"""Pictures taken when none is named, best first, with the scale each is at."""

log = logging.getLogger(__name__)


def read(data: DataConfig) -> tuple[Section, ...]:
    """Read the sections; which picture is used, and the microns per pixel that follow, are said aloud."""
    folders = {_name(path.parents[1]): path.parents[1] for path in data.root.rglob("spatial/scalefactors_json.json")}
    return tuple(_read_one(name, folders[name], data) for name in chosen_names(list(folders), data))


def _name(folder: Path) -> str:
    folder = folder.resolve()
    return folder.parent.name if folder.name == "outs" else folder.name


def _read_one(name: str, folder: Path, data: DataConfig) -> Section:
    factors = read_json(folder / "spatial" / "scalefactors_json.json", "Space Ranger's scale factors")
    table = _positions(folder / "spatial")
    scale_name, picture = _picture(folder, data)
    scale = 1.0 if scale_name == "full" else _factor(factors, f"tissue_{scale_name}_scalef", folder)
    full_mpp = float(factors["microns_per_pixel"]) if "microns_per_pixel" in factors else _full_mpp(name, table)
    mpp = data.mpp or full_mpp / scale
    log.info("section %s: tiles from %s (%s), %.3f microns per pixel", name, picture.name, scale_name, mpp)
    places = table[table["in_tissue"] == 1]
    if places.empty:
        raise DataError(f"{folder}: no spot has in_tissue = 1; expected that for the spots under tissue")
    positions = pd.DataFrame(
        {
            "x": places["pxl_col_in_fullres"].to_numpy(np.float64) * scale,
            "y": places["pxl_row_in_fullres"].to_numpy(np.float64) * scale,
        },
        index=pd.Index(places["barcode"].astype(str)),
    )
    counts, xy = joined(name, _counts(folder), positions)
    return Section(
        name=name,
        patient=data.patients.get(name, name),
        species=data.species,
        slide=PictureSlide.open(picture),
        counts=counts,
        xy=xy,
        mpp=mpp,
    )


def _positions(spatial: Path) -> pd.DataFrame:
    """Read where the spots lie; Space Ranger 1 wrote no header."""
    if (path := spatial / "tissue_positions.parquet").exists():
        try:
            table = pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as a table ({str(error).splitlines()[0]}); is the file whole?") from None
    elif (path := spatial / "tissue_positions.csv").exists():
        table = read_table(path, ",", COLUMNS)
    elif (path := spatial / "tissue_positions_list.csv").exists():
        table = read_headless(path, ",", COLUMNS)
    else:
        raise DataError(f"{spatial}: has no positions; expected tissue_positions.parquet, .csv or tissue_positions_list.csv")
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise DataError(f"{path}: has no column {missing[0]!r}; expected {', '.join(COLUMNS)}")
    for column in COLUMNS[1:]:
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise DataError(f"{path}: column {column!r} does not hold numbers alone; is a header where none is expected?")
    return table


def _full_mpp(name: str, table: pd.DataFrame) -> float:
    places = table[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(np.float64)
    if len(places) < 2 or not np.isfinite(places).all():
        raise DataError(f"section {name}: its positions do not give the scale; set data.mpp, the microns per pixel")
    return PITCH / float(np.median(cKDTree(places).query(places, k=2)[0][:, 1]))


def _picture(folder: Path, data: DataConfig) -> tuple[str, Path]:
    if data.image is not None:
        return data.image_scale, folder / data.image
    for scale, file in PICTURES:
        if (folder / "spatial" / file).exists():
            return scale, folder / "spatial" / file
    raise DataError(f"{folder / 'spatial'}: has no tissue_hires_image or tissue_lowres_image; name the picture with data.image")


def _factor(factors: dict[str, float], key: str, folder: Path) -> float:
    value = factors.get(key)
    if not isinstance(value, int | float) or not 0 < value <= 1:
        raise DataError(f"{folder / 'spatial/scalefactors_json.json'}: {key} is {value!r}; expected a number from 0 to 1")
    return float(value)


def _counts(folder: Path) -> Measured:
    packed = sorted(folder.glob("*filtered_feature_bc_matrix.h5"))
    if len(packed) > 1:
        raise DataError(f"{folder}: has several count files, {packed[0].name} and {packed[1].name}; keep one")
    if packed:
        return _from_h5(packed[0])
    plain = sorted(path for path in folder.glob("*filtered_feature_bc_matrix") if path.is_dir())
    if len(plain) != 1:
        raise DataError(f"{folder}: has no counts; expected *filtered_feature_bc_matrix.h5 or that folder")
    return _from_mtx(plain[0])


def _from_h5(path: Path) -> Measured:
    try:
        with h5py.File(path) as file:
            part = file["matrix"]
            shape = tuple(part["shape"][:])
            parts = (part["data"][:].astype(np.float32), part["indices"][:], part["indptr"][:])
            table = sparse.csc_matrix(parts, shape=shape)
            barcodes, ids = part["barcodes"].asstr()[:], part["features/id"].asstr()[:]
            symbols, kinds = part["features/name"].asstr()[:], part["features/feature_type"].asstr()[:]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: is no count file of Space Ranger, or is cut short ({str(error).splitlines()[0]})") from None
    return _measured(barcodes, ids, symbols, kinds, sparse.csr_matrix(table.T))


def _from_mtx(folder: Path) -> Measured:
    matrix, features, barcodes = (only(folder, (f"{name}", f"{name}.gz"), name) for name in
                                  ("matrix.mtx", "features.tsv", "barcodes.tsv"))  # fmt: skip
    try:
        table = sparse.csr_matrix(io.mmread(matrix).T, dtype=np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{matrix}: cannot be read as a matrix ({str(error).splitlines()[0]}); is the file whole?") from None
    genes = read_headless(features, "\t", ("id", "name"), dtype=str)
    spots = read_headless(barcodes, "\t", ("barcode",), dtype=str)["barcode"].to_numpy()
    if table.shape != (len(spots), len(genes)):
        raise DataError(
            f"{matrix}: holds {table.shape[1]} genes x {table.shape[0]} spots, but {features.name} has {len(genes)} lines and "
            f"{barcodes.name} {len(spots)}; they are of different runs"
        )
    return _measured(spots, genes["id"].to_numpy(), genes["name"].to_numpy(), _kinds(features, len(genes)), table)


def _kinds(features: Path, count: int) -> np.ndarray:
    """Return what each feature is; where a third column does not say, all are genes."""
    try:
        return read_headless(features, "\t", ("id", "name", "kind"), dtype=str)["kind"].to_numpy()
    except DataError:
        return np.full(count, "Gene Expression")


def _measured(
    barcodes: np.ndarray, ids: np.ndarray, symbols: np.ndarray, kinds: np.ndarray, table: sparse.csr_matrix
) -> Measured:
    """Keep genes alone; a symbol that stands twice gets a number, the ids are kept beside."""
    keep = np.flatnonzero(kinds == "Gene Expression")
    index = anndata.utils.make_index_unique(pd.Index(symbols[keep].astype(str)))
    genes = pd.DataFrame({"symbol": symbols[keep].astype(str), "gene_id": ids[keep].astype(str)}, index=index)
    return Measured(pd.Index(barcodes.astype(str)), genes, table[:, keep])
