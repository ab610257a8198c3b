"""What the readers of tables share: clear errors, and the join of counts and positions by spot id."""

import csv
import gzip
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from jaxtyping import Bool, Float64
from pandas.api.types import is_numeric_dtype
from scipy import sparse

from bleep.data.gene_names import genes_among
from bleep.data.readers.readable import check_separator, clear
from bleep.data.section import odd_values, word
from bleep.errors import DataError
from bleep.find import find

POSITIONS = ("x", "y", "pixel_x", "pixel_y")
"""Columns of a table of spots."""

BARCODE = r"^([ACGT]{12,}|s_\d+um_\d+_\d+|cellid_\d+|[a-p]{8}(?=-))(.*)$"
"""Barcode and ending of a spot's id, or of a cell's."""
MISSING = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL"),
    *("NaN", "None", "n/a", "nan", "null"),
)
"""What stands for no number in a column of numbers: pandas' own words."""
BEYOND = 0.05
"""Share of spots that may lie beyond a picture and are left out: some pictures were cropped, some arrays reach over them."""
CONTROLS = ("BLANK", "NegControl", "antisense_", "UnassignedCodeword", "DeprecatedCodeword", "Intergenic_")
"""Beginnings of the names of Xenium's features that are no genes."""

log = logging.getLogger(__name__)


def read_table(path: Path, separator: str, columns: tuple[str, ...] = (), **options: object) -> pd.DataFrame:
    """Read a text table, checking its header; in a column whose `dtype` is str only an empty cell is missing.

    Raises:
        DataError: the file is missing, damaged or empty, a column stands twice, or a needed one is missing.

    """
    with clear(path), warnings.catch_warnings():
        written = _header(path, separator)
        check_separator(path, written, separator)
        header = [name.strip() for name in written] if separator == "," else written
        named = [name for name in header if name]
        if len(set(named)) < len(named):
            twice = next(name for name in named if named.count(name) > 1)
            raise DataError(f"{path}: column {twice!r} stands more than once; each column must stand once")
        # Rows longer than the header would otherwise lend their first cell to an index, or lose their last.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        # Types by whole columns: by chunks, tables of many genes take half as long again.
        asked = {"index_col": False, **_blanks(separator), **_missing(header, options.get("dtype")), **options}
        if header != written:
            asked |= {"header": 0, "names": [name or f"Unnamed: {place}" for place, name in enumerate(header)]}
        table = pd.read_csv(path, sep=separator, low_memory=False, **asked)  # type: ignore[call-overload]
    if separator == ",":
        table = _without_blanks(table)
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(f"{path}: has no column {missing[0]!r}; found {_some(header)}; expected {', '.join(columns)}")
    if table.empty:
        raise DataError(f"{path}: has a header but no rows")
    return table


