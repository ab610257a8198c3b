"""The parts of Space Ranger's output that several forms share: counts as h5 or MTX, positions, and the scale they give."""

import contextlib
import csv
import gzip
import logging
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from bleep.data.readers.lattice import Lattice, lattice, nearest, settled, visium_mpp
from bleep.data.readers.tables import Measured, read_headless, read_table
from bleep.errors import DataError
from bleep.outputs import check_h5, check_parquet

COLUMNS = ("barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres")
"""Columns of the positions; rows of pixels run downwards and are y, columns are x."""
PIXELS = ["pxl_col_in_fullres", "pxl_row_in_fullres"]
"""The columns that are x and y, in pixels of the full-resolution picture."""
DAMAGES = (
    *(OSError, EOFError, zlib.error, LookupError, ValueError, TypeError, AttributeError, ArithmeticError),
    *(RuntimeError, MemoryError, pd.errors.ParserWarning),
)
"""What h5py, gzip and pandas raise at a damaged file of counts."""
STATED = "microns_per_pixel"
"""Key of the scale factors under which newer versions state the scale of the full-resolution picture."""
GENES = "Gene Expression"
"""Kind of the features that are genes; others are antibodies, CRISPR guides, negative controls and the like."""

log = logging.getLogger(__name__)


def read_positions(path: Path) -> pd.DataFrame:
    """Read where the spots lie, as `COLUMNS`; of a parquet, the spots under tissue alone, as it may list millions.

    Raises:
        DataError: the file is damaged, a column is missing, a place is not a number, or in_tissue is neither 0 nor 1.

    """
    if path.suffix == ".parquet":
        table = _read_parquet(path)
    elif not _has_header(path):
        table = read_headless(path, ",", COLUMNS, dtype={0: str})
    else:
        table = read_table(path, ",", COLUMNS, dtype={"barcode": str})[list(COLUMNS)]
    if table["barcode"].isna().any():
        raise DataError(f"{path}: row {int(np.argmax(table['barcode'].isna())) + 1} has no barcode; expected one on every row")
    for column in COLUMNS[1:]:
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise DataError(f"{path}: column {column!r} does not hold numbers alone; expected numbers")
        # Spots beside the tissue are not read, so they need no place.
        used = table["in_tissue"] != 0
        places = table.loc[used, column].to_numpy(np.float64)
        if not np.isfinite(places).all():
            barcode = table.loc[used, "barcode"].iloc[int(np.argmin(np.isfinite(places)))]
            raise DataError(f"{path}: column {column!r} holds no finite number for barcode {barcode!r}; expected a place")
    odd = table["in_tissue"][~table["in_tissue"].isin((0, 1))]
    if len(odd):
        raise DataError(f"{path}: column 'in_tissue' holds {odd.iloc[0]}; expected 0 or 1, as Space Ranger writes it")
    return table


def _has_header(path: Path) -> bool:
    """Return whether the first line names columns; the files' names do not tell, as tools rename them."""
    opened = gzip.open if path.suffix == ".gz" else open
    with _damage(path, "cannot be read as a table"), opened(path, "rt", encoding="utf-8-sig") as file:
        cells = next(csv.reader(file, skipinitialspace=True), [])
    return any(cell.strip() in COLUMNS for cell in cells)


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow
    from pyarrow import compute, parquet

    try:
        check_parquet(path)
        names = parquet.read_schema(path).names
        if all(names.count(column) == 1 for column in COLUMNS):
            table = parquet.read_table(path, columns=list(COLUMNS))
            table = table.filter(compute.equal(compute.cast(table["in_tissue"], "int64"), 1))
            table = table.append_column("text", compute.cast(table["barcode"], "string")).drop_columns(["barcode"])
            return table.to_pandas(ignore_metadata=True).rename(columns={"text": "barcode"})
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected a table there") from None
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise DataError(f"{path}: cannot be read as a table ({reason}); is the file whole?") from None
    missing = next(column for column in COLUMNS if names.count(column) != 1)
    raise DataError(f"{path}: has no column {missing!r}, or it twice; expected {', '.join(COLUMNS)}")