def _without_blanks(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table without blanks behind its cells; those before them are skipped by the parser."""
    words = {
        name: table[name].map(_stripped).astype(table[name].dtype)
        for name in table.columns
        if not is_numeric_dtype(table[name].dtype)
    }
    return table.assign(**words) if words else table


def _stripped(cell: object) -> object:
    return cell.strip() if isinstance(cell, str) else cell


def _missing(header: list[str], kinds: object) -> dict[str, object]:
    """Return what pandas shall take for missing: a class, a patient or a gene may be called NA or None."""
    if kinds is str:
        return {"keep_default_na": False, "na_values": [""]}
    if not isinstance(kinds, Mapping):
        return {}
    return {"keep_default_na": False, "na_values": {name: [""] if kinds.get(name) is str else MISSING for name in header}}


def read_headless(
    path: Path, separator: str, names: tuple[str, ...], more: tuple[str, ...] = (), **options: object
) -> pd.DataFrame:
    """Read a text table without a header, whose first columns are called by these names, the next, if any, by `more`.

    Raises:
        DataError: the file is missing, damaged or empty, or has fewer columns.

    """
    with clear(path):
        table = pd.read_csv(path, sep=separator, header=None, **_blanks(separator), **options)  # type: ignore[call-overload]
    if table.shape[1] < len(names):
        raise DataError(f"{path}: has {table.shape[1]} columns; expected {', '.join(names)}, without a header")
    called = [*names, *more][: table.shape[1]]
    table = table.iloc[:, : len(called)].set_axis(called, axis=1)
    return _without_blanks(table) if separator == "," else table


class Measured(NamedTuple):
    """Counts before they are joined with positions."""

    spots: pd.Index
    """Spot id of each row."""
    genes: pd.DataFrame
    """One row a column, indexed by the gene's name; further columns become those of `counts.var`."""
    matrix: sparse.csr_matrix
    """Spots x genes."""
    why: str = ""
    """Why there are no genes, where there are none."""
    refused: bool = False
    """There are values, but such as cannot be used: whoever needs values refuses the section, a query does not."""


def without_controls(name: str, counts: Measured) -> Measured:
    """Leave out, aloud, the features that by their names are Xenium's controls."""
    kept = np.flatnonzero(~counts.genes.index.str.startswith(CONTROLS))
    if len(kept) == len(counts.genes):
        return counts
    log.info("section %s: left out %d features that are controls, not genes", name, len(counts.genes) - len(kept))
    return counts._replace(genes=counts.genes.iloc[kept], matrix=counts.matrix[:, kept])


def nothing(spots: pd.Index, why: str, *, refused: bool = False) -> Measured:
    """Return the counts of spots on which nothing was measured, or nothing that can be used, and why."""
    genes, matrix = pd.DataFrame(index=pd.Index([], dtype=str)), sparse.csr_matrix((len(spots), 0), dtype=np.float32)
    return Measured(spots, genes, matrix, why, refused)


def usable(name: str, counts: Measured, path: Path | None = None) -> Measured:
    """Return counts as they are where they can be expression, else nothing, and why, naming the file where it is given."""
    odd, file = odd_values(counts.matrix, counts.spots, counts.genes.index), "" if path is None else f"{path}: "
    return nothing(counts.spots, f"{file}section {name}: {odd}", refused=True) if odd else counts


def noted(counts: Measured) -> dict[str, Any]:
    """Return what a section's `uns["bleep"]` says of counts that are missing."""
    return {"nothing": counts.why, "refused": counts.refused} if counts.why else {}


def read_counts(path: Path, symbols: pd.Series | None = None) -> Measured:
    """Read a table of spots x genes whose first column is the spot id; `symbols` maps its genes to their symbols.

    Raises:
        DataError: as `read_table`, or a value is not a number.

    """
    table = read_table(path, "\t", index_col=0)
    table = numeric(table[genes_among(list(table.columns), path)], path)
    genes = pd.DataFrame(index=table.columns.astype(str))
    if symbols is not None:
        genes["symbol"] = symbols.reindex(genes.index).fillna("").astype(str)
    return Measured(table.index.astype(str), genes, sparse_counts(table))


def read_positions(path: Path, columns: tuple[str, ...] = POSITIONS) -> pd.DataFrame:
    """Read a table of spots: their place in the array, `x` and `y`, and in the picture, `pixel_x` and `pixel_y`.

    Rows that are not selected need no place.

    Raises:
        DataError: as `read_table`, or a place is not a number.

    """
    table = read_table(path, "\t", columns)
    used = table["selected"] == 1 if "selected" in table else np.ones(len(table), dtype=bool)
    for column in columns:
        if not pd.api.types.is_numeric_dtype(table[column]):
            numbers = pd.to_numeric(table[column], errors="coerce")
            odd = table.loc[used & numbers.isna() & table[column].notna(), column]
            if len(odd):
                raise DataError(f"{path}: column {column!r} holds {str(odd.iloc[0])[:40]!r}; expected numbers")
            table[column] = numbers
    if np.any(used):
        numeric(table.loc[used, list(columns)], path)
    return table


def under_tissue(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the pixel positions, as x and y, of the spots with `selected` = 1, indexed by spot id "XxY".

    Raises:
        DataError: there is none.

    """
    table = table[table["selected"] == 1] if "selected" in table else table
    if table.empty:
        raise DataError(f"{path}: no row has selected = 1; expected that for the spots under tissue")
    # A row without a place, which is not selected, makes the others 10.0 of 10.
    ids = table["x"].map(word) + "x" + table["y"].map(word)
    return table[["pixel_x", "pixel_y"]].set_axis(["x", "y"], axis=1).set_axis(ids)


def numeric(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Check that every column holds numbers.

    Raises:
        DataError: naming the first column and value that is not one.

    """
    for column, kind in table.dtypes.items():
        if not pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind):
            raise DataError(f"{path}: column {column!r} holds {_odd(table[column].dropna().astype(str))!r}; expected numbers")
    return table


def _odd(cells: pd.Series) -> str:
    """Return the first cell that is no number, or is one too large to be stored."""
    numbers = pd.to_numeric(cells, errors="coerce")
    bad = cells[numbers.isna() | (numbers.abs() >= 2.0**63)]
    return str((bad if len(bad) else cells).iloc[0])[:40] if len(cells) else ""


def sparse_counts(table: pd.DataFrame) -> sparse.csr_matrix:
    """Return a table of numbers as counts, Float32; a number too large for that becomes infinite, which a section refuses."""
    with np.errstate(over="ignore"):
        return sparse.csr_matrix(table.to_numpy(np.float32))


def joined(
    name: str, counts: Measured, positions: pd.DataFrame, size: tuple[int, int] | None = None
) -> tuple[AnnData, Float64[np.ndarray, "spots 2"]]:
    """Join counts and positions (index: spot id; columns x, y in pixels) by spot id, in the order of the positions.

    Spots without a partner are left out, and so are a few whose centre lies beyond a picture of this width and height; how
    many is logged. Where more than `BEYOND` of them lie there, all are returned, for the section to refuse.

    Raises:
        DataError: an id stands twice on a side, or no id stands on both.

    """
    for what, index in (("counts", counts.spots), ("positions", positions.index)):
        if not index.is_unique:
            raise DataError(f"section {name}: spot {index[index.duplicated()][0]!r} stands more than once in the {what}")
    both = positions.index[positions.index.isin(counts.spots)]
    if both.empty:
        like = [repr(str(index[0])) if len(index) else "(none)" for index in (counts.spots, positions.index)]
        raise DataError(
            f"section {name}: no spot has both counts and a position; counts have ids like {like[0]}, positions like {like[1]}"
        )
    _check_one_sample(name, both)
    alone = (len(counts.spots) - len(both), len(positions) - len(both))
    if any(alone):
        log.warning(
            "section %s: %d spots read; dropped %d with counts but no position, %d with a position but no counts",
            name, len(both), *alone,
        )  # fmt: skip
    if size is not None:
        both = both[_within(name, positions.loc[both, ["x", "y"]].to_numpy(np.float64), size)]
    counts = usable(name, counts._replace(spots=both, matrix=counts.matrix[counts.spots.get_indexer(both)]))
    matrix = counts.matrix
    # A copy of another type shares its indices with the counts: sorting them there would scramble these.
    matrix.sort_indices()
    data = AnnData(X=matrix, obs=pd.DataFrame(index=both.astype(str)), var=counts.genes)
    data.uns["bleep"] = {"dropped": dict(zip(("counts", "positions"), alone, strict=True)), **noted(counts)}
    return data, positions.loc[both, ["x", "y"]].to_numpy(np.float64)


def note_mpp(counts: AnnData, stated: float | None, scale: float = 1.0) -> None:
    """Note down what the files themselves say of the scale, though `data.mpp` says another: a query goes by its own files.

    `stated` is in microns per full-resolution pixel; `scale` the picture's pixels per such.
    """
    if stated is not None:
        counts.uns["bleep"]["mpp"] = stated / scale


def _check_one_sample(name: str, spots: pd.Index) -> None:
    """Refuse barcodes with several endings, such as -1-0 and -1-1: each ending is a sample."""
    parts = spots.astype(str).str.extract(BARCODE)
    ends = parts[1].dropna().value_counts()
    if 1 < len(ends) <= len(spots) / 10 and ends.iloc[1] > BEYOND * len(spots):
        raise DataError(
            f"section {name}: its barcodes end in {ends.index[0]!r} and in {ends.index[1]!r}, as where several samples were "
            "joined, but one picture is all there is; give each sample, with its own picture, as a section of its own"
        )


def _within(name: str, xy: Float64[np.ndarray, "spots 2"], size: tuple[int, int]) -> Bool[np.ndarray, " spots"]:
    """Return which spots lie in the picture; all of them where more than `BEYOND` do not, or have no place at all."""
    beyond = ((xy < 0) | (xy >= np.array(size))).any(axis=1)
    if not beyond.any() or beyond.mean() > BEYOND:
        return np.ones(len(xy), dtype=bool)
    log.warning(
        "section %s: left out %d of %d spots, whose centre lies outside the slide of %d x %d pixels",
        name, beyond.sum(), len(xy), *size,
    )  # fmt: skip
    return np.asarray(~beyond)


def only(root: Path, patterns: tuple[str, ...], what: str) -> Path:
    """Return the one file below root that fits any of the patterns.

    Raises:
        DataError: none fits, or several do.

    """
    found = find(root, *patterns)
    # A table that was unpacked beside its packed self is one.
    found = [path for path in found if not _is_copy(path, found)]
    if not found:
        raise DataError(f"{root}: has no {what}; expected a file named {' or '.join(patterns)}")
    if len(found) > 1:
        raise DataError(f"{root}: has several files that could be the {what}: {found[0]} and {found[1]}; keep one")
    return found[0]


def _is_copy(path: Path, found: list[Path]) -> bool:
    """Return whether a plain file holds what another of these holds packed."""
    packed = path.with_name(f"{path.name}.gz")
    if packed not in found:
        return False
    with clear(packed), gzip.open(packed) as one, path.open("rb") as other:
        while block := one.read(1 << 20):
            if block != other.read(len(block)):
                return False
        return not other.read(1)


def _header(path: Path, separator: str) -> list[str]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        return next(csv.reader(file, delimiter=separator, **_blanks(separator)), [])


def _blanks(separator: str) -> dict[str, Any]:
    """Return what csv and pandas are asked for where people write a blank after each comma."""
    return {"skipinitialspace": separator == ","}


def _some(names: list[str]) -> str:
    shown = [name[:40] if name.isprintable() else repr(name[:40]) for name in names[:6]]
    return ", ".join(shown) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