def under_tissue(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return x and y, in pixels of the full-resolution picture, of the spots under tissue, indexed by barcode.

    Raises:
        DataError: there is none.

    """
    table = table[table["in_tissue"] == 1]
    if table.empty:
        raise DataError(f"{path}: no spot has in_tissue = 1; expected that for the spots under tissue")
    index = pd.Index(table["barcode"].astype(str))
    return table[PIXELS].astype(np.float64).set_axis(["x", "y"], axis=1).set_axis(index)


def array_of(table: pd.DataFrame) -> Lattice | None:
    """Return how the array lies in the full-resolution picture, from rows and columns of all spots listed."""
    return lattice(table[["array_col", "array_row"]].to_numpy(np.float64), table[PIXELS].to_numpy(np.float64))


def full_mpp(name: str, table: pd.DataFrame, fiducial: float | None = None) -> float:
    """Return the microns per pixel of the full-resolution picture of a Visium slide: see `visium_mpp`.

    Raises:
        DataError: the spots do not say it, or the fiducials' diameter in pixels contradicts them.

    """
    return visium_mpp(name, array_of(table), table[PIXELS].to_numpy(np.float64), fiducial)


def mpp_of(name: str, table: pd.DataFrame, microns: float) -> float:
    """Return the microns per pixel of the full-resolution picture, from an array of a known pitch in microns.

    Raises:
        DataError: their places do not say it.

    """
    xy, found = table[PIXELS].to_numpy(np.float64), array_of(table)
    pitch = settled(found.pitch, xy) if found is not None else nearest(xy)
    if not pitch:
        raise DataError(f"section {name}: its positions do not give the scale; set data.mpp, the microns per pixel")
    return microns / pitch


def read_h5(path: Path) -> Measured:
    """Read counts from Space Ranger's h5, as sparse as they are stored.

    Raises:
        DataError: the file is damaged, of another program, or holds no genes.

    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected Space Ranger's counts there")
    with _damage(path, "is no count file of Space Ranger, or is cut short"):
        check_h5(path)
    with _damage(path, "is no count file of Space Ranger, or is cut short"), h5py.File(path) as file:
        if "matrix" not in file and any("gene_names" in part for part in file.values() if isinstance(part, h5py.Group)):
            raise DataError(
                f"{path}: is in the layout of Cell Ranger 2, one group a genome; expected a group called matrix, as "
                "Space Ranger writes it: read the folder with matrix.mtx instead"
            )
        part = file["matrix"]
        # Stored by columns, genes x spots; read as rows, the same numbers are spots x genes: nothing is turned or copied.
        genes, spots = (int(size) for size in part["shape"][:])
        stored = (part["data"].astype(np.float32)[:], part["indices"].astype(np.int32)[:], part["indptr"][:])
        table = sparse.csr_matrix(stored, shape=(spots, genes))
        table.check_format(full_check=True)
        barcodes, ids = part["barcodes"].asstr()[:], part["features/id"].asstr()[:]
        symbols, kinds = part["features/name"].asstr()[:], part["features/feature_type"].asstr()[:]
        if not len(ids) == len(symbols) == len(kinds) == genes or len(barcodes) != spots:
            raise ValueError(f"{genes} genes x {spots} spots come with {len(ids)} features and {len(barcodes)} barcodes")
    return _measured(path, pd.Index(barcodes), pd.DataFrame({"id": ids, "name": symbols, "kind": kinds}), table)


def read_mtx(matrix: Path, features: Path, barcodes: Path) -> Measured:
    """Read counts from the three files of an MTX folder; `features` may be the older genes.tsv of two columns.

    Raises:
        DataError: a file is damaged, they are of different runs, or they hold no genes.

    """
    genes = _names(features, ("id", "name"), ("kind",))
    spots = pd.Index(_names(barcodes, ("barcode",))["barcode"])
    with _damage(matrix, "cannot be read as a matrix"):
        shape, entries = _entries(matrix)
        if shape != (len(genes), len(spots)):
            raise DataError(
                f"{matrix}: holds {shape[0]} genes x {shape[1]} spots, but {features.name} has {len(genes)} lines and "
                f"{barcodes.name} {len(spots)}; they are of different runs"
            )
        at = (entries["spot"].to_numpy() - 1, entries["gene"].to_numpy() - 1)
        table = sparse.csr_matrix((entries["count"].to_numpy(), at), shape=shape[::-1])
    return _measured(features, spots, genes if "kind" in genes else genes.assign(kind=GENES), table)


def _entries(path: Path) -> tuple[tuple[int, int], pd.DataFrame]:
    """Read an MTX file: its genes and spots, and gene, spot and count of each entry, counted from 1.

    scipy's own reader ends the process at some damaged files, so pandas reads the lines.
    """
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        kind = next(file, "").lower().split()
        if kind[:3] != ["%%matrixmarket", "matrix", "coordinate"] or kind[3:4] not in (["integer"], ["real"]):
            raise ValueError("its first line does not say %%MatrixMarket matrix coordinate integer")
        if kind[4:] != ["general"]:
            raise ValueError(f"it is {' '.join(kind[4:])[:40]}, not general")
        before, line = 2, next(file, "")
        while line.startswith("%"):
            before, line = before + 1, next(file, "")
        genes, spots, count = (int(word) for word in line.split())
    names = {"gene": np.int64, "spot": np.int64, "count": np.float32}
    if count == 0:
        return (genes, spots), pd.DataFrame({name: np.zeros(0, kind) for name, kind in names.items()})
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # It warns of lines with more than three cells, and leaves out what is too much.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        table = pd.read_csv(path, sep=r"\s+", header=None, names=list(names), dtype=names, skiprows=before, index_col=False)
    if len(table) != count:
        raise ValueError(f"it has {len(table)} entries where {count} are announced")
    inside = table["gene"].between(1, genes) & table["spot"].between(1, spots)
    if not inside.all():
        raise ValueError(f"entry {int(np.argmin(inside)) + 1} lies outside {genes} genes x {spots} spots")
    return (genes, spots), table


def _names(path: Path, names: tuple[str, ...], more: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a table of names as they stand: a gene may be called NA, or have a quote in its name."""
    table = read_headless(path, "\t", names, more, dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE).fillna("")
    # R writes every cell in quotes; a single name with a quote in it keeps it.
    quoted = [c for c in map(str, table.columns) if table[c].str.len().gt(1).all() and table[c].str.fullmatch(r'".*"').all()]
    return table.assign(**{column: table[column].str[1:-1] for column in quoted})


def _measured(path: Path, spots: pd.Index, features: pd.DataFrame, table: sparse.csr_matrix) -> Measured:
    """Keep genes alone; a symbol that stands twice gets a number, the ids are kept beside."""
    if len(spots) == 0 or len(features) == 0:
        raise DataError(f"{path}: holds counts of {len(spots)} spots and {len(features)} features; expected some of both")
    keep = (features["kind"] == GENES).to_numpy()
    if not keep.any():
        raise DataError(f"{path}: has no feature of the kind {GENES!r}; found {features['kind'].iloc[0]!r}")
    if not keep.all():
        others = features["kind"][~keep].value_counts()
        told = ", ".join(f"{count} {kind}" for kind, count in others.items())
        log.info("%s: left out %d features that are no genes (%s)", path.name, len(keep) - int(keep.sum()), told)
    features = features[keep]
    # A gene without a symbol goes by its id.
    symbols = features["name"].where(features["name"] != "", features["id"]).astype(str)
    columns = {"symbol": symbols.to_numpy(), "gene_id": features["id"].astype(str).to_numpy()}
    genes = pd.DataFrame(columns, index=_unique(pd.Index(symbols)))
    return Measured(spots, genes, table if keep.all() else table[:, np.flatnonzero(keep)])


def _unique(names: pd.Index) -> pd.Index:
    from anndata.utils import make_index_unique

    with warnings.catch_warnings():
        # It warns of genes that are called like a numbered one, such as HLA-1, which it then numbers on.
        warnings.simplefilter("ignore")
        return make_index_unique(names)


@contextlib.contextmanager
def _damage(path: Path, what: str) -> Iterator[None]:
    """Turn what a damaged file makes the libraries raise into one sentence."""
    try:
        yield
    except DataError:
        raise
    except DAMAGES as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise DataError(f"{path}: {what} ({reason}); fetch or write it again") from None
